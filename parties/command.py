"""Command line of one party's agent, `python -m parties --party NAME`, with or without a page.

The page itself is passed in by parties/__main__.py, because this folder does not know the pages.

    python -m parties --party bank --join CODE                        a page for the bank's clerk
    python -m parties --party bank --join CODE --no-page --record bank.json --agree decide,explain
    python -m parties identity --party bank                    see parties/identity_command.py
    python -m parties decision-file --party bank               see parties/decision_file_command.py

Without --join, the agent resumes the application that its folder joined last.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import argparse
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, MASKED_BY, PROGRAMS, REASONS
from parties.agent import Agent, ApplicationAgent, hold_folder
from parties.client import ServerClient
from parties.connection import Connection, trusted_witnesses
from parties.identity_file import read_identity
from parties.joint.identities import Trust
from parties.joint.witnesses import witness_words
from parties.results import require_reasons
from parties.retrying import may_pass
from parties.run_follower import stopped_by
from parties.store import PartyStore
from parties.trust_file import TrustFile
from parties.waiting import wait_for_server
from settings import Settings
from utils.addresses import base_url_of
from utils.errors import (
    AddressInvalid,
    InvalidRequest,
    OutOfStep,
    TransportError,
    TrisealError,
    UnknownApplication,
)
from utils.ports import check_port
from utils.strict_json import parse_json

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
GLANCE_SECONDS = 1.0
"""Longest wait for a change without a page; it bounds the time until Ctrl-C is noticed."""

ServePage = Callable[[Agent, Settings, int], None]
"""Serves an agent's page at a port until it is stopped."""
OpenPages = Callable[[], AbstractContextManager[ServePage]]
"""Loads the libraries of the pages, which takes seconds."""


@dataclass(frozen=True)
class Arguments:
    """The parsed command line.

    None for `home`, `server`, `trust` or `port` means the settings' value.
    """

    party: str
    server: str | None
    join: str | None
    home: Path | None
    trust: Path | None
    port: int | None
    page: bool
    record: Path | None
    agree: tuple[str, ...]
    new: bool


def parse(words: Sequence[str]) -> Arguments:
    """Parse the command line; an invalid one prints the usage and exits with code 2."""
    parser = CommandParser(
        prog="python -m parties",
        description="Run one party's agent, with a page of its own unless --no-page is given.",
        epilog="Other commands, each with a --help of its own: python -m parties identity, "
        "decision-file, owner, institution.",
    )
    parser.add_argument(
        "--party", required=True, type=party_name, metavar="NAME", help="which party this is"
    )
    parser.add_argument(
        "--server", type=_url, metavar="URL", help="the server; from the settings if left out"
    )
    parser.add_argument(
        "--join", metavar="CODE", help="the party's join code; - reads it from stdin"
    )
    parser.add_argument("--new", action="store_true", help="do not resume the last application")
    parser.add_argument("--home", type=Path, metavar="DIR", help="the party's own folder")
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help="the other parties' identity keys, to require"
    )
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
        help="without a page: agree in advance to decide, and to explain or reasons or both, as in "
        "decide,explain,reasons, and exit when all are opened",
    )
    found = parser.parse_args(words)
    if not found.no_page and (found.record or found.agree):
        parser.error("--record and --agree need --no-page; with a page, use the page instead")
    return Arguments(
        party=found.party,
        server=found.server,
        join=found.join,
        home=found.home,
        trust=found.trust,
        port=found.port,
        page=not found.no_page,
        record=found.record,
        agree=found.agree,
        new=found.new,
    )


def run(arguments: Arguments, settings: Settings, open_pages: OpenPages) -> None:
    """Connect, join or resume, and then serve the page or call `attend`.

    `open_pages` is called only for an agent with a page. Raises InvalidRequest for an unreadable
    record, IdentityKeyInvalid, TrustFileInvalid, PortInUse, DataFolderInUse, and the errors of
    connecting and joining.
    """
    record = None if arguments.record is None else _read_record(arguments.record)
    if arguments.page and arguments.port is not None:
        _check_port(settings, arguments.port)
    home = arguments.home or settings.party_data / arguments.party
    trust_file = arguments.trust or settings.trust
    pinned = None if trust_file is None else TrustFile.read(trust_file)
    key = read_identity(home)
    if pinned is not None:
        pinned.require_own(arguments.party, key)
    trust = Trust(key, pinned.of_others(arguments.party) if pinned else {})
    code = sys.stdin.readline() if arguments.join == "-" else arguments.join
    with ExitStack() as held:
        client = ServerClient.from_settings(settings, arguments.server)
        serve_page = None
        if not arguments.page:
            held.enter_context(client)
        else:  # the page's handlers may use the client until the process ends
            serve_page = held.enter_context(open_pages())  # the server may start meanwhile
        wait_for_server(client, _say)
        connection = Connection(
            client,
            PartyStore(home),
            settings.application_hours,
            trusted_witnesses(settings),
            trust,
        )
        if pinned is not None:
            pinned.require_names(connection.public.schema_.party_names)
        agent = Agent(connection, arguments.party)
        if REASONS in arguments.agree:
            require_reasons(connection.public)
        if record is not None:
            connection.layout.encode_party(arguments.party, record)  # validates it before joining
        with hold_folder(home), closing(agent):
            shown = connection.public.fingerprint
            _say(f"Model fingerprint: {shown}; all parties must see the same.")
            application = _application(agent, code, arguments.new)
            if serve_page is None:
                # `attend` prints errors itself; do not log them as well.
                logging.getLogger("parties.agent").setLevel(logging.ERROR)
                if application is None:
                    raise UnknownApplication(
                        f"{home} has no application to resume: pass a join code with --join."
                    )
                attend(agent, application, record, arguments.agree)
                return
            port = arguments.port or _usual_port(settings, agent)
            if arguments.port is None:
                _check_port(settings, port)
            serve_page(agent, settings, port)


