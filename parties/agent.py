"""A party's agent: one process that plays one party, for as many applications as it joins.

Each application has a seat with a thread that pumps: it sends and takes messages, makes the key,
answers what was agreed to. Whoever shows or drives a seat, a page or a terminal, reads it and adds
what a person decides. Everything lasting is in the party's own folder.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from parties.connection import Connection
from parties.expiry import erase_expired
from parties.expiry_timer import ExpiryTimer
from parties.joint.codes import JoinCode
from parties.joint.member import JointMember
from parties.results import SliceSent
from parties.retrying import may_pass, waiting_words
from parties.store import LOCK, PartyStore
from utils.errors import (
    ApplicationExpired,
    DeploymentMixed,
    EngineUnavailable,
    ForeignMessage,
    MalformedMessage,
    NotAuthorised,
    ServerBusy,
    TrisealError,
    UnknownApplication,
)
from utils.file_lock import hold_lock

WAIT_SECONDS = 20.0
"""How long the pump lets the server wait for news before it asks again."""
IDLE_SECONDS = 900.0
"""An application that nobody looks at for so long is left alone until somebody does."""
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
"""After something went wrong, the pump waits, longer each time."""
LONGEST_REST_SECONDS = 600.0
LONGEST_BUSY_SECONDS = 60.0
"""The longest that it waits because the server says so."""
CLOSE_SECONDS = 5.0
"""How long the end of an agent waits for a page's step; the end of the process stops it anyway."""

_EXPIRED = "This application is over; this machine has erased its files of it."
_OVER = (ApplicationExpired, UnknownApplication, NotAuthorised)

log = logging.getLogger(__name__)


