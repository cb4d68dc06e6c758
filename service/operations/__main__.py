"""The operator's command, `python -m service.operations`: list, show, cancel, erase and more.

It calls the server named by the settings, with the token from TRISEAL_OPERATOR_TOKEN or from the
file in the server's data folder, so any user who may read that folder can run it.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from service.storage.operator_token import FILE, read_token
from settings import Settings, get_settings
from utils.certificates import distrust, verification
from utils.errors import CertificateUntrusted, NotAuthorised, ServerUnreachable, TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

TIMEOUT_SECONDS = 30.0
LIST = ("client_id", "state", "created_at", "expires_at", "joined", "bytes")
JOBS = ("job", "client_id", "program", "status", "attempts", "queued_at", "error_code")
PARTNERS = ("partner_id", "partner_type", "key", "registered_at")


class OperatorClient:
    """The operator's calls to the server at `url`.

    The methods raise ServerUnreachable, and TrisealError with the server's explanation.
    """

    def __init__(self, url: str, token: str, authority: Path | None = None) -> None:
        self._http = httpx.Client(
            base_url=f"{url}/operator",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            verify=verification(authority),
            trust_env=False,
        )

    def ask(
        self, method: str, path: str, json: Mapping[str, Any] | None = None, **parameters: str
    ) -> Any:
        """Send a request; return the JSON body of the response, None if it is empty."""
        try:
            answer = self._http.request(method, path, params=parameters, json=json)
            body = answer.json() if answer.content else None
        except (httpx.TransportError, ValueError) as error:
            if (reason := distrust(error)) is not None:
                raise CertificateUntrusted(
                    f"The certificate at {self._http.base_url} is not trusted: {reason}. Set "
                    "TRISEAL_SERVER_CA to the PEM file of a private authority that signed it."
                ) from error
            raise ServerUnreachable(
                f"No Triseal server responds at {self._http.base_url}; start it, or set "
                "TRISEAL_SERVER_URL."
            ) from error
        if answer.is_error:
            detail = body.get("detail") if isinstance(body, dict) else None
            raise TrisealError(detail or f"The server responded with {answer.status_code}.")
        return body

    def applications(self) -> list[dict[str, Any]]:
        """Return all applications, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            wanted: dict[str, Any] = {} if after is None else {"after": after}
            page = self.ask("GET", "/applications", **wanted)
            found += page["items"]
            after = page["after"]
            if after is None:
                return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 1 if it fails, after printing the reason in one line."""
    print_any_text()
    given = _parser().parse_args(arguments)
    try:
        settings = get_settings()
        client = OperatorClient(settings.url, token_of(settings), settings.server_ca)
        _run(client, given)
    except (TrisealError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 1
    return 0


def token_of(settings: Settings) -> str:
    """Return the operator's token on this machine; raises NotAuthorised if there is none."""
    if settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path = settings.server_data / FILE
    try:
        token = read_token(path)
    except PermissionError:
        token = None
    if token is None:
        raise NotAuthorised(
            f"There is no readable operator's token in {path}; start the server, run this command "
            "as the server's user, or set TRISEAL_OPERATOR_TOKEN."
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
            print("All tokens of the application are revoked.")
        case "partner":
            _partner(client, given)
        case "erase":
            client.ask("DELETE", place)
            print("The application is erased.")


def _partner(client: OperatorClient, given: argparse.Namespace) -> None:
    match given.action:
        case "list":
            _show(client.ask("GET", "/partners")["items"], PARTNERS, given.json)
        case "add":
            body = {
                "partner_id": given.partner_id,
                "partner_type": given.partner_type,
                "key": given.key,
            }
            made = client.ask("POST", "/partners", json=body)
            print(f"Token of {given.partner_id}, which is not shown again: {made['token']}")
        case "remove":
            client.ask("DELETE", f"/partners/{quote(given.partner_id, '')}")
            print(f"{given.partner_id} is removed, and its token no longer valid.")


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
    parser = CommandParser(prog="python -m service.operations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("list", "list all applications"), ("jobs", "list the newest jobs")):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("--json", action="store_true", help="print JSON")
        if name == "jobs":
            states = ("queued", "running", "done", "failed", "cancelled")
            listing.add_argument("--status", choices=states, help="only jobs with this status")
    for name, what in (
        ("show", "show the state of an application"),
        ("cancel", "cancel a run of an application"),
        ("revoke", "revoke all tokens of an application"),
        ("erase", "erase an application at once"),
    ):
        one = commands.add_parser(name, help=what)
        one.add_argument("client_id", help="the application's id")
        if name == "cancel":
            one.add_argument("program", nargs="?", default="decide", help="the program")
    partner = commands.add_parser("partner", help="institutions that may ask for permits")
    actions = partner.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="list all partners")
    listing.add_argument("--json", action="store_true", help="print JSON")
    add = actions.add_parser("add", help="register a partner, and print its token")
    remove = actions.add_parser("remove", help="remove a partner")
    for action in (add, remove):
        action.add_argument("partner_id", metavar="ID", help="the partner's id")
    add.add_argument("partner_type", metavar="TYPE", help="its type in the policy, such as bank")
    add.add_argument("key", metavar="KEY", help="its public key: 64 hexadecimal digits")
    return parser


if __name__ == "__main__":
    run_command(main)
