"""Entry: `python -m parties --party NAME`, one party's agent, with a page of its own or without.

    python -m parties --party bank --join CODE                        a page for the bank's clerk
    python -m parties --party bank --join CODE --no-page --record bank.json --agree decide,explain

Started again without --join it takes up the application that its folder joined last.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from parties.agent import Agent, ApplicationAgent, hold_folder
from parties.client import ServerClient
from parties.connection import Connection
from parties.retrying import may_pass
from parties.run_follower import stopped_by
from parties.store import PartyStore
from settings import Settings
from ui.entry import run_entry
from ui.gradio_environment import gradio_environment
from ui.places import agent_place, said_address
from ui.waiting import check_port, wait_for_server
from utils.addresses import base_url_of
from utils.errors import (
    AddressInvalid,
    InvalidRequest,
    OutOfStep,
    TransportError,
    TrisealError,
    UnknownApplication,
)
from utils.strict_json import parse_json

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
GLANCE_SECONDS = 1.0
"""How often a terminal looks up although nothing has changed, so that Ctrl-C is noticed."""


@dataclass(frozen=True)
class Arguments:
    """What the command line says; `home`, `server` and `port` None stand for the settings'."""

    party: str
    server: str | None
    join: str | None
    home: Path | None
    port: int | None
    page: bool
    record: Path | None
    agree: tuple[str, ...]
    new: bool


def main(words: Sequence[str]) -> int:
    """Run the agent until it is ended, or has done what it was asked; answers the exit code."""
    arguments = parse(words)
    return run_entry(lambda settings: run(arguments, settings))


def parse(words: Sequence[str]) -> Arguments:
    """Read the command line; ends the process with exit code 2 and a usage line where wrong."""
    parser = argparse.ArgumentParser(prog="python -m parties", description="One party's agent.")
    parser.add_argument(
        "--party", required=True, type=_party, metavar="NAME", help="which party this is"
    )
    parser.add_argument(
        "--server", type=_url, metavar="URL", help="the server; from the settings if left out"
    )
    parser.add_argument(
        "--join", metavar="CODE", help="the party's join code; - reads it from stdin"
    )
    parser.add_argument("--new", action="store_true", help="do not take up the last application")
    parser.add_argument("--home", type=Path, metavar="DIR", help="the party's own folder")
    parser.add_argument("--port", type=_port, metavar="PORT", help="port of the party's page")
    parser.add_argument("--no-page", action="store_true", help="work without a page")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="without a page: JSON of the record to send"
    )
    parser.add_argument(
        "--agree",
        type=_programs,
        default=(),
        metavar="PROGRAMS",
        help="without a page: agree ahead to decide or decide,explain; ends when they are opened",
    )
    found = parser.parse_args(words)
    if not found.no_page and (found.record or found.agree):
        parser.error("--record and --agree are for --no-page; on a page a person does it")
    return Arguments(
        party=found.party,
        server=found.server,
        join=found.join,
        home=found.home,
        port=found.port,
        page=not found.no_page,
        record=found.record,
        agree=found.agree,
        new=found.new,
    )


def run(arguments: Arguments, settings: Settings) -> None:
    """Connect, join or resume, and serve the page or do what was asked.

    Raises PortInUse and DataFolderInUse before anything else, then what connecting and joining
    raise.
    """
    record = None if arguments.record is None else _read_record(arguments.record)
    if arguments.page and arguments.port is not None:
        _check_port(settings, arguments.port)
    code = sys.stdin.readline() if arguments.join == "-" else arguments.join
    with ExitStack() as held:
        client = ServerClient(arguments.server or settings.url, settings.request_timeout)
        if not arguments.page:
            held.enter_context(client)
        else:  # whose handlers may use the client until the process ends
            held.enter_context(gradio_environment())
            from ui import serving
            from ui.agent import page as agent_page  # seconds, while the server starts as well
        wait_for_server(client, _say)
        home = arguments.home or settings.party_data / arguments.party
        connection = Connection(client, PartyStore(home), settings.application_hours)
        agent = Agent(connection, arguments.party)
        if record is not None:
            connection.layout.encode_party(arguments.party, record)  # refused before any joining
        with hold_folder(home), closing(agent):
            seat = _seat(agent, code, arguments.new)
            if not arguments.page:
                # What goes wrong is printed below; once is enough.
                logging.getLogger("parties.agent").setLevel(logging.ERROR)
                if seat is None:
                    raise UnknownApplication(
                        f"{home} has no application to take up again: give a code with --join."
                    )
                attend(agent, seat, record, arguments.agree)
                return
            port = arguments.port or _usual_port(settings, agent)
            if arguments.port is None:
                _check_port(settings, port)
            page = agent_page.build_agent_page(agent)
            place = agent_place(settings, agent.party.name, agent.party.label, port)
            _say(f"The {agent.party.label}'s page is at {said_address(place)}")
            serving.serve_page(page, place, agent_page.HEAD)


