"""An owner's book: the requests with their events, uses and undelivered results, on disk.

    index                     sealed: the ids of the requests in their order, and their versions
    <id>-<version>.request    sealed: one request and everything that has happened to it
    activity                  sealed: what the owner's agent has done, in words

Files are encrypted (parties/governance/sealed_files.py). The index names the version of each
request, so that an altered, swapped or older file of a request is StoreDamaged. A change writes the
new file, then the index, and then removes the old file: a crash leaves the state before or after
the change.

A copy of the whole folder, put back later, is not noticed here. The server still refuses a permit
that it has marked as used.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from contract.sessions import SessionEventRequest
from governance import request_state
from governance.access import Partner
from governance.masking import Mask
from governance.request_state import Event, Issue, RequestState, Revoke, replay, step
from governance.requests import AccessRequest, Hex128, SignedRequest
from parties.governance.sealed_files import SealedFiles
from parties.governance.views import ActivityLine
from utils.errors import DataFolderInUse, QuotaExceeded, RequestClosed, UnknownName

MOST_REQUESTS = 500
"""Requests in a book; the oldest closed ones, those without uses first, make room for new ones."""
MOST_OPEN_OF_ONE = 50
"""Open requests of one requester."""
MOST_EVENTS = 4000
"""Events of one request."""
LAST_EVENTS = 500
"""Events, of these, that are kept for uses and answers when no further permit is issued."""
MOST_LINES = 1000
"""Lines of activity that are kept."""
MOST_UNLOGGED = 64
MOST_CONSENTS = 1000
MOST_FILE_BYTES = 16 * 1024 * 1024
INDEX, ACTIVITY, CONSENTS = "index", "activity", "consents"
_FILE = re.compile(r"[0-9a-f]{32}-[0-9]{1,18}\.request")

_Kind = TypeVar("_Kind", bound=BaseModel)
_EVENTS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(getattr(request_state, name))
    for name in ("Approve", "Deny", "Activate", "Pause", "Resume", "Revoke", "Issue", "Begin")
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredEvent(_Model):
    """An event of governance/request_state.py by the name of its class, and its time."""

    name: Annotated[str, Field(pattern=f"^({'|'.join(_EVENTS)})$")]
    members: dict[str, JsonValue] = {}
    at: int

    @classmethod
    def of(cls, event: Event, at: int) -> StoredEvent:
        """Return the stored form of an event."""
        name = type(event).__name__
        return cls(name=name, members=_EVENTS[name].dump_python(event, mode="json"), at=at)

    @property
    def event(self) -> Event:
        """The event; raises ValidationError."""
        found: Event = _EVENTS[self.name].validate_python(self.members)
        return found


class StoredUse(_Model):
    """One execution: its permit's id, its time, its entry in the server's log, and the version."""

    permit: Hex128
    at: int
    entry: int | None
    version: int


class Prepared(_Model):
    """A result that is not delivered yet.

    `call` is the institution's call that it is for. Until it is `marked`, the server has not said
    that it marked the use, and the result must not leave. `idempotency_key` is that of the call to
    the server, which a repetition of the call has too.
    """

    permit_id: Hex128
    permit: str = Field(repr=False)
    idempotency_key: Hex128
    call: int
    at: int
    version: int
    result: dict[str, JsonValue] = Field(repr=False)
    entry: int | None = None
    marked: bool = False


class StoredRequest(_Model):
    """A request, the verdict of the policy about it, and everything that has happened to it."""

    session_id: str
    partner: Partner
    signed: str
    words: str
    data_set: str
    policy_allows: bool
    policy_words: str
    policy_version: str
    rules: tuple[str, ...] = ()
    masks: dict[str, Mask] = {}
    join_code: str | None = Field(default=None, repr=False)
    events: tuple[StoredEvent, ...] = Field(default=(), max_length=MOST_EVENTS)
    receipt: str | None = None
    uses: tuple[StoredUse, ...] = Field(default=(), max_length=MOST_EVENTS)
    outbox: tuple[Prepared, ...] = ()
    unlogged: tuple[SessionEventRequest, ...] = Field(default=(), max_length=MOST_UNLOGGED)
    problem: str | None = None

    @property
    def request(self) -> AccessRequest:
        """The request."""
        return _request_of(self.signed)

    def state(self) -> RequestState:
        """Return the state after the last event, by replaying all of them."""
        return replay(self.request, [(each.event, each.at) for each in self.events])

    def after(self, event: Event, now: int) -> StoredRequest:
        """Return the request after an event; raises the errors of governance.request_state.step."""
        state = self.state()
        step(state, event, now)
        events = self.events
        if isinstance(event, Issue):
            # Expired permits that were never used say nothing any more.
            kept = dict(state.begun) | dict(request_state.at(state, now).issued)
            used = {each.permit for each in self.uses} | {each.permit_id for each in self.outbox}
            events = tuple(
                each
                for each in events
                if each.name != "Issue" or each.members["permit"] in kept.keys() | used
            )
        if len(events) >= _most_events_before(event):
            raise RequestClosed("The request has been used too often; make a new one.")
        return self.model_copy(update={"events": (*events, StoredEvent.of(event, now))})

    def prepared(self, permit_id: str) -> Prepared | None:
        """Return the undelivered result of a permit, or None."""
        return next((each for each in self.outbox if each.permit_id == permit_id), None)


def _most_events_before(event: Event) -> int:
    """Return how many events may precede an event; a revocation is always possible."""
    if isinstance(event, Issue):
        return MOST_EVENTS - LAST_EVENTS
    return MOST_EVENTS if isinstance(event, Revoke) else MOST_EVENTS - 1


@lru_cache(maxsize=MOST_REQUESTS)
def _request_of(signed: str) -> AccessRequest:
    return SignedRequest.parse(signed.encode()).request


class _Index(_Model):
    versions: dict[Hex128, int] = Field(default={}, max_length=MOST_REQUESTS)


class _Activity(_Model):
    lines: tuple[ActivityLine, ...] = Field(default=(), max_length=MOST_LINES)


class _Consents(_Model):
    given: tuple[tuple[str, str], ...] = Field(default=(), max_length=MOST_CONSENTS)
    signed_at: int = 0


class RequestBook:
    """The open book of an owner; thread-safe. One process at a time may have it open.

    `exclusive` gives the lock of one request: whoever changes a request holds it from reading it to
    storing the change, so that the order of an approval, a use and a revocation is unambiguous.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        """Open the book in a folder, or begin a new one; raises StoreDamaged and OSError."""
        self._files = SealedFiles(folder, key, "the book of requests", MOST_FILE_BYTES)
        self._lock = threading.RLock()
        self._closed = False
        # Requesters choose the ids: only locks that somebody holds or waits for are kept.
        self._locks: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._versions = dict((self._read(INDEX, _Index) or _Index()).versions)
        self._requests = {name: self._load(name) for name in self._versions}
        self._lines = (self._read(ACTIVITY, _Activity) or _Activity()).lines
        self._consents = self._read(CONSENTS, _Consents) or _Consents()
        self._remove_others()

    def requests(self) -> tuple[StoredRequest, ...]:
        """Return all requests, the oldest first."""
        with self._lock:
            return tuple(self._requests.values())

    def get(self, request_id: str) -> StoredRequest:
        """Return a request; raises UnknownName."""
        with self._lock:
            found = self._requests.get(request_id)
        if found is None:
            raise UnknownName(f"There is no request {request_id[:32]!r} here; list them first.")
        return found

    def by_digest(self, session_id: str, digest: str) -> StoredRequest:
        """Return the request of a session with this digest; raises UnknownName."""
        for each in self.requests():
            if each.session_id == session_id and each.request.digest == digest:
                return each
        raise UnknownName("There is no such request in this session; make it again.")

    def exclusive(self, request_id: str) -> AbstractContextManager[Any]:
        """Return the lock of one request, which one thread at a time can hold."""
        with self._lock:
            lock: AbstractContextManager[Any] = self._locks.setdefault(
                request_id, threading.RLock()
            )
            return lock

    def add(self, stored: StoredRequest, now: int) -> None:
        """Store a new request.

        Raises RequestClosed if there is another with this id, and QuotaExceeded if the requester
        has too many open requests, or the book is full of open ones.
        """
        request = stored.request
        with self._lock:
            if request.id in self._requests:
                raise RequestClosed("There is a request with this id already; make a new one.")
            states = {n: request_state.at(r.state(), now) for n, r in self._requests.items()}
            key = request.requester.key
            open_ = [s for s in states.values() if not s.closed and s.request.requester.key == key]
            closed = [
                name for name, s in states.items() if s.closed and not self._requests[name].outbox
            ]
            # What was executed counts for later statistics, so that it is kept longest.
            closed.sort(key=lambda name: bool(self._requests[name].uses))
            full = len(self._requests) >= MOST_REQUESTS
            if len(open_) >= MOST_OPEN_OF_ONE or (full and not closed):
                raise QuotaExceeded(
                    "There are too many open requests; wait until some are answered or expire."
                )
            dropped = None
            if full:
                dropped = self._path(closed[0], self._versions[closed[0]])
                del self._requests[closed[0]], self._versions[closed[0]]
            self._store(stored)
            if dropped is not None:
                self._files.remove(dropped)

    def put(self, stored: StoredRequest) -> StoredRequest:
        """Store the new state of a request, durably, and return it."""
        with self._lock:
            self._store(stored)
        return stored

    def close(self) -> None:
        """Change nothing any more, so that another process can open the book."""
        with self._lock:
            self._closed = True

    def note(self, line: ActivityLine) -> None:
        """Append a line of activity; the oldest ones are dropped.

        Uses may take half of the lines before one of them is dropped, so that an institution that
        makes many requests does not hide them.
        """
        with self._lock:
            lines = (*self._lines, line)
            if len(lines) > MOST_LINES:
                uses = sum(each.kind == "use" for each in lines)
                old = (n for n, each in enumerate(lines) if each.kind != "use")
                dropped = 0 if uses > MOST_LINES // 2 else next(old)
                lines = (*lines[:dropped], *lines[dropped + 1 :])
            self._lines = lines
            self._write(ACTIVITY, _Activity(lines=self._lines))

    def say_consent(self, partner_id: str, purpose: str, granted: bool, signed_at: int) -> None:
        """Store whether the owner consents to a partner's purpose, and when that was signed.

        Raises QuotaExceeded.
        """
        with self._lock:
            given = {each for each in self._consents.given if each != (partner_id, purpose)}
            if granted:
                given.add((partner_id, purpose))
            if len(given) > MOST_CONSENTS:
                raise QuotaExceeded("There are too many consents; withdraw some first.")
            self._consents = _Consents(given=tuple(sorted(given)), signed_at=signed_at)
            self._write(CONSENTS, self._consents)

    def consents(self) -> tuple[tuple[str, str], ...]:
        """Return the partners and purposes that the owner consents to."""
        with self._lock:
            return self._consents.given

    def next_signing_time(self, now: float) -> int:
        """Return the time in milliseconds for a new statement, later than that of the last one."""
        with self._lock:
            return max(int(now * 1000), self._consents.signed_at + 1)

    def activity(self) -> tuple[ActivityLine, ...]:
        """Return the lines of activity, the oldest first."""
        with self._lock:
            return self._lines

    def _store(self, stored: StoredRequest) -> None:
        name = stored.request.id
        version = self._versions.get(name, 0) + 1
        old = self._path(name, version - 1)
        self._write(self._path(name, version), stored)
        versions = {**self._versions, name: version}
        self._write(INDEX, _Index(versions=versions))
        self._versions = versions
        self._requests[name] = stored
        self._files.remove(old)

    def _load(self, name: str) -> StoredRequest:
        stored = self._read(self._path(name, self._versions[name]), StoredRequest)
        if stored is None or stored.request.id != name:
            raise self._files.damaged()
        return stored

    def _remove_others(self) -> None:
        """Remove the files that an interrupted change left."""
        kept = {self._path(name, version) for name, version in self._versions.items()}
        for name in self._files.names():
            if _FILE.fullmatch(name) and name not in kept:
                self._files.remove(name)

    @staticmethod
    def _path(name: str, version: int) -> str:
        return f"{name}-{version}.request"

    def _write(self, name: str, content: BaseModel) -> None:
        if self._closed:  # another process may have opened the folder
            raise DataFolderInUse("The owner's agent was closed; start it again.")
        self._files.write(name, content.model_dump_json().encode())

    def _read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        data = self._files.read(name)
        try:
            return None if data is None else kind.model_validate_json(data)
        except ValidationError as error:
            raise self._files.damaged() from error


def executed(requests: Iterable[StoredRequest], data_set: str) -> tuple[AccessRequest, ...]:
    """Return the requests about a data set, whosever they are, of which there was a use."""
    return tuple(
        each.request
        for each in requests
        if (each.uses or each.outbox) and each.data_set == data_set
    )
