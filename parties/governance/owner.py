"""The agent of a data owner: hosts sessions, shows requests, and executes what was approved.

    <home>/identity_key            the long-lived key, by which institutions recognise the owner
    <home>/data/                   the data store (governance/data_store.py)
    <home>/book/                   requests, receipts, undelivered results, activity
    <home>/sessions/               the state of each session, encrypted like the book
    <home>/applications/           the party's files of encrypted decisions
    <home>/server_permit_key       the server's key for permits, pinned at first use

A thread for each session handles the institution's calls in their order. Calls of the owner may
come from any thread. Whatever goes wrong with a call is told to its caller; it ends no thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.governance import PartnerId, PurposeTerm
from contract.sessions import SessionEventRequest
from governance.categories import OWN_DATA
from governance.data_store import DataStore
from governance.datasets import read_data_set
from governance.policy import Policies
from governance.policy_texts import SHIPPED
from governance.requests import Uses
from governance.store_key import Secret
from parties.client import ServerClient
from parties.governance import answers, showing
from parties.governance.decisions import OwnDecisions
from parties.governance.execution import finish
from parties.governance.owner_parts import OwnerParts
from parties.governance.owner_session import HANDLING_SECONDS, OwnerSession
from parties.governance.release import redeem_exchange
from parties.governance.request_book import RequestBook, StoredRequest
from parties.governance.sealed_files import SealedFiles
from parties.governance.sealed_session import LARGEST_STATE, SealedSession
from parties.governance.views import ActivityLine, DataSetView, RequestView, SessionView
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from parties.log_watch import LogWatch
from utils.errors import RequestClosed, TrisealError, UnknownName

MOST_SESSIONS = 200
"""Sessions that are kept; ended ones make room."""
DATA, BOOK, SESSIONS, APPLICATIONS = "data", "book", "sessions", "applications"

log = logging.getLogger(__name__)


class Owner:
    """A data owner's agent. Thread-safe; create it with `start`, and close it.

    `name` is the owner's name in requests and, for the gateway of the server, the user id. `key` is
    the public key in hexadecimal. `serial` increases at every change.
    """

    def __init__(
        self,
        home: Path,
        client: ServerClient,
        name: str,
        identity: IdentityKey,
        store: DataStore,
        policies: Policies,
        exchange: tuple[str, int] | None,
        clock: Callable[[], float],
    ) -> None:
        self.home, self.name, self.exchange = home, name, exchange
        self._client, self._identity = client, identity
        self._sessions: dict[str, OwnerSession] = {}
        self._lock = threading.Lock()
        self._serial = 1
        self._changed = threading.Condition()
        self._closed = False
        self._watch = LogWatch(client, home, identity.private, self._told_of_log)
        key = store.book_key()
        self._files = SealedFiles(home / SESSIONS, key, "the sessions", LARGEST_STATE)
        self._decisions = OwnDecisions(client, home / APPLICATIONS, identity, self._decided)
        self._parts = OwnerParts(
            name=name,
            key=identity.private,
            policies=policies,
            book=RequestBook(home / BOOK, key),
            server=self,
            applications=self._decisions,
            clock=clock,
            changed=self._note,
            data_store=store,
        )

    @classmethod
    def start(
        cls,
        home: Path,
        client: ServerClient,
        name: str,
        secret: Secret,
        *,
        policies: Path | None = None,
        exchange: tuple[str, int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Owner:
        """Open the agent's folder, or create it, and resume its sessions.

        `policies` is the folder of the owner's policy, the shipped one if None, and `exchange` the
        address at which partners redeem permits. Raises StoreLocked, StoreDamaged, PolicyInvalid,
        IdentityKeyInvalid, FolderNotOurs, DataFolderInUse and OSError.
        """
        loaded = Policies.load(SHIPPED if policies is None else policies)
        identity = make_identity(home)
        data = home / DATA
        made = (data / "master.json").exists()
        store = DataStore.open(data, secret) if made else DataStore.create(data, secret)
        try:
            owner = cls(home, client, name, identity, store, loaded, exchange, clock)
            owner._resume()
        except BaseException:
            store.close()
            raise
        return owner

    @property
    def key(self) -> str:
        """The owner's public key, in hexadecimal."""
        return self._identity.public.hex()

    # ---- sessions

    def host_session(self, title: str = "", hours: float = 24) -> SessionView:
        """Host a session for one institution; the view has the code to give to it.

        Raises what the server reports, and RequestClosed if too many sessions are open.
        """
        self._make_room()
        sealed = SealedSession.host(
            self._client, self._identity, self.name, self._files.write, title, hours
        )
        self._begin(sealed)
        self._parts.note("session", self.name, f"Hosted the session {sealed.session_id[:8]}.")
        return sealed.view

    def sessions(self) -> tuple[SessionView, ...]:
        """Return all sessions, the oldest first."""
        with self._lock:
            found = [each.sealed.view for each in self._sessions.values()]
        return tuple(sorted(found, key=lambda view: view.created))

    def end_session(self, session_id: str) -> None:
        """End a session for both sides; raises UnknownName, and what the server reports."""
        with self._lock:
            found = self._sessions.get(session_id)
        if found is None:
            raise UnknownName("There is no such session here; list them first.")
        found.sealed.close()
        self._parts.note("session", self.name, f"Ended the session {session_id[:8]}.")

    # ---- data sets

    def store_data(
        self,
        data: bytes,
        tag: str,
        words: str,
        *,
        categories: Mapping[str, str] | None = None,
        schema_name: str = OWN_DATA,
        source: str = "The data",
    ) -> DataSetView:
        """Store a CSV or JSON document as a data set; raises DataSetInvalid and OSError."""
        read = read_data_set(
            data, tag, words, source=source, categories=categories, schema_name=schema_name
        )
        with self._parts.store_lock:
            made = self._parts.data_store.describe(self._parts.data_store.store(read))
        rows = made.description.rows
        words = f"Stored the data set {made.description.tag} with {rows} row{'s' * (rows != 1)}."
        self._parts.note("data", self.name, words)
        return showing.data_set_view(made)

    def remove_data(self, data_set: str) -> None:
        """Remove a data set; raises UnknownDataSet and OSError."""
        with self._parts.store_lock:
            self._parts.data_store.remove(data_set)
        self._parts.note("data", self.name, "Removed a data set.")

    def data_sets(self, words: str = "", tag: str = "") -> tuple[DataSetView, ...]:
        """Return the data sets with this tag whose descriptions have these words."""
        with self._parts.store_lock:
            found = self._parts.data_store.search(words=words, tag=tag)
        return tuple(showing.data_set_view(each) for each in found)

    # ---- requests

    def requests(self) -> tuple[RequestView, ...]:
        """Return all requests, the oldest first."""
        return tuple(self._view(each) for each in self._parts.book.requests())

    def request(self, request_id: str) -> RequestView:
        """Return a request; raises UnknownName."""
        return self._view(self._parts.book.get(request_id))

    def approve(
        self,
        request_id: str,
        *,
        fields: Sequence[str] | None = None,
        uses: Uses | None = None,
        not_after: int | None = None,
    ) -> RequestView:
        """Approve a request, or less of it. If the server cannot log it, nothing changes.

        Raises UnknownName, RequestClosed, InvalidRequest, PolicyDenied, UnknownDataSet, and what
        the server reports.
        """
        return self._view(answers.approve(self._parts, request_id, fields, uses, not_after))

    def deny(self, request_id: str, reason: str) -> RequestView:
        """Deny a request; raises UnknownName, RequestClosed and InvalidRequest."""
        return self._view(answers.deny(self._parts, request_id, reason))

    def pause(self, request_id: str) -> RequestView:
        """Stop the use for a while; raises UnknownName and RequestClosed."""
        return self._view(answers.pause(self._parts, request_id))

    def resume(self, request_id: str) -> RequestView:
        """End a pause; raises UnknownName, RequestClosed, and what the server reports."""
        return self._view(answers.resume(self._parts, request_id))

    def revoke(self, request_id: str, reason: str = "") -> RequestView:
        """Withdraw an approval for good, at once, even if the server cannot be reached.

        Waits for a use that has begun. Raises UnknownName, RequestClosed and InvalidRequest.
        """
        return self._view(answers.revoke(self._parts, request_id, reason))

    def receipt(self, request_id: str) -> bytes:
        """Return the signed consent receipt; raises UnknownName, and RequestClosed without one."""
        text = self._parts.book.get(request_id).receipt
        if text is None:
            raise RequestClosed("There is no receipt: the request was not approved.")
        return text.encode()

    def consent(self, partner_id: PartnerId, purpose: PurposeTerm, granted: bool) -> None:
        """Grant or revoke a consent for the server's gateway (`POST /authorize`).

        A revocation counts here at once, even if the server cannot be reached: then the error is
        raised, and the call has to be repeated. Raises what the server reports.
        """
        book, parts = self._parts.book, self._parts
        signed_at = book.next_signing_time(parts.clock())
        if not granted:  # before the call, so that it counts in any case
            book.say_consent(partner_id, purpose, False, signed_at)
        self._client.say_consent(parts.key, self.name, partner_id, purpose, granted, signed_at)
        if granted:
            book.say_consent(partner_id, purpose, True, signed_at)
        verb = "Consented to" if granted else "Withdrew the consent to"
        words = f"{verb} {purpose} by {partner_id}."
        parts.note("answer" if granted else "revocation", self.name, words)

    def redeem(self, body: bytes) -> bytes:
        """Return the sealed record for the body of `POST /exchange`; see release.py."""
        return redeem_exchange(self._parts, self._client, self.home, body)

    # ---- changes

    def activity(self) -> tuple[ActivityLine, ...]:
        """Return what the agent has done, the oldest first."""
        return self._parts.book.activity()

    @property
    def serial(self) -> int:
        with self._changed:
            return self._serial

    def wait(self, serial: int, seconds: float) -> int:
        """Wait at most `seconds` until `serial` is outdated; return the current serial number."""
        with self._changed:
            self._changed.wait_for(lambda: self._serial != serial or self._closed, seconds)
            return self._serial

    def close(self) -> None:
        """Stop the threads, and let another process open the folder; everything is stored."""
        with self._lock:
            self._closed = True
            sessions = tuple(self._sessions.values())
        self._watch.stop()
        for each in sessions:
            each.stop()
        for each in sessions:
            each.finished(HANDLING_SECONDS)
        self._decisions.close()
        self._parts.book.close()
        with self._parts.store_lock:
            self._parts.data_store.close()
        with self._changed:
            self._changed.notify_all()

    # ---- the server's log, as owner_parts.LogServer

    def log_event(self, session_id: str, event: SessionEventRequest) -> int:
        """Have the server log an event of a session; return its entry.

        Raises LogInconsistent for a permit once the log was found to be rolled back or forked.
        """
        if event.kind == "permit":
            self._watch.require_sound()
        entry = self._client.log_event(session_id, self._token(session_id), event)
        self._watch.note()
        return entry

    def use_permit(
        self, session_id: str, permit: str, receipt: str, details: Mapping[str, Any], key: str
    ) -> int:
        """Have the server mark a permit as used; return its entry.

        Raises LogInconsistent once the log was found to be rolled back or forked.
        """
        self._watch.require_sound()
        token = self._token(session_id)
        entry = self._client.use_permit(session_id, token, permit, receipt, details, key)
        self._watch.note()
        return entry

    def _told_of_log(self) -> None:
        if self._watch.fault is not None:
            self._parts.note("failure", self.name, self._watch.fault.message)

    def _token(self, session_id: str) -> str:
        with self._lock:
            found = self._sessions.get(session_id)
        if found is None:
            raise UnknownName("The session of this request is no longer kept here.")
        return found.sealed.token

    def _resume(self) -> None:
        for name in self._files.names():
            try:
                data = self._files.read(name) or b""
                sealed = SealedSession.resume(self._client, self._identity, data, self._files.write)
            except TrisealError as error:
                # The file stays, so that it can be examined or replaced by a backup.
                words = f"A session was not resumed; host a new one. {error.message}"
                self._parts.note("failure", self.name, words)
                continue
            self._begin(sealed)
        threading.Thread(target=self._resume_decisions, name="decisions", daemon=True).start()

    def _resume_decisions(self) -> None:
        """Go on with the applications whose use has begun."""
        for stored in self._parts.book.requests():
            if stored.request.action in ("decide", "explain") and stored.uses and not self._closed:
                try:
                    finish(self._parts, stored)
                except TrisealError as error:
                    log.info("a decision is not resumed: %s", error.message)

    def _begin(self, sealed: SealedSession) -> None:
        session = OwnerSession(self._parts, sealed)
        with self._lock:
            self._sessions[sealed.session_id] = session
        if not sealed.over:
            session.start()

    def _make_room(self) -> None:
        with self._lock:
            if len(self._sessions) < MOST_SESSIONS:
                return
            ended = [name for name, each in self._sessions.items() if each.sealed.over]
            if not ended:
                raise RequestClosed(f"{MOST_SESSIONS} sessions are open; end some of them first.")
            del self._sessions[ended[0]]
        self._files.remove(ended[0])

    def _view(self, stored: StoredRequest) -> RequestView:
        return showing.request_view(stored, self._parts.now())

    def _decided(self, _client_id: str, words: str) -> None:
        self._parts.note("result", self.name, words)

    def _note(self, request_id: str) -> None:
        """Wake whoever waits; tell the institution if a request has changed."""
        with self._changed:
            self._serial += 1
            self._changed.notify_all()
        if request_id:
            with self._lock:
                session_id = self._parts.book.get(request_id).session_id
                found = self._sessions.get(session_id)
            if found is not None:
                found.tell(request_id)
