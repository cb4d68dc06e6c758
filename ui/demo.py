"""`python -m ui.demo`: start and stop the server and the pages together.

With joint keys there is an agent for every party (`python -m parties`), each a process with its
own page, a witness, and the stage that shows the pages side by side. The stage links to the
compliance page and to those of a data owner and an institution, which start last. The institutions'
identity keys are made at the first start. Every agent pins those of the others unless a trust file
is set, and their holders cosign the log beside the witness. With any other engine a single page
plays all parties.

Each child leads its own process group, so that its workers end with it, and writes to a log file
(ui/demo_output.py). Ctrl-C, SIGTERM and SIGHUP stop all of them. If a child ends by itself during
the start, the others are stopped too, and that is an error; later it is started again
(ui/demo_restarts.py), with the same access token.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import os
import secrets
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from features.schema import Schema
from parties.store import PartyStore
from settings import ROOT, Settings, settings_help
from ui import demo_consent
from ui.demo_by_hand import shown_path, write_script
from ui.demo_children import Children, variables_of
from ui.demo_identities import cosigners_of, make_and_pin
from ui.entry import run_entry
from ui.gradio_environment import gradio_environment
from ui.places import page_place, said_address
from ui.units import escape
from ui.waiting import POLL_SECONDS, wait_for_page
from utils.addresses import reachable, url_of
from utils.ports import check_port
from witness.key import claim_home, load_key, public_hex
from witness.page import HOST as WITNESS_HOST

JOINT_ENGINE = "levelled"
"""The engine whose parties run in processes of their own."""
SETTINGS = (
    *("engine", "deployment", "server_port", "page_host", "page_port", "agent_port"),
    *("compliance_port", "owner_port", "institution_port", "witness_port"),
    *("server_data", "party_data", "logs"),
)
"""The settings in the help; docs/SETTINGS.md has all."""
WITNESS = "Auditor"
"""Name of the demonstration's witness."""


class _Stopped(Exception):
    """The demonstration was asked to stop."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Start the server and the pages, print the address, and watch them until `stop` is set.

    Raises PortInUse, FolderNotOurs and IdentityKeyInvalid before anything is started, and
    ServerUnreachable if a child ends during the start, or too often.
    """
    check_port(settings.server_host, settings.server_port, "The server", "TRISEAL_SERVER_PORT")
    check_port(settings.page_host, settings.page_port, "The page", "TRISEAL_PAGE_PORT")
    agents = _agents(settings)
    for name, port in agents.items():
        what = f"The page of the {name.replace('_', ' ')}"
        check_port(settings.page_host, port, what, "TRISEAL_AGENT_PORT")
    if agents:
        what, port = "The compliance page", settings.compliance_port
        check_port(settings.page_host, port, what, "TRISEAL_COMPLIANCE_PORT")
        what, port = "The page of a data owner", settings.owner_port
        check_port(settings.page_host, port, what, "TRISEAL_OWNER_PORT")
        what, port = "The page of an institution", settings.institution_port
        check_port(settings.page_host, port, what, "TRISEAL_INSTITUTION_PORT")
    server_url = url_of(reachable(settings.server_host), settings.server_port)
    place = page_place(settings)
    trust = {} if settings.trust else make_and_pin(ROOT / settings.party_data, list(agents))
    tokens = {name: secrets.token_urlsafe(32) for name in agents}
    played = {name: secrets.token_urlsafe(32) for name in agents}
    known = settings.compliance_token
    compliance = secrets.token_urlsafe(32) if known is None else known.get_secret_value()
    consent = {kind: secrets.token_urlsafe(32) for kind in demo_consent.NAMES}
    witness = _witness(settings)
    trusted = {} if witness is None else {"trusted_witnesses": witness}
    children = Children(ROOT / settings.logs, bool(agents), _say)
    _say_what_starts(settings, server_url, agents, witness is not None)

    def alive() -> None:
        if stop.is_set():
            raise _Stopped
        children.check()

    try:
        own = {"server_url": server_url}
        if witness is not None:
            words = ["-m", "witness", "--name", WITNESS, "--port", str(settings.witness_port)]
            children.start("witness", words, own)
            own["witnesses"] = witness
            if settings.cosigners is None and trust:
                institutions = cosigners_of(ROOT / settings.party_data, list(agents))
                own["cosigners"] = ", ".join(filter(None, (witness, institutions)))
        children.start("server", ["server.py"], own, needed=True)
        # Started at once: pages load their libraries while the server loads its model.
        commands = {}
        for name, port in agents.items():
            words = ["parties", "--party", name, "--port", str(port)]
            if name in trust:
                words += ["--trust", str(trust[name])]
            own = {"server_url": server_url, "page_token": tokens[name], **trusted}
            own["demonstration_token"] = played[name]
            home = ROOT / settings.party_data / name
            PartyStore(home).claim()
            commands[name] = write_script(home, words, variables_of(own))
            # Only a process that has died resumes the application of the one before.
            first, by_hand = [*words, "--new"], commands[name]
            children.start_page(_said(name), name, first, own, again=words, by_hand=by_hand)
        own = {
            "server_url": server_url,
            "page_token": place.access.token,
            "agent_tokens": json.dumps(tokens),
            "demonstration_tokens": json.dumps(played),
            "agent_commands": json.dumps(commands),
            "compliance_token": compliance,
            "consent_tokens": json.dumps(consent),
            **trusted,
        }
        name = "stage" if agents else "page"
        children.start_page(name, name, ["app"], own, needed=True)
        for port in (*agents.values(), settings.page_port):
            wait_for_page(url_of(reachable(settings.page_host), port), alive)
        children.keep()
        _say(f"\nTriseal is ready: open {said_address(place)} in a browser. Press Ctrl-C to stop.")
        if agents:  # only now, so that it takes no time from the start of the others
            own = {"server_url": server_url, "page_token": compliance}
            children.start_page("compliance page", "compliance", ["ui.compliance"], own)
            folder = ROOT / settings.party_data
            for each in demo_consent.commands(settings, folder, server_url, consent):
                children.start_page(each.name, each.kind, each.words, each.settings)
        with _opened(place.access.link(place.address)) if _has_display() else nullcontext():
            while True:
                alive()
                stop.wait(POLL_SECONDS)
    except _Stopped:
        _say("Stopping the server and the pages.")
    finally:
        children.stop()


