"""A party's agent: one process that plays one party, for as many applications as it joins.

Each application has an ApplicationAgent, whose background thread sends and receives messages, makes
the key, and opens results as agreed. A page or a terminal reads its state and calls its methods for
the decisions of a person. Everything that must survive a restart is in the party's own folder.
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
from parties.joint.listing import ListedApplication, listed_applications
from parties.joint.member import JointMember
from parties.log_watch import LogWatch
from parties.results import SliceSent
from parties.retrying import may_pass, waiting_words
from parties.reviews import Review, Reviews
from parties.store import LOCK, PartyStore
from utils.errors import (
    ApplicationExpired,
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
"""Longest wait of one call to the server for news."""
IDLE_SECONDS = 900.0
"""An application that is not viewed for this long is paused until it is viewed again."""
STEP_SECONDS = 0.1
"""Time given to this party's own next step before a call that could only wait for it.

A program's step follows at once; its call would have to end the waiting one.
"""
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
"""Longest pause after an error; the pause doubles from PAUSE_SECONDS with each one."""
LONGEST_REST_SECONDS = 600.0
LONGEST_BUSY_SECONDS = 60.0
"""Longest pause that a busy server can request."""
UPLOAD_SECONDS = 20.0
"""Longest wait of an agreement for records that their parties are uploading."""
CLOSE_SECONDS = 5.0
"""Longest wait for a page's step when an agent is closed; the process ends anyway."""

_EXPIRED = "This application has ended, and its files on this machine are erased."
_OVER = (ApplicationExpired, UnknownApplication, NotAuthorised)

log = logging.getLogger(__name__)


