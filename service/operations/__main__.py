"""The operator's command, `python -m service.operations`: list, jobs, show, cancel, revoke, erase.

It asks the server of the settings, with the token of TRISEAL_OPERATOR_TOKEN or of the file that
the server keeps in its folder, so whoever may read that folder may run it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from service.storage.operator_token import FILE, read_token
from settings import Settings, get_settings
from utils.errors import NotAuthorised, ServerUnreachable, TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

TIMEOUT_SECONDS = 30.0
LIST = ("client_id", "state", "created_at", "expires_at", "joined", "bytes")
JOBS = ("job", "client_id", "program", "status", "attempts", "queued_at", "error_code")


class OperatorClient:
    """The operator's calls to the server at `url`; raises ServerUnreachable, and as it answers."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/operator",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )

    def ask(self, method: str, path: str, **parameters: str) -> Any:
        """The JSON answer of a call, None where it has none."""
        try:
            answer = self._http.request(method, path, params=parameters)
            body = answer.json() if answer.content else None
        except (httpx.TransportError, ValueError) as error:
            raise ServerUnreachable(
                f"No Triseal server answers at {self._http.base_url}; start it, or set "
                "TRISEAL_SERVER_URL."
            ) from error
        if answer.is_error:
            detail = body.get("detail") if isinstance(body, dict) else None
            raise TrisealError(detail or f"The server answers {answer.status_code}.")
        return body

    def applications(self) -> list[dict[str, Any]]:
        """All applications, whatever their number."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self.ask("GET", "/applications", **({} if after is None else {"after": after}))
            found += page["items"]
            after = page["after"]
            if after is None:
                return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 where the server refuses it, with one line that says why."""
    print_any_text()
    given = _parser().parse_args(arguments)
    try:
        settings = get_settings()
        client = OperatorClient(settings.url, token_of(settings))
        _run(client, given)
    except (TrisealError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1
    return 0


def token_of(settings: Settings) -> str:
    """The operator's token as this machine has it; raises NotAuthorised where it has none."""
    if settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path = settings.server_data / FILE
    try:
        token = read_token(path)
    except PermissionError:
        token = None
    if token is None:
        raise NotAuthorised(
            f"There is no operator's token in {path} that you may read; start the server, run "
            "this as its user, or set TRISEAL_OPERATOR_TOKEN."
        )
    return token


def _run(client: OperatorClient, given: argparse.Namespace) -> None:
    place = f"/applications/{getattr(given, 'client_id', '')}"
    match given.command:
        case "list":
            _show(client.applications(), LIST, given.json)
        case "jobs":
            wanted = {} if given.status is None else {"status": given.status}
            _show(client.ask("GET", "/jobs", **wanted)["items"], JOBS, given.json)
        case "show":
            print(json.dumps(client.ask("GET", place), indent=2))
        case "cancel":
            state = client.ask("DELETE", f"{place}/runs/{given.program}")
            print(f"{given.program} is {state['status']}")
        case "revoke":
            client.ask("DELETE", f"{place}/tokens")
            print("All its tokens have ended.")
        case "erase":
            client.ask("DELETE", place)
            print("It is erased.")


def _show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    lines = [list(columns), *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    print(f"{len(rows)} in all" if rows else "None.")


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    text = "-" if value is None else str(value)
    return text[:19] if text.endswith("Z") and "T" in text else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.operations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("list", "all applications"), ("jobs", "the newest jobs")):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("--json", action="store_true", help="for programs to read")
        if name == "jobs":
            states = ("queued", "running", "done", "failed", "cancelled")
            listing.add_argument("--status", choices=states, help="of one status only")
    for name, what in (
        ("show", "all that is known of one application"),
        ("cancel", "end a run of one application"),
        ("revoke", "end all tokens of one application"),
        ("erase", "erase one application, now"),
    ):
        one = commands.add_parser(name, help=what)
        one.add_argument("client_id")
        if name == "cancel":
            one.add_argument("program", nargs="?", default="decide")
    return parser


if __name__ == "__main__":
    sys.exit(main())
