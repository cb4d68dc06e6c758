"""`python -m ui.compliance`: serve the compliance page.

It needs the operator's token: TRISEAL_OPERATOR_TOKEN, or the file in the server's data folder. The
page shows whether the server can be reached, so that it may be started before the server.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import sys
from collections.abc import Sequence

from settings import Settings
from ui.entry import run_entry
from ui.gradio_environment import gradio_environment
from ui.places import compliance_place, said_address
from utils.collector import without_collections
from utils.ports import check_port


def serve(settings: Settings, port: int | None = None) -> None:
    """Build the page and serve it until interrupted; raises PortInUse and AddressInvalid."""
    port = settings.compliance_port if port is None else port
    check_port(settings.page_host, port, "The compliance page", "TRISEAL_COMPLIANCE_PORT")
    with gradio_environment():
        # Imported late because they take seconds: a port in use is reported at once.
        with without_collections():
            from ui.compliance.page import HEAD, build_compliance_page
            from ui.serving import serve_page

        page = build_compliance_page(settings)
        place = compliance_place(settings, port)
        print(f"The compliance page is at {said_address(place)}", flush=True)
        serve_page(page, place, HEAD)


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError
    return port


def main(words: Sequence[str]) -> int:
    """Serve the page; return the exit code."""
    parser = CommandParser(prog="python -m ui.compliance", description=serve.__doc__)
    parser.add_argument("--port", type=_port, help="port of the page (TRISEAL_COMPLIANCE_PORT)")
    given = parser.parse_args(words)
    return run_entry(lambda settings: serve(settings, given.port))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