class ApplicationAgent:
    """A party's agent in one application, with its background thread.

    `serial` increases at every change, so that a page can tell whether to update. The thread keeps
    running while the application is viewed (`look`) or if it is `pinned`.
    """

    def __init__(
        self,
        member: JointMember,
        pinned: bool = False,
        watch: LogWatch | None = None,
        reviews: Reviews | None = None,
    ) -> None:
        self.member = member
        self._reviews = reviews
        self.referral: Review | None = None
        """The review that this party opened because the decision refers the application."""
        self.pinned = pinned
        self._watch = watch
        self._results = 0
        if watch is not None:
            member.withhold_permits(lambda: watch.fault is not None)
        self.sent: SliceSent | None = None
        self.over: str = ""
        self.expired = False
        self.waits: str = ""
        """The reason and the time of the next attempt after a temporary error; else empty."""
        self.busy = False
        """True if the server has refused the last call because it is busy."""
        self.heard = 0.0
        """Time of the last successful exchange with the server, by the monotonic clock."""
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
        """The error that stops the application, or None; temporary errors are in `waits`.

        Once the server's log was found to be rolled back or forked, it is that.
        """
        if self._watch is not None and self._watch.fault is not None:
            return self._watch.fault
        failure = self.member.failure
        return None if failure is None or may_pass(failure) else failure

    def answered(self, program: str) -> bool:
        """Return True if this party has sent its decryption share to all other readers."""
        member = self.member
        final = member.public.final(program)
        given = {
            message.receiver
            for message in member.events
            if message.sender == member.party and message.what == f"partial:{final}"
        }
        return bool(given) and given >= set(member.readers_of(program)) - {member.party}

    def look(self) -> None:
        """Note that the application is viewed; start the background thread if it is not running."""
        self._looked = time.monotonic()
        self._seen.set()
        with self._changed:
            if self.over or (self._thread is not None and self._thread.is_alive()):
                return
            name = f"pump {self.member.client_id[:8]}"
            self._thread = threading.Thread(target=self._play, name=name, daemon=True)
            self._thread.start()

    def wait(self, serial: int, seconds: float) -> int:
        """Wait at most `seconds` until `serial` is outdated; return the current serial number."""
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
        """Agree to open a program's result; see JointMember.agree.

        If all parties have committed to their records, wait until these have arrived.
        """
        self._require_open()
        if self._watch is not None:
            self._watch.require_sound()
        self._await_uploads()
        self.member.agree(program)
        self._note()

    def try_again(self) -> None:
        """Request a run again that failed or was cancelled."""
        self._require_open()
        self.member.run_if_due()
        self._note()

    def cancel(self) -> None:
        """Cancel the queued or active run, if there is one."""
        self._require_open()
        state = self.member.state
        if state is not None and state.under_way is not None:
            self.member.cancel(state.under_way[0])
        self._note()

    def close(self) -> None:
        """Stop calling the server, and release the party's folder for other processes.

        If the background thread is running, it releases the folder after its current step.
        """
        self._closed = True
        self._wake.set()
        self._seen.set()
        with self._changed:
            pumping = self._thread is not None and self._thread.is_alive()
        if not pumping:
            self.member.close(CLOSE_SECONDS)

    def expire(self) -> None:
        """Erase the party's files of the application, which has expired."""
        if not self.member.closed:
            self.member.expire()
        self.over = self.over or _EXPIRED
        self.expired = True
        self._note()

    def _require_open(self) -> None:
        if self.over:
            raise UnknownApplication(self.over)

    def _await_uploads(self) -> None:
        """Wait at most UPLOAD_SECONDS for uploads that are under way, as all have committed."""
        member, end = self.member, time.monotonic() + UPLOAD_SECONDS
        parties = len(member.public.schema_.parties)
        while len(member.sent_by) == parties and not member.records_arrived:
            left = end - time.monotonic()
            if left <= 0 or member.failure is not None or self.over:
                return
            self.wait(self.serial, min(left, PAUSE_SECONDS))

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
                if not (self._watched or self.member.pending or self.member.permits_runs):
                    if not self._rest():
                        return
                    continue
                if self.member.has_the_next_step:
                    self._wake.clear()
                    self._wake.wait(STEP_SECONDS)
                changed = self.member.advance(WAIT_SECONDS)
                referred = self._refer_if_due()
            except _OVER as error:
                self.over = self.over or error.message
                self._note()
                return
            except TrisealError as error:
                if self._closed:
                    return
                if self.member.closed:  # its files have been erased, by a person or by the timer
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
                if self._closed:  # the connection was closed during a call to the server
                    return
                log.exception("the background thread of an application has failed")
                self.over = "Something went wrong. The log of this party's agent has the details."
                self._note()
                return
            pause, self.heard = PAUSE_SECONDS, time.monotonic()
            self._note_results()
            if changed or referred or self._failure or self.waits:
                self._failure = self.waits = ""
                self._note()

    @property
    def must_refer(self) -> bool:
        """True as long as this party has to open the review of a referred application."""
        decision, reviews = self.member.decision, self._reviews
        return (
            decision is not None
            and decision.referred
            and self.referral is None
            and reviews is not None
            and (reviews.asks or reviews.gives)
        )

    def _refer_if_due(self) -> bool:
        """Open the review of a referred application; returns True if it was opened now."""
        if self._reviews is None or not self.must_refer:
            return False
        self.referral = self._reviews.refer(self.member.client_id)
        return True

    def _note_results(self) -> None:
        """Have the log watched after a result, which the server has logged."""
        state = self.member.state
        if self._watch is None or state is None:
            return
        results = sum(run.status == "done" for run in state.programs.values())
        if results != self._results:
            self._results = results
            self._watch.note()

    def tell(self) -> None:
        """Have the page or the terminal read the state again."""
        self._note()

    def _pause(self, error: TrisealError, seconds: float) -> None:
        """Wait after an error; if the server is busy, as long as it requests."""
        if isinstance(error, ServerBusy):
            seconds = min(max(seconds, error.retry_seconds), LONGEST_BUSY_SECONDS)
        if error.message != self._failure:
            log.warning("application %s: %s", self.member.client_id[:8], error.message)
        self.busy = isinstance(error, ServerBusy)
        waits = waiting_words(error, seconds) if may_pass(error) else ""
        if (error.message, waits) != (self._failure, self.waits):
            self._failure, self.waits = error.message, waits
            self._note()
        self._wake.clear()
        self._wake.wait(seconds)

    def _rest(self) -> bool:
        """Renew the token while the application is not viewed; return False if not needed."""
        seconds = self.member.keep_token()
        if seconds == math.inf:
            return False
        self._seen.clear()
        if not self._watched:  # it may have been viewed before the line above
            self._seen.wait(min(max(seconds, PAUSE_SECONDS), LONGEST_REST_SECONDS))
        return True