class ApplicationAgent:
    """The party's place in one application, with the thread that pumps for it.

    `serial` grows at every change, so that a page sees at once whether there is anything new.
    """

    def __init__(self, member: JointMember, pinned: bool = False) -> None:
        self.member = member
        self.pinned = pinned
        self.sent: SliceSent | None = None
        self.over: str = ""
        self.expired = False
        self.waits: str = ""
        """Why the server is asked again a little later, and when; empty where it is not."""
        self._failure: str = ""
        self._serial = 1
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._seen = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = time.monotonic()
        self._closed = False

    @property
    def serial(self) -> int:
        with self._changed:
            return self._serial

    @property
    def failure(self) -> TrisealError | None:
        """What keeps the application from going on, or None; what may pass is in `waits`."""
        failure = self.member.failure
        return None if failure is None or may_pass(failure) else failure

    def answered(self, program: str) -> bool:
        """Whether this party has given its part of a program's opening to all who read it."""
        member = self.member
        given = {
            message.receiver
            for message in member.events
            if message.sender == member.party and message.what == f"partial:{program}"
        }
        return bool(given) and given >= set(member.readers) - {member.party}

    def look(self) -> None:
        """Somebody looks: the pump runs, or runs on."""
        self._looked = time.monotonic()
        self._seen.set()
        with self._changed:
            if self.over or (self._thread is not None and self._thread.is_alive()):
                return
            name = f"pump {self.member.client_id[:8]}"
            self._thread = threading.Thread(target=self._play, name=name, daemon=True)
            self._thread.start()

    def wait(self, serial: int, seconds: float) -> int:
        """Wait until `serial` is no longer the current one, at most so long; answers that one."""
        with self._changed:
            self._changed.wait_for(lambda: self._serial != serial, seconds)
            return self._serial

    def send(self, record: Mapping[str, Any]) -> SliceSent:
        """Encrypt and send the party's record; see JointMember.send_record."""
        self._require_open()
        self.sent = self.member.send_record(record)
        self._note()
        return self.sent

    def agree(self, program: str) -> None:
        """Agree to open a program's answer; see JointMember.agree."""
        self._require_open()
        self.member.agree(program)
        self._note()

    def try_again(self) -> None:
        """Ask once more for a run that failed or was cancelled."""
        self._require_open()
        self.member.run_if_due()
        self._note()

    def cancel(self) -> None:
        """End the run that waits or is under way."""
        self._require_open()
        state = self.member.state
        if state is not None and state.under_way is not None:
            self.member.cancel(state.under_way[0])
        self._note()

    def close(self) -> None:
        """Ask the server for nothing more, and let others play the party here.

        Where the pump is at work, it does the latter when it ends with what it is doing.
        """
        self._closed = True
        self._wake.set()
        self._seen.set()
        with self._changed:
            pumping = self._thread is not None and self._thread.is_alive()
        if not pumping:
            self.member.close(CLOSE_SECONDS)

    def expire(self) -> None:
        """Erase the party's files of the application, whose time is over."""
        if not self.member.closed:
            self.member.expire()
        self.over = self.over or _EXPIRED
        self.expired = True
        self._note()

    def _require_open(self) -> None:
        if self.over:
            raise UnknownApplication(self.over)

    def _note(self) -> None:
        with self._changed:
            self._serial += 1
            self._changed.notify_all()
        self._wake.set()

    @property
    def _watched(self) -> bool:
        return self.pinned or time.monotonic() - self._looked < IDLE_SECONDS

    def _play(self) -> None:
        try:
            self._pump()
        finally:
            if self._closed:
                self.member.close(CLOSE_SECONDS)

    def _pump(self) -> None:
        pause = PAUSE_SECONDS
        while not (self._closed or self.over):
            try:
                if not self._watched and not self.member.pending:
                    if not self._rest():
                        return
                    continue
                changed = self.member.advance(WAIT_SECONDS)
            except _OVER as error:
                self.over = self.over or error.message
                self._note()
                return
            except TrisealError as error:
                if self._closed:
                    return
                if self.member.closed:  # and its files erased, by a person or by the timer
                    self.over = self.over or _EXPIRED
                    self._note()
                    return
                if self.member.ended is not None:
                    self.over = error.message
                    self._note()
                    return
                self._pause(error, pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except Exception:
                if self._closed:  # the connection was closed under a question to the server
                    return
                log.exception("the pump of an application has failed")
                self.over = "Something failed that should not have; the agent's log has it."
                self._note()
                return
            pause = PAUSE_SECONDS
            if changed or self._failure or self.waits:
                self._failure = self.waits = ""
                self._note()

    def _pause(self, error: TrisealError, seconds: float) -> None:
        """Wait after an error, as long as the server says where it is busy."""
        if isinstance(error, ServerBusy):
            seconds = min(max(seconds, error.retry_seconds), LONGEST_BUSY_SECONDS)
        if error.message != self._failure:
            log.warning("application %s: %s", self.member.client_id[:8], error.message)
        waits = waiting_words(error, seconds) if may_pass(error) else ""
        if (error.message, waits) != (self._failure, self.waits):
            self._failure, self.waits = error.message, waits
            self._note()
        self._wake.clear()
        self._wake.wait(seconds)

    def _rest(self) -> bool:
        """Keep the token good until somebody looks; False where it lasts by itself."""
        seconds = self.member.keep_token()
        if seconds == math.inf:
            return False
        self._seen.clear()
        if not self._watched:  # nobody came before the line above
            self._seen.wait(min(max(seconds, PAUSE_SECONDS), LONGEST_REST_SECONDS))
        return True


class Agent:
    """Plays `party` at one server, for the applications that it has joined.

    Raises UnknownParty, and EngineUnavailable where the server's engine has no joint keys.
    """

    def __init__(self, connection: Connection, party: str) -> None:
        if not connection.public.engine.joint_keys:
            raise EngineUnavailable(
                "The server's engine has one key instead of joint keys, so parties have no agents; "
                "use its page, or start the server with TRISEAL_ENGINE=levelled."
            )
        self.connection = connection
        self.party = connection.public.schema_.party(party)
        self._seats: dict[str, ApplicationAgent] = {}
        self._lock = threading.Lock()
        self._first: ApplicationAgent | None = None
        self._timer = ExpiryTimer(self._erase_expired)

    @property
    def first(self) -> ApplicationAgent | None:
        """The application that this process was started for, if any."""
        return self._first

    def join(self, code: str, pinned: bool = False) -> ApplicationAgent:
        """Take the seat that a join code gives; again, where this folder has joined with it.

        Raises InvalidRequest, NotAuthorised, UnknownApplication, ApplicationExpired, and
        DeploymentMixed where the server has another schema by now.
        """
        before = self.connection.public.schema_
        self.connection.refresh()
        if self.connection.public.schema_ != before:
            raise DeploymentMixed("The server has another model by now: start this agent again.")
        with self._lock:  # a code works once: a page that is loaded twice must not use it twice
            found = self._seats.get(JoinCode.parse(code).client_id)
            if found is None:
                found = ApplicationAgent(JointMember.join(self.connection, self.party.name, code))
            else:
                found.member.require_code(code)
            return self._take(found, pinned)

    def resume(self) -> ApplicationAgent | None:
        """The seat in the application that this folder joined last and that still exists."""
        for client_id in self.connection.store.applications(self.party.name):
            if client_id in self._seats:
                return self._seats[client_id]
            try:
                member = JointMember.resume(self.connection, client_id, self.party.name)
            except (*_OVER, ForeignMessage, MalformedMessage) as error:
                log.info("application %s is not taken up: %s", client_id[:8], error.message)
                continue
            try:
                member.advance()
            except _OVER:
                member.close()
                continue
            except TrisealError as error:
                log.info("taken up again as it is: %s", error.message)
            with self._lock:
                return self._take(ApplicationAgent(member), pinned=True)
        return None

    def seat(self, client_id: str) -> ApplicationAgent:
        """The seat in an application that this process takes part in; raises UnknownApplication."""
        with self._lock:
            found = self._seats.get(client_id)
        if found is None:
            raise UnknownApplication("This process takes no part in that application any more.")
        return found

    def close(self) -> None:
        """Leave all applications as they are; to be called before the connection is closed."""
        self._timer.stop()
        with self._lock:
            for seat in self._seats.values():
                seat.close()

    def _erase_expired(self) -> float:
        """Erase what has expired in this party's folder; return the seconds until there is more."""
        with self._lock:
            seats = [seat for seat in self._seats.values() if not seat.expired]
        soonest = math.inf
        for seat in seats:
            left = seat.member.seconds_left
            if left > 0:
                soonest = min(soonest, left)
            else:
                seat.expire()
        connection = self.connection
        return min(soonest, erase_expired(connection.store, connection.hours, self.party.name))

    def _take(self, seat: ApplicationAgent, pinned: bool) -> ApplicationAgent:
        self._seats[seat.member.client_id] = seat
        self._timer.wake()
        if pinned:
            seat.pinned = True
            self._first = seat
        seat.look()
        return seat


def hold_folder(home: Path) -> BinaryIO:
    """Make the party's folder, mode 0700, and keep it for this process while the file is open.

    Raises DataFolderInUse where another process of the party has it, and FolderNotOurs where it
    holds other files.
    """
    PartyStore(home).claim()
    return hold_lock(
        home / LOCK,
        f"Another agent works in {home} already; end it, or give another folder with --home.",
    )
