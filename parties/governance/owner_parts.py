"""Shared parts of an owner's agent: its key, policy, data store, book, and the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import LogFacts, Spent
from contract.sessions import SessionEventRequest
from governance.canonical import canonical
from governance.data_store import DataStore, Listed
from governance.datasets import DataSet, Record
from governance.policy import Policies
from governance.requests import Action
from parties.governance.request_book import RequestBook, StoredRequest
from parties.governance.views import ActivityLine
from parties.retrying import may_pass
from utils.errors import StorageError, TransportError, TrisealError, UnknownDataSet
from utils.tokens import new_id

MOST_DETAILS = 14 * 1024
"""Bytes of the details of a log entry, in canonical JSON."""


class LogServer(Protocol):
    """The server's calls about a session's log entries, with the owner's token of the session."""

    def log_event(self, session_id: str, event: SessionEventRequest) -> int:
        """Log an event; return its entry."""
        ...

    def use_permit(
        self, session_id: str, permit: str, receipt: str, details: Mapping[str, Any], key: str
    ) -> int:
        """Mark a permit as used and log the use; the same call with the same key is harmless."""
        ...


class GatewayServer(Protocol):
    """The server's calls about permits of its gateway."""

    def log_facts(self) -> LogFacts:
        """Return the log's keys."""
        ...

    def spend_permit(self, key: Ed25519PrivateKey, token: str, receipt: str | None = None) -> Spent:
        """Mark a permit as used; the second call is PermitSpent."""
        ...


class Applications(Protocol):
    """The encrypted decisions that the owner's agent takes part in."""

    @property
    def model(self) -> str:
        """SHA-256 of the public model, in hexadecimal."""
        ...

    def prepare(self, join_code: str, record: Record) -> str:
        """Join the application, and check that the record can be sent; return its id.

        Raises OutOfStep until the parties have made the key.
        """
        ...

    def perform(
        self, join_code: str, record: Record, action: Action, stands: Callable[[], bool]
    ) -> None:
        """Send the record, and agree to the action's programs once possible, while it `stands`.

        Harmless if that has been done.
        """
        ...


@dataclass(frozen=True)
class OwnerParts:
    """The parts of an owner's agent. `changed` is called after every change that a view shows."""

    name: str
    key: Ed25519PrivateKey
    policies: Policies
    book: RequestBook
    server: LogServer
    applications: Applications
    clock: Callable[[], float]
    changed: Callable[[str], None]
    data_store: DataStore
    store_lock: threading.Lock = field(default_factory=threading.Lock)
    judging: threading.Lock = field(default_factory=threading.Lock)
    """Held from a judgement that depends on other uses until the use that it is about is stored."""

    @property
    def public_key(self) -> bytes:
        """The owner's public key, 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    def now(self) -> int:
        """Return the time in seconds since 1970."""
        return int(self.clock())

    def describe(self, data_set: str) -> Listed:
        """Return a data set without values; raises UnknownDataSet."""
        with self.store_lock:
            return self.data_store.describe(data_set)

    def data_set(self, data_set: str) -> tuple[Listed, DataSet]:
        """Return a data set; raises UnknownDataSet and StoreDamaged."""
        with self.store_lock:
            return self.data_store.describe(data_set), self.data_store.data_set(data_set)

    def masking_key(self) -> bytes:
        """Return the key for masks."""
        with self.store_lock:
            return self.data_store.masking_key()

    def tag_of(self, data_set: str) -> str:
        """Return the tag of a data set, or its id if it was removed."""
        try:
            return self.describe(data_set).description.tag
        except UnknownDataSet:
            return data_set

    def note(
        self,
        kind: Any,
        by: str,
        words: str,
        request_id: str | None = None,
        entry: int | None = None,
    ) -> None:
        """Append a line of activity."""
        line = ActivityLine(
            at=self.now(), kind=kind, by=by, words=words[:2000], request_id=request_id, entry=entry
        )
        self.book.note(line)
        self.changed("")

    def event(
        self, stored: StoredRequest, kind: Any, outcome: Any = None, **more: Any
    ) -> SessionEventRequest:
        """Return an event for the server's log.

        `digests` and `details` in `more` are added to those that every event has.
        """
        request = stored.request
        digests = {"request": request.digest, "policy": stored.policy_version}
        return SessionEventRequest(
            kind=kind,
            outcome=outcome,
            digests={**digests, **more.get("digests", {})},
            details={**details_of(stored), **more.get("details", {})},
            idempotency_key=new_id(),
        )

    def flush_log(self, stored: StoredRequest) -> StoredRequest:
        """Log the events that could not be logged before, in order, and return the request.

        Raises the temporary errors of the server. An event that the server refuses for good, as
        when the session is over, is noted and dropped.
        """
        while stored.unlogged:
            first, *left = stored.unlogged
            try:
                entry = self.server.log_event(stored.session_id, first)
            except TrisealError as error:
                if not is_final(error):
                    raise
                entry = None
                words = f"The server did not log the {first.kind}: {error.message}"
                self.note("failure", self.name, words, stored.request.id)
            stored = stored.model_copy(update={"unlogged": tuple(left)})
            self.book.put(stored)
            if entry is not None and first.kind == "revocation":
                words = "The revocation is in the server's log."
                self.note("revocation", self.name, words, stored.request.id, entry)
        return stored

    def try_log(self, stored: StoredRequest) -> StoredRequest:
        """Do the same as `flush_log`, but leave what cannot be logged now for later."""
        try:
            return self.flush_log(stored)
        except TrisealError as error:
            words = f"The server's log will be brought up to date later: {error.message}"
            self.note("failure", self.name, words, stored.request.id)
            return self.book.get(stored.request.id)


def is_final(error: TrisealError) -> bool:
    """Return True if the server has refused a call, and would refuse it again.

    Otherwise it may also have done what the call asked for, and its response was lost.
    """
    return not (may_pass(error) or isinstance(error, TransportError | StorageError))


def details_of(stored: StoredRequest) -> dict[str, Any]:
    """Return the readable details of a request for the log, of bounded size, without values."""
    request = stored.request
    details: dict[str, Any] = {
        "request_id": request.id,
        "action": request.action,
        "purpose": request.purpose,
        "fields": list(request.fields),
        "reason": request.reason[:500],
        "data_set": stored.data_set,
        "rules": list(stored.rules),
        "retention_days": request.retention_days,
    }
    if len(canonical(details)) > MOST_DETAILS - 4096:
        details["fields"] = f"{len(request.fields)} fields"
    return details