def attend(
    agent: Agent,
    application: ApplicationAgent,
    record: Mapping[str, Any] | None,
    agree: Sequence[str],
) -> None:
    """Play without a page: send `record`, agree to the programs of `agree`, print the results.

    Returns when the last of the programs is opened; never if `agree` is empty. A run that had
    stopped before the start is requested once more. Raises any error that prevents progress, for
    example EvaluationFailed.
    """
    member, label = application.member, agent.party.label
    _say(f"{label}: application {member.client_id[:8]}, joined. {witness_words(member.witnesses)}")
    told: set[str] = set()

    def once(key: str, text: str) -> None:
        if key not in told:
            told.add(key)
            _say(f"{label}: {text}")

    serial, retry = 0, _stopped(application, agree) is not None
    while True:
        if application.over:
            raise UnknownApplication(application.over)
        try:
            failure = application.failure or member.failure
            if failure is not None:
                raise failure
            if retry:
                application.try_again()
                retry = False
            _do_what_is_due(agent, application, record, agree, once)
            if _opened(agent, application, once) >= set(agree) and agree:
                return
        except TrisealError as error:
            if not isinstance(error, TransportError) and not may_pass(error):
                raise
            once(error.message, error.message)
        serial = application.wait(serial, GLANCE_SECONDS)
        application.look()


def _do_what_is_due(
    agent: Agent,
    application: ApplicationAgent,
    record: Mapping[str, Any] | None,
    agree: Sequence[str],
    once: Any,
) -> None:
    """Send the record, agree to the programs that are ready; raise the error of a failed run."""
    member = application.member
    for other in member.identities:
        if other.key is not None:
            label = agent.connection.public.schema_.party(other.party).label
            once(f"identity of {other.party}", f"{label}: {other.words}.")
    if member.keys_ready:
        once("keys", f"the joint key is made; its fingerprint is {member.fingerprint}.")
        if record is not None and application.sent is None and not member.has_sent:
            made = application.send(record)
            once(
                "encrypted",
                f"{made.bits} bits encrypted as {made.size} bytes; they leave this machine by "
                "themselves once all parties have committed to theirs.",
            )
        if record is not None and (upload := member.upload) is not None:
            once("sent", f"the encrypted record was sent, {upload.size} bytes.")
    if member.awaited_witnesses:
        names = ", ".join(member.awaited_witnesses)
        once(f"witness {names}", f"waiting for the witness {names}.")
    for program in agree:
        if agent.party.name not in member.agreed_by(program):
            try:
                application.agree(program)
            except OutOfStep:
                break  # the other parties are not ready yet
            once(f"agreed {program}", f"agreed to {program}.")
    stopped = _stopped(application, agree)
    if stopped is not None and stopped[1].status == "failed":
        raise stopped_by(*stopped)
    if stopped is not None:  # cancelled by a person, who may request it again
        once(f"cancelled {stopped[0]}", f"{stopped[1].error} Any party can request it again.")


def _stopped(
    application: ApplicationAgent, agree: Sequence[str]
) -> tuple[str, ProgramState] | None:
    state = application.member.state
    stopped = None if state is None else state.stopped
    if stopped is None:
        return None
    return stopped if MASKED_BY.get(stopped[0], stopped[0]) in agree else None


def _opened(agent: Agent, application: ApplicationAgent, once: Any) -> set[str]:
    """Return the programs that are finished for this party, and print each once."""
    member = application.member
    over = {p for p in PROGRAMS if not member.reads(p) and application.answered(p)}
    for program in over:
        once(program, f"{program} is finished; this party is not among its readers.")
    if member.decision is not None:
        word = member.decision.word(agent.connection.public.schema_)
        score = "" if member.decision.score is None else f", score {member.decision.score:g}"
        once(DECIDE, f"{word}{score}.")
        referral = application.referral
        if referral is not None and referral.due is not None:
            once("referral", f"a person of the lender decides by {referral.due:%Y-%m-%d}.")
        if not application.must_refer:
            over.add(DECIDE)
    if member.explanation is not None:
        once(EXPLAIN, " ".join(member.explanation.explanation.texts))
        over.add(EXPLAIN)
    if member.reasons is not None:
        for number, sentence in enumerate(member.reasons.sentences, 1):
            once(f"{REASONS} {number}", f"reason {number}: {sentence}")
        once(REASONS, member.reasons.remark)
        over.add(REASONS)
    return over


def _application(agent: Agent, code: str | None, new: bool) -> ApplicationAgent | None:
    if code:
        return agent.join(code, pinned=True)
    return None if new else agent.resume()


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read as a JSON record: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidRequest(
            f"{path} is not a record: it must be a JSON object of columns and values."
        )
    return found


def _usual_port(settings: Settings, agent: Agent) -> int:
    names = agent.connection.public.schema_.party_names
    return settings.agent_port + names.index(agent.party.name)


def _check_port(settings: Settings, port: int) -> None:
    check_port(settings.page_host, port, "The party's page", "--port or TRISEAL_AGENT_PORT")


def party_name(text: str) -> str:
    """Return a party's name of the command line; raises ArgumentTypeError."""
    if not _NAME.fullmatch(text):  # it becomes the name of a folder
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid party name")
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
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of {', '.join(PROGRAMS)}")
    return tuple(program for program in PROGRAMS if program in named)


def _say(text: str) -> None:
    print(text, flush=True)
