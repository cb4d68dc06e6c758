"""Agents in processes of their own that kill themselves at a given place, with SIGKILL."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from governance.store_key import Secret
from parties.client import ServerClient
from parties.governance.calls import Redeem
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from parties.governance.owner_session import OwnerSession
from parties.governance.sealed_session import SealedSession
from trials.faults.application import Broken
from utils.errors import TrisealError

OwnerPoint = Literal["before the mark", "after the mark", "before the delivery"]
BankPoint = Literal["before it redeems", "when it has redeemed"]
START_SECONDS, END_SECONDS = 60.0, 30.0
_CLIENT_SECONDS = 20.0


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(END_SECONDS)  # never reached


def play_owner(
    ready: Connection, home: Path, url: str, name: str, secret: bytes, point: OwnerPoint
) -> None:
    """Run an owner's agent until it is about to do, or has done, what `point` names."""
    client = ServerClient(url, _CLIENT_SECONDS)
    mark = Owner.use_permit

    def use_permit(self: Owner, *given: Any) -> int:
        if point == "before the mark":
            _end()
        entry = mark(self, *given)
        if point == "after the mark":
            _end()
        return entry

    Owner.use_permit = use_permit  # type: ignore[assignment, method-assign]
    if point == "before the delivery":
        OwnerSession._deliver = lambda *_given: _end()  # type: ignore[method-assign]
    Owner.start(home, client, name, Secret("key_file", secret))
    ready.send(True)
    time.sleep(END_SECONDS)


def play_bank(
    ready: Connection, home: Path, url: str, token: str, request_id: str, point: BankPoint
) -> None:
    """Run a bank's agent that uses a request, until it is at the place that `point` names."""
    client = ServerClient(url, _CLIENT_SECONDS)
    bank = Institution.start(home, client, "Bank of X", token)
    send = SealedSession.send

    def sent(self: SealedSession, message: Any) -> None:
        redeems = isinstance(message, Redeem)
        if redeems and point == "before it redeems":
            _end()
        send(self, message)
        if redeems:
            _end()

    SealedSession.send = sent  # type: ignore[method-assign]
    ready.send(True)
    try:
        bank.run(request_id, END_SECONDS)
    except TrisealError as error:
        ready.send(error.message)


def started(play: Callable[..., None], *given: Any) -> BaseProcess:
    """Start a process that plays an agent, and wait until it runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe()
    process = context.Process(target=play, args=(theirs, *given), daemon=True)
    process.start()
    theirs.close()
    with ours:
        try:
            if not ours.poll(START_SECONDS):
                raise Broken("the trial itself", "an agent's process did not start")
            ours.recv()
        except EOFError as error:
            process.join(END_SECONDS)
            if process.exitcode != -signal.SIGKILL:
                raise Broken("the trial itself", "an agent's process has failed") from error
    return process


def require_killed(process: BaseProcess) -> None:
    """Wait until a process has killed itself; raises Broken."""
    process.join(END_SECONDS)
    if process.exitcode != -signal.SIGKILL:
        process.kill()
        process.join()
        raise Broken("the trial itself", f"a process ended with {process.exitcode}")