def attend(
    agent: Agent, seat: ApplicationAgent, record: Mapping[str, Any] | None, agree: Sequence[str]
) -> None:
    """Play without a page: send `record`, agree to the programs of `agree`, print what is opened.

    Ends when the last of them is opened; with none, never. A run that had stopped before is asked
    for once more. Raises what keeps it from going on, such as a run that fails.
    """
    member, label = seat.member, agent.party.label
    _say(f"{label}: application {member.client_id[:8]}, joined.")
    told: set[str] = set()

    def once(key: str, text: str) -> None:
        if key not in told:
            told.add(key)
            _say(f"{label}: {text}")

    serial, retry = 0, _stopped(seat, agree) is not None
    while True:
        if seat.over:
            raise UnknownApplication(seat.over)
        try:
            failure = member.failure
            if failure is not None:
                raise failure
            if retry:
                seat.try_again()
                retry = False
            _do_what_is_due(agent, seat, record, agree, once)
            if _opened(agent, seat, once) >= set(agree) and agree:
                return
        except TrisealError as error:
            if not isinstance(error, TransportError) and not may_pass(error):
                raise
            once(error.message, error.message)
        serial = seat.wait(serial, GLANCE_SECONDS)
        seat.look()


def _do_what_is_due(
    agent: Agent,
    seat: ApplicationAgent,
    record: Mapping[str, Any] | None,
    agree: Sequence[str],
    once: Any,
) -> None:
    """Send the record, agree where the others are so far; raises what a run failed with."""
    member = seat.member
    if member.keys_ready:
        once("keys", f"the joint key is made; its fingerprint is {member.fingerprint}.")
        if record is not None and seat.sent is None and not member.has_sent:
            sent = seat.send(record)
            once("sent", f"{sent.bits} bits encrypted and sent as {sent.size} bytes.")
    for program in agree:
        if agent.party.name not in member.agreed_by(program):
            try:
                seat.agree(program)
            except OutOfStep:
                break  # the others are not so far yet
            once(f"agreed {program}", f"agreed to {program}.")
    stopped = _stopped(seat, agree)
    if stopped is not None and stopped[1].status == "failed":
        raise stopped_by(*stopped)
    if stopped is not None:  # by a person, who may have it run again
        once(f"cancelled {stopped[0]}", f"{stopped[1].error} Any party can ask for it again.")


def _stopped(seat: ApplicationAgent, agree: Sequence[str]) -> tuple[str, ProgramState] | None:
    state = seat.member.state
    stopped = None if state is None else state.stopped
    return stopped if stopped is not None and stopped[0] in agree else None


def _opened(agent: Agent, seat: ApplicationAgent, once: Any) -> set[str]:
    """The programs that are over for this party, each printed once."""
    member = seat.member
    if not member.is_reader:
        over = {program for program in PROGRAMS if seat.answered(program)}
        for program in over:
            once(program, f"{program} is answered; this party is not among its readers.")
        return over
    over = set()
    if member.decision is not None:
        words = agent.connection.public.schema_.decision
        word = words.approved if member.decision.approved else words.denied
        score = "" if member.decision.score is None else f", score {member.decision.score:g}"
        once(DECIDE, f"{word}{score}.")
        over.add(DECIDE)
    if member.explanation is not None:
        once(EXPLAIN, member.explanation.explanation.text)
        over.add(EXPLAIN)
    return over


def _seat(agent: Agent, code: str | None, new: bool) -> ApplicationAgent | None:
    if code:
        return agent.join(code, pinned=True)
    return None if new else agent.resume()


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read as a JSON record: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{path} is no record: give a JSON object of columns and values.")
    return found


def _usual_port(settings: Settings, agent: Agent) -> int:
    names = agent.connection.public.schema_.party_names
    return settings.agent_port + names.index(agent.party.name)


def _check_port(settings: Settings, port: int) -> None:
    check_port(settings.page_host, port, "The party's page", "--port or TRISEAL_AGENT_PORT")


def _party(text: str) -> str:
    if not _NAME.fullmatch(text):  # it becomes the name of a folder
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a party")
    return text


def _url(text: str) -> str:
    try:
        return base_url_of(text)
    except AddressInvalid as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


def _programs(text: str) -> tuple[str, ...]:
    named = set(text.split(","))
    if not named <= set(PROGRAMS):
        raise argparse.ArgumentTypeError(f"{text!r} is not decide or decide,explain")
    return tuple(program for program in PROGRAMS if program in named)


def _say(text: str) -> None:
    print(text, flush=True)