class Agent:
    """Plays `party` in all applications that it has joined at one server.

    Raises UnknownParty, and EngineUnavailable if the server's engine has no joint keys.
    """

    def __init__(self, connection: Connection, party: str) -> None:
        if not connection.public.engine.joint_keys:
            raise EngineUnavailable(
                "The server's engine has one key instead of joint keys, so parties have no agents; "
                "use its page, or start the server with TRISEAL_ENGINE=levelled."
            )
        self.connection = connection
        self.party = connection.public.schema_.party(party)
        self._reviews = Reviews(connection, party)
        self._applications: dict[str, ApplicationAgent] = {}
        self._lock = threading.Lock()
        self._first: ApplicationAgent | None = None
        self._timer = ExpiryTimer(self._erase_expired)
        own, store = connection.trust.own, connection.store
        self.watch = (
            None
            if own is None
            else LogWatch(connection.client, store.root, own.private, self._told_of_log)
        )
        """The watch over the server's log of a party with an identity key."""

    @property
    def first(self) -> ApplicationAgent | None:
        """The application that this process was started for, if any."""
        return self._first

    def join(self, code: str, pinned: bool = False) -> ApplicationAgent:
        """Join with a join code, or resume the application if this folder has joined with it.

        Raises InvalidRequest, NotAuthorised, UnknownApplication, ApplicationExpired, and
        ForeignMessage if the server's model has changed since this agent was started: its page and
        output show the fingerprint of that one.
        """
        with self._lock:  # a code works once, but a page with the code may be loaded twice
            found = self._applications.get(JoinCode.parse(code).client_id)
            if found is None:
                member = JointMember.join(self.connection, self.party.name, code)
                found = ApplicationAgent(member, watch=self.watch, reviews=self._reviews)
            else:
                found.member.require_code(code)
            return self._take(found, pinned)

    def resume(self) -> ApplicationAgent | None:
        """Return the agent of the newest application of this folder that still exists, or None."""
        for client_id in self.connection.store.applications(self.party.name):
            if client_id in self._applications:
                return self._applications[client_id]
            try:
                member = JointMember.resume(self.connection, client_id, self.party.name)
            except (*_OVER, ForeignMessage, MalformedMessage) as error:
                log.info("application %s is not resumed: %s", client_id[:8], error.message)
                continue
            try:
                member.advance()
            except _OVER:
                member.close()
                continue
            except TrisealError as error:
                log.info("resumed with an error: %s", error.message)
            with self._lock:
                resumed = ApplicationAgent(member, watch=self.watch, reviews=self._reviews)
                return self._take(resumed, pinned=True)
        return None

    def open(self, client_id: str) -> ApplicationAgent:
        """Return the agent of an application in this folder, which is resumed if need be.

        Raises the errors of JointMember.resume.
        """
        with self._lock:
            found = self._applications.get(client_id)
            if found is None:
                member = JointMember.resume(self.connection, client_id, self.party.name)
                found = ApplicationAgent(member, watch=self.watch)
            return self._take(found, pinned=False)

    def listed(self) -> list[ListedApplication]:
        """Return the applications in this party's folder, the newest first."""
        return listed_applications(self.connection.store, self.connection.public, self.party.name)

    def application(self, client_id: str) -> ApplicationAgent:
        """Return the agent of an application; raises UnknownApplication."""
        with self._lock:
            found = self._applications.get(client_id)
        if found is None:
            raise UnknownApplication("This process no longer takes part in that application.")
        return found

    def close(self) -> None:
        """Close all applications, which stay as they are; call before closing the connection."""
        self._timer.stop()
        if self.watch is not None:
            self.watch.stop()
        with self._lock:
            for application in self._applications.values():
                application.close()

    def _told_of_log(self) -> None:
        with self._lock:
            for application in self._applications.values():
                application.tell()

    def _erase_expired(self) -> float:
        """Erase expired files in this party's folder; return the seconds until the next expiry."""
        with self._lock:
            applications = [
                application
                for application in self._applications.values()
                if not application.expired
            ]
        soonest = math.inf
        for application in applications:
            left = application.member.seconds_left
            if left > 0:
                soonest = min(soonest, left)
            else:
                application.expire()
        connection = self.connection
        return min(soonest, erase_expired(connection.store, connection.hours, self.party.name))

    def _take(self, application: ApplicationAgent, pinned: bool) -> ApplicationAgent:
        self._applications[application.member.client_id] = application
        self._timer.wake()
        if pinned:
            application.pinned = True
            self._first = application
        application.look()
        return application


def hold_folder(home: Path) -> BinaryIO:
    """Create the party's folder, mode 0700, and lock it while the returned file is open.

    Raises DataFolderInUse if another process of the party holds it, and FolderNotOurs if it
    contains other files.
    """
    PartyStore(home).claim()
    return hold_lock(
        home / LOCK,
        f"Another agent uses {home}; stop it, or choose another folder with --home.",
    )
