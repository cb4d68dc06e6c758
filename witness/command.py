"""Command line of a witness, `python -m witness`.

python -m witness --key             print the public key, for TRISEAL_WITNESSES
python -m witness --name Auditor    check and sign the results of the server
"""

from __future__ import annotations

from utils.command_line import CommandParser

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from engines.registry import load_server_engine
from parties.client import ServerClient
from parties.cosigner import Cosigner
from parties.waiting import wait_for_server
from settings import Settings
from utils.errors import EngineUnavailable
from utils.ports import check_port
from witness.client import WitnessClient
from witness.judge import Judge
from witness.key import claim_home, hold_home, load_key, public_hex
from witness.page import HOST, status_page
from witness.status import Status
from witness.work import Work

CALL_SECONDS = 60.0
"""Time limit of a call, in addition to a requested wait."""


@dataclass(frozen=True)
class Arguments:
    """The parsed command line; None stands for the setting's value."""

    name: str
    home: Path | None
    deployment: Path | None
    server: str | None
    port: int | None
    key: bool


def parse(words: Sequence[str]) -> Arguments:
    """Parse the command line; an invalid one prints the usage and exits with code 2."""
    parser = CommandParser(prog="python -m witness", description="A witness of results.")
    parser.add_argument(
        "--key", action="store_true", help="print the public key; make it if needed"
    )
    parser.add_argument("--name", default="Auditor", help="the name on the status page")
    parser.add_argument("--home", type=Path, metavar="DIR", help="folder of the witness's key")
    parser.add_argument(
        "--deployment", type=Path, metavar="DIR", help="the witness's own copy of the program"
    )
    parser.add_argument("--server", metavar="URL", help="the server; from the settings if left out")
    parser.add_argument("--port", type=int, metavar="PORT", help="port of the status page")
    return Arguments(**vars(parser.parse_args(words)))


def run(arguments: Arguments, settings: Settings) -> None:
    """Print the key, or work until SIGINT, SIGTERM or SIGHUP.

    Raises FolderNotOurs, DataFolderInUse, MalformedMessage for a damaged key, PortInUse,
    DeploymentError, EngineUnavailable if the engine's results cannot be checked, and
    ServerUnreachable if the server does not start.
    """
    home = claim_home(arguments.home or settings.witness_data)
    if arguments.key:
        _say(public_hex(load_key(home)))
        return
    port = arguments.port or settings.witness_port
    check_port(HOST, port, "The witness's page", "--port or TRISEAL_WITNESS_PORT")
    with hold_home(home):
        key = load_key(home)
        engine = load_server_engine(settings.engine, arguments.deployment or settings.deployment)
        if not engine.facts.joint_keys:
            raise EngineUnavailable(
                f"Results of the engine {settings.engine} cannot be witnessed; use levelled."
            )
        logging.basicConfig(
            level=logging.INFO, format="%(name)s: %(message)s", handlers=_log_handlers()
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)
        stop = _stopped_by_signals()

        def going_on() -> None:
            if stop.is_set():
                raise KeyboardInterrupt

        status = Status(arguments.name, public_hex(key), engine.public.model_version)
        url = arguments.server or settings.url
        trusted = settings.server_ca
        with status_page(status, port), WitnessClient(url, CALL_SECONDS, key, trusted) as client:
            _say(f"Witness {arguments.name}: key {public_hex(key)}, http://{HOST}:{port}/")
            with ServerClient(url, CALL_SECONDS, authority=trusted) as server:
                wait_for_server(server, _say, alive=going_on)
            # In a thread of its own, so that a signal is handled while a call waits.
            cosigner = Cosigner(client, home, key)
            work = Work(client, Judge(engine, key), status, stop, cosigner)
            threading.Thread(target=work.run, name="work", daemon=True).start()
            stop.wait()


def _log_handlers() -> list[logging.Handler]:
    """Return handlers that write warnings to standard error, and the rest to standard output."""
    ordinary, warnings = logging.StreamHandler(sys.stdout), logging.StreamHandler()
    ordinary.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    return [ordinary, warnings]


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    return stop


def _say(text: str) -> None:
    print(text, flush=True)
