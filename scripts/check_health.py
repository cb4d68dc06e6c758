"""`python -m scripts.check_health URL`: exit code 0 if the process at the URL is healthy.

Health checks of containers call it. A status below 500 is healthy: the server's `/health/ready`
responds with 503 until it is ready, and a page with 403 to a caller that has not opened its link.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

from collections.abc import Sequence
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from utils.addresses import base_url_of
from utils.errors import AddressInvalid

SECONDS = 5.0


def healthy(url: str) -> bool:
    """Return True if the URL responds in time with a status below 500, without any proxy."""
    try:
        with build_opener(ProxyHandler({})).open(base_url_of(url), timeout=SECONDS):
            return True
    except HTTPError as error:
        return error.code < 500
    except (AddressInvalid, OSError):
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one URL; return 0 if it is healthy, else 1."""
    parser = CommandParser(prog="python -m scripts.check_health", description=__doc__)
    parser.add_argument("url", metavar="URL", help="URL to request, without any proxy")
    return 0 if healthy(parser.parse_args(arguments).url) else 1


if __name__ == "__main__":
    run_command(main)