def _say_what_starts(
    settings: Settings, server_url: str, agents: Mapping[str, int], has_witness: bool
) -> None:
    """Print the addresses of the processes, and where their logs are."""
    host = reachable(settings.page_host)
    lines = [("Server", f"{server_url} (API: {server_url}/docs)")]
    lines += [(_said(name).capitalize(), url_of(host, port)) for name, port in agents.items()]
    if has_witness:
        lines.append(("Witness", url_of(WITNESS_HOST, settings.witness_port)))
    page = url_of(host, settings.page_port)
    lines.append(("Stage" if agents else "Page", f"{page} (its link follows)"))
    width = max(len(name) for name, _ in lines)
    logs = shown_path(ROOT / settings.logs)
    _say(f"Starting Triseal. Requests are logged in {logs}; warnings and errors appear here.")
    for name, address in lines:
        _say(f"  {name:<{width}}  {address}")


def _said(name: str) -> str:
    return f"{name.replace('_', ' ')}'s process"


def _witness(settings: Settings) -> str | None:
    """Return the demonstration's own witness as in TRISEAL_WITNESSES, with its key made if needed.

    None if the settings name other witnesses or none, or if the engine's results cannot be checked.
    Raises PortInUse if its status page cannot be served.
    """
    if settings.engine != JOINT_ENGINE or settings.witnesses is not None:
        return None
    check_port(WITNESS_HOST, settings.witness_port, "The witness's page", "TRISEAL_WITNESS_PORT")
    return f"{WITNESS}={public_hex(load_key(claim_home(settings.witness_data)))}"


@contextmanager
def _opened(link: str) -> Iterator[None]:
    """Open the link in the user's browser.

    The browser is given a file that only the user can read, because every user of the machine can
    read its command line.
    """
    with TemporaryDirectory(prefix="triseal-open-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "open.html")
        file.write_text(f'<meta http-equiv="refresh" content="0;url={escape(link)}">')
        webbrowser.open(file.as_uri())
        yield


def _agents(settings: Settings) -> dict[str, int]:
    """Return the port of each party's own page; empty if a single page plays all parties."""
    if settings.engine != JOINT_ENGINE:
        return {}
    names = Schema.load(settings.deployment / "schema.json").party_names
    return {name: settings.agent_port + i for i, name in enumerate(names)}


def _has_display() -> bool:
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration until it is stopped; returns the exit code."""
    CommandParser(
        prog="python -m ui.demo", description=__doc__, epilog=settings_help(*SETTINGS)
    ).parse_args(arguments)
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)

    def serve(settings: Settings) -> None:
        with gradio_environment():  # for the process of which the pages are copies
            run(settings, stop)

    return run_entry(serve)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
