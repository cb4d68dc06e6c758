"""An institution's agent: asks owners for the use of their data, and keeps receipts and results.

Each session has a background thread that receives the owner's messages, checks them, and stores
their content before they count as handled. A call waits for the reply with its number. Replies that
come late are stored too: a permit is used by the next `run`, and a result is returned by it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from governance.computations import (
    SMALLEST_LEAST_ROWS,
    as_json,
    computation_of,
    fields_of,
    run,
    validate,
)
from governance.datasets import Record
from governance.permits import (
    key_named_in,
    prove_possession,
    require_time,
    signed_by,
    thumbprint,
)
from governance.policy import ROWS
from governance.purposes import PURPOSES
from governance.request_state import PERMIT_SECONDS
from governance.requests import (
    AccessRequest,
    Action,
    Requester,
    SignedRequest,
    Uses,
    new_request_id,
)
from parties.governance.calling import Calls
from parties.governance.calls import (
    SESSION_METHOD,
    Ask,
    Browse,
    DataSets,
    GetMock,
    Message,
    Mock,
    Outcome,
    PermitGiven,
    Redeem,
    RequestStatus,
    TakePermit,
)
from parties.governance.exchange_client import ExchangeClient
from parties.governance.exchange_seal import EXCHANGE_CALL, begin_call, open_record
from parties.governance.institution_book import (
    HeldPermit,
    InstitutionBook,
    KeptRequest,
    KeptResult,
    Taking,
)
from parties.governance.institution_checks import (
    description_of,
    mock_set,
)
from parties.governance.institution_files import InstitutionFiles
from parties.governance.institution_inbox import PERMIT_OVER, Inbox
from parties.governance.sealed_session import Relay, SealedSession
from parties.governance.views import ActivityLine, DataSetView, RequestView, SessionView
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from parties.log_client import LogClient
from parties.log_watch import LogWatch
from parties.retrying import waiting_words
from parties.valid_requests import valid
from utils.errors import (
    AgentUnreachable,
    ConsentMissing,
    InvalidRequest,
    MalformedMessage,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    QuotaExceeded,
    RequestClosed,
    ServerBusy,
    TrisealError,
    UnknownDataSet,
    UnknownName,
)

FOLDER = "institution"
MOST_SESSIONS = 500
"""Sessions that are kept; ended ones make room."""
CALL_SECONDS = 30.0
"""Longest wait for a reply of an owner's agent, unless the caller names another."""
POLL_SECONDS = 20.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 16.0
"""Pauses after temporary errors; the pause doubles with each one."""
PRUNE_SECONDS = 600.0
LONGEST_HOURS = 24.0 * 366
MOST_SEEN = 2000
"""Descriptions of data sets that are remembered."""

log = logging.getLogger(__name__)


class Institution:
    """The agent of one institution; safe to share between threads. Create it with `start`."""

    def __init__(
        self,
        relay: Relay,
        key: IdentityKey,
        name: str,
        partner_token: str,
        files: InstitutionFiles,
        clock: Callable[[], float] = time.time,
        home: Path | None = None,
    ) -> None:
        self.name = name
        self.key = key.public.hex()
        self._relay, self._identity, self._token = relay, key, partner_token
        self._files, self._clock = files, clock
        self._book = InstitutionBook(files)
        self._sessions: dict[str, SealedSession] = {}
        self._seen_sets: dict[tuple[str, str], DataSetView] = {}
        self._running: set[str] = set()
        self._serial = 1
        self._closed = threading.Event()
        self._changed = threading.Condition(threading.RLock())
        self._calls = Calls(self._changed)
        self._inbox = Inbox(self._book, self._calls, self._note, lambda: self._clock())
        self._pruned = time.monotonic()
        self._watch: LogWatch | None = None
        if home is not None and isinstance(relay, LogClient):
            self._watch = LogWatch(relay, home, key.private, self._told_of_log)

    @classmethod
    def start(cls, home: Path, client: Relay, name: str, partner_token: str) -> Institution:
        """Open or create the institution's folder and identity key, and resume its sessions.

        `client` makes the calls of the server. Raises FolderNotOurs, IdentityKeyInvalid,
        DataFolderInUse, StoreLocked, StoreDamaged, InvalidRequest and OSError.
        """
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise InvalidRequest("The institution's name has 1 to 64 printable characters.")
        key = make_identity(home)
        files = InstitutionFiles(home / FOLDER)
        try:
            found = cls(client, key, name, partner_token, files, home=home)
            found._resume()
        except BaseException:
            files.close()
            raise
        return found

    def close(self) -> None:
        """Stop calling the server and release the folder; everything can be resumed."""
        with self._changed:
            if self._closed.is_set():
                return
            self._closed.set()
            if self._watch is not None:
                self._watch.stop()
            self._calls.close()
            try:
                for session in self._sessions.values():
                    session.stop()
                self._book.flush()
            finally:
                self._files.close()
                self._note_change()

    # ---- sessions

    def connect_session(self, code: str) -> SessionView:
        """Connect with an owner's code; the session is `connected` once the owner's agent replies.

        Raises InvalidRequest, NotAuthorised, QuotaExceeded, and what the server reports.
        """
        self._calls.require_running()
        self._make_room()
        session = SealedSession.connect(
            self._relay,
            self._identity,
            self.name,
            self._files.sessions.write,
            code,
            self._token,
        )
        with self._changed:
            self._sessions[session.session_id] = session
            self._note("session", "An owner's session was connected.")
            self._listen(session)
        return session.view

    def sessions(self) -> tuple[SessionView, ...]:
        """Return all sessions, oldest first."""
        with self._changed:
            found = [session.view for session in self._sessions.values()]
        return tuple(sorted(found, key=lambda view: (view.created, view.session_id)))

    def end_session(self, session_id: str) -> None:
        """End a session for both sides; its receipts and results stay. Raises UnknownName."""
        session = self._session(session_id)
        session.close()
        with self._changed:
            self._note_change()

    # ---- an owner's data sets

    def data_sets(self, session_id: str, words: str = "", tag: str = "") -> tuple[DataSetView, ...]:
        """Return the owner's data sets with this tag whose descriptions have these words.

        Raises UnknownName, OutOfStep, AgentUnreachable, and what the owner's agent reports.
        """
        with valid():
            Browse(call=1, words=words, tag=tag)
        session, end = self._session(session_id), time.monotonic() + CALL_SECONDS
        found = self._calls.call(
            session, DataSets, lambda call: Browse(call=call, words=words, tag=tag), end
        ).found
        for each in found:
            description_of(each)
        with self._changed:
            if len(self._seen_sets) > MOST_SEEN:
                self._seen_sets.clear()
            self._seen_sets |= {(session_id, each.id): each for each in found}
        return found

    def mock(self, session_id: str, data_set: str, rows: int = 20) -> tuple[Record, ...]:
        """Return invented rows of a data set; raises as `data_sets` does, and UnknownDataSet."""
        with valid():
            GetMock(call=1, data_set=data_set, rows=rows)
        session, end = self._session(session_id), time.monotonic() + CALL_SECONDS
        found = self._calls.call(
            session, Mock, lambda call: GetMock(call=call, data_set=data_set, rows=rows), end
        )
        return mock_set(self._data_set(session_id, data_set), found.rows).rows

    def try_on_mock(
        self, session_id: str, data_set: str, computation: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the result of a computation on invented rows, without asking the owner.

        Raises as `mock` does, and ComputationInvalid.
        """
        parsed = computation_of(dict(computation))
        view = self._data_set(session_id, data_set)
        validate(parsed, description_of(view))
        rows = self.mock(session_id, data_set, rows=100)
        result = run(parsed, mock_set(view, rows), SMALLEST_LEAST_ROWS)
        return result.model_dump(mode="json")

    # ---- requests

    def request(
        self,
        session_id: str,
        data_set: str,
        *,
        action: Action,
        purpose: str,
        reason: str,
        fields: Sequence[str] = (),
        computation: Mapping[str, Any] | None = None,
        readers: Sequence[str] | None = None,
        uses: Uses | None = None,
        hours: float = 24,
        retention_days: int = 30,
        join_code: str | None = None,
        wait: float = CALL_SECONDS,
    ) -> RequestView:
        """Sign a request, send it, and wait for the first status from the owner's agent.

        Without `fields` it is for those that the computation reads, or for all columns. If the
        agent does not respond within `wait` seconds, the request reaches it when it is back, and
        the returned view says so. Raises InvalidRequest, ComputationInvalid, OutOfStep,
        UnknownName, UnknownDataSet, QuotaExceeded, and what the owner's agent reports.
        """
        end = time.monotonic() + wait
        session = self._session(session_id)
        self._calls.until_connected(session, end)
        view = self._data_set(session_id, data_set)
        asked = None
        if computation is not None:
            parsed = computation_of(dict(computation))
            validate(parsed, description_of(view))
            asked = as_json(parsed)
            fields = fields or fields_of(parsed) or (ROWS,)
        if (action == "statistic") != (computation is not None):
            raise InvalidRequest("computation: a statistic needs one, other actions have none.")
        if action in ("decide", "explain") and join_code is None:
            raise InvalidRequest("join_code: give the owner's join code for the application.")
        if purpose not in PURPOSES:
            raise InvalidRequest(f"purpose: choose one of {', '.join(PURPOSES)}.")
        if not 0 < hours <= LONGEST_HOURS:
            raise InvalidRequest(f"hours: choose more than 0 and at most {LONGEST_HOURS:.0f}.")
        now = int(self._clock())
        with valid():
            made = AccessRequest(
                id=new_request_id(),
                requester=Requester(name=self.name, key=self.key),
                owner=session.peer or "",
                action=action,
                target=data_set,
                fields=tuple(fields) or tuple(column.name for column in view.columns),
                purpose=purpose,
                reason=reason,
                computation=asked,
                readers=(self.name,) if readers is None else tuple(readers),
                created=now,
                not_after=now + max(1, int(hours * 3600)),
                uses=uses or Uses(),
                retention_days=retention_days,
            )
            signed = SignedRequest.sign(made, self._identity.private).to_bytes().decode()
            Ask(call=1, request=signed, join_code=join_code)

        def ask(call: int) -> Ask:
            kept = KeptRequest(
                signed=signed,
                session_id=session_id,
                owner_key=session.peer_key or "",
                peer=session.peer or "",
                data_set=view.tag,
                asked=call,
            )
            with self._changed:
                self._book.make_room(now)
                self._book.put(made.id, kept)
                self._note("request", kept.view(now).words, made.id)
            return Ask(call=call, request=signed, join_code=join_code)

        try:
            self._calls.call(session, RequestStatus, ask, end)
        except AgentUnreachable as error:
            if self._book.find(made.id) is None:
                raise
            problem = f"{error.message} The request reaches it when it is back."[:1000]
            self._put(made.id, lambda kept: kept.changed(problem=problem))
        except TrisealError:
            with self._changed:
                kept = self._book.find(made.id)
                if kept is not None and kept.status is None:
                    self._book.remove(made.id)
                    self._note_change()
            raise
        return self.request_view(made.id)

    def requests(self) -> tuple[RequestView, ...]:
        """Return all requests, oldest first."""
        now = int(self._clock())
        with self._changed:
            return tuple(kept.view(now) for _, kept in self._book.requests())

    def request_view(self, request_id: str) -> RequestView:
        """Return a request; raises UnknownName."""
        with self._changed:
            return self._book.get(request_id).view(int(self._clock()))

    def receipt(self, request_id: str) -> bytes:
        """Return the owner's signed consent receipt, in JSON; raises ConsentMissing."""
        with self._changed:
            receipt = self._book.get(request_id).receipt
        if receipt is None:
            raise ConsentMissing("The owner has not approved this request, so there is no receipt.")
        return receipt.encode()

    def run(self, request_id: str, wait: float = CALL_SECONDS) -> dict[str, Any]:
        """Use an approved request once and return the result: take a permit, and bring it back.

        A result that came after an earlier call had given up is returned first, and a permit that
        was not used yet is brought again. Raises ConsentMissing, RequestClosed, AgentUnreachable
        after `wait` seconds, ServerBusy if the request is being used, and what the owner's agent
        reports.
        """
        end = time.monotonic() + wait
        with self._one_run(request_id):
            early = self._unreturned(request_id)
            if early is not None:
                return early
            try:
                return self._run(request_id, end)
            except TrisealError as error:
                problem = error.message[:1000]
                self._put(request_id, lambda kept: kept.changed(problem=problem))
                self._note("failure", f"A use failed: {error.message}", request_id)
                raise

    def take_permit(self, request_id: str, wait: float = CALL_SECONDS) -> str:
        """Return a permit for one use, for the direct exchange; `run` brings it otherwise.

        Raises as `run` does.
        """
        end = time.monotonic() + wait
        with self._one_run(request_id):
            held = self._usable_permit(request_id) or self._awaited_permit(request_id, end)
            if held is None or held.brought:
                held = self._new_permit(request_id, end)
            return held.token

    def receive_record(
        self, host: str, port: int, token: str, *, owner_key: str | None = None
    ) -> dict[str, Any]:
        """Bring a permit to the owner's agent directly, and return the masked record.

        `owner_key` is the owner's identity key in hexadecimal. It is needed for a permit that the
        server signed; one that an owner of a session signed is for that owner. Raises
        PermitInvalid, PermitExpired, InvalidRequest, AddressInvalid, AgentUnreachable,
        NotAuthentic, and what the owner's agent reports.
        """
        self._calls.require_running()
        signer = key_named_in(token)
        permit = signed_by(token, bytes.fromhex(signer))
        require_time(permit, self._clock())
        if permit.cnf is None or permit.cnf.jkt != thumbprint(self._identity.public):
            raise PermitInvalid("The permit was given to another institution; use your own.")
        expected = self._owner_key(signer, owner_key)
        with self._changed:
            request_id = next(
                (
                    name
                    for name, each in self._book.requests()
                    if each.owner_key == signer and each.request.digest == permit.sub
                ),
                None,
            )
            if request_id is not None:
                self._put(request_id, lambda each: each.redeemed_by(EXCHANGE_CALL, permit.jti))
        opened = begin_call(token, permit.jti, self._identity.private)
        with ExchangeClient(host, port) as client:
            response = client.exchange(opened.to_bytes())
        released = open_record(opened, response, bytes.fromhex(expected))
        kept = KeptResult(
            permit=permit.jti,
            at=int(self._clock()),
            entry=released.entry,
            result=dict(released.record),
            returned=True,
        )
        with self._changed:
            if request_id is not None:
                self._put(request_id, lambda each: each.with_result(kept).pruned(kept.at))
            words = "A masked record was received from the owner's agent."
            self._note("result", words, request_id, released.entry)
        return dict(released.record)

    # ---- changes

    def activity(self) -> tuple[ActivityLine, ...]:
        """Return what happened, oldest first."""
        with self._changed:
            return self._book.activity()

    @property
    def serial(self) -> int:
        """A number that grows with every change."""
        with self._changed:
            return self._serial

    def wait(self, serial: int, seconds: float) -> int:
        """Wait at most `seconds` until `serial` is outdated; return the current number."""
        with self._changed:
            self._changed.wait_for(lambda: self._serial != serial, seconds)
            return self._serial

    # ---- one use

    def _run(self, request_id: str, end: float) -> dict[str, Any]:
        held = self._usable_permit(request_id) or self._awaited_permit(request_id, end)
        if held is not None:
            try:
                return self._bring(request_id, held, end)
            except PermitSpent:
                raise
            except PERMIT_OVER:
                held = None  # it has expired without a use: take another
        return self._bring(request_id, self._new_permit(request_id, end), end)

    def _new_permit(self, request_id: str, end: float) -> HeldPermit:
        """Have the owner's agent issue a permit.

        Raises LogInconsistent once the log was found to be rolled back or forked.
        """
        if self._watch is not None:
            self._watch.require_sound()
            self._watch.note()
        kept, now = self._kept(request_id), int(self._clock())
        _require_usable(kept.state_at(now), kept)

        def take(call: int) -> Message:
            taking = Taking(call=call, at=now)
            self._put(request_id, lambda each: each.changed(taking=taking))
            return TakePermit(call=call, request_id=request_id)

        self._calls.call(self._session(kept.session_id), PermitGiven, take, end)
        held = self._usable_permit(request_id)
        if held is None:
            raise MalformedMessage("The owner's agent sent the permit of another request.")
        return held

    def _told_of_log(self) -> None:
        if self._watch is not None and self._watch.fault is not None:
            self._note("failure", self._watch.fault.message)

    def _usable_permit(self, request_id: str) -> HeldPermit | None:
        """Return a permit that is to be brought, or one that may have been used already."""
        held, now = self._kept(request_id).permit, self._clock()
        return held if held is not None and (held.brought or now < held.expires) else None

    def _awaited_permit(self, request_id: str, end: float) -> HeldPermit | None:
        """Return the permit of an earlier call without a reply, once it has come.

        Another call would have the owner issue another permit, which holds one more use.
        """
        kept = self._kept(request_id)
        taking, now = kept.taking, self._clock()
        if taking is None or now >= taking.at + PERMIT_SECONDS:
            return None
        try:
            self._calls.call_again(
                self._session(kept.session_id),
                PermitGiven,
                taking.call,
                lambda: self._kept(request_id).taking == taking,
                end,
            )
        except PermitExpired:
            return None
        return self._usable_permit(request_id)

    def _bring(self, request_id: str, held: HeldPermit, end: float) -> dict[str, Any]:
        """Bring a permit and return its result; the permit is forgotten if it is over."""
        kept = self._kept(request_id)
        signature = prove_possession(
            self._identity.private, held.id, SESSION_METHOD, kept.session_id, held.token.encode()
        )
        brought = held.model_copy(update={"brought": True})

        def redeem(call: int) -> Message:
            self._put(
                request_id,
                lambda each: each.changed(permit=brought).redeemed_by(call, held.id),
            )
            return Redeem(call=call, permit=held.token, signature=signature)

        try:
            self._calls.call(self._session(kept.session_id), Outcome, redeem, end)
        except PERMIT_OVER:
            self._put(request_id, lambda each: each.changed(permit=None))
            raise
        result = self._unreturned(request_id, held.id)
        if result is None:
            raise MalformedMessage("The owner's agent sent the result of another use.")
        return result

    def _unreturned(self, request_id: str, permit: str | None = None) -> dict[str, Any] | None:
        """Return a result that was not returned yet, by its permit, or the oldest one."""
        with self._changed:
            kept = self._book.get(request_id)
            if permit is None:
                found = kept.unreturned()
            else:
                found = next((each for each in kept.results if each.permit == permit), None)
            if found is None:
                return None
            now, name = int(self._clock()), found.permit
            self._put(request_id, lambda each: each.returned(name).pruned(now))
            return dict(found.result)

    @contextmanager
    def _one_run(self, request_id: str) -> Iterator[None]:
        """Let one thread at a time use a request."""
        self._calls.require_running()
        with self._changed:
            self._book.get(request_id)
            if request_id in self._running:
                raise ServerBusy("This request is being used already; try again in a moment.")
            self._running.add(request_id)
        try:
            yield
        finally:
            with self._changed:
                self._running.discard(request_id)

    def _owner_key(self, signer: str, given: str | None) -> str:
        """Return the identity key that the owner of a permit must have."""
        if given is not None and (len(given) != 64 or set(given) - set("0123456789abcdef")):
            raise InvalidRequest("owner_key: give the owner's public key, 64 hexadecimal digits.")
        with self._changed:
            known = {session.peer_key for session in self._sessions.values()}
        if signer in known:
            if given not in (None, signer):
                raise InvalidRequest("owner_key: the permit is signed by another owner's key.")
            return signer
        if given is None:
            raise InvalidRequest(
                "owner_key: the permit is not from an owner of a session, so give the owner's "
                "public key; ask the owner for it by another channel."
            )
        return given

    # ---- sessions and data sets by their ids

    def _session(self, session_id: str) -> SealedSession:
        with self._changed:
            found = self._sessions.get(session_id)
        if found is None:
            raise UnknownName("There is no such session here; connect with the owner's code first.")
        return found

    def _data_set(self, session_id: str, data_set: str) -> DataSetView:
        """Return the description of a data set, from the owner's agent if it is not known yet."""
        with self._changed:
            found = self._seen_sets.get((session_id, data_set))
        if found is None:
            listed = self.data_sets(session_id)
            found = next((each for each in listed if each.id == data_set), None)
        if found is None:
            raise UnknownDataSet("The owner has no such data set; list the data sets first.")
        return found

    # ---- what owners' agents send

    def _listen(self, session: SealedSession) -> None:
        name = f"session {session.session_id[:8]}"
        threading.Thread(target=self._receive, args=(session,), name=name, daemon=True).start()

    def _receive(self, session: SealedSession) -> None:
        pause = PAUSE_SECONDS
        while not (self._closed.is_set() or session.over):
            connected = session.connected
            try:
                for message in session.receive(POLL_SECONDS):
                    self._take(session, message)
                self._tidy()
            except TrisealError as error:
                if not (session.over or self._closed.is_set()):
                    log.warning("session %s: %s", session.session_id[:8], error.message)
                    self._fail(session, waiting_words(error, pause))
                    self._closed.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except Exception:
                if self._closed.is_set():  # the client was closed during a call to the server
                    return
                log.exception("the background thread of a session has failed")
                self._fail(session, "Something went wrong; see the log of this agent.")
                return
            pause = PAUSE_SECONDS
            if connected != session.connected or session.session_id in self._calls.failures:
                self._fail(session, None)
        if session.over and not self._closed.is_set():
            failure = session.failure
            words = "The session has ended." if failure is None else failure.message
            with self._changed:
                self._note("session" if failure is None else "failure", words)
                self._tidy()

    def _fail(self, session: SealedSession, words: str | None) -> None:
        with self._changed:
            if words is None:
                self._calls.failures.pop(session.session_id, None)
            else:
                self._calls.failures[session.session_id] = words
            self._note_change()

    def _take(self, session: SealedSession, message: Message) -> None:
        with self._changed:
            if not self._closed.is_set():
                self._inbox.take(session.session_id, message)
                self._note_change()

    # ---- the state

    def _make_room(self) -> None:
        """Forget an ended session if there are too many; raises QuotaExceeded if all are open."""
        with self._changed:
            if len(self._sessions) < MOST_SESSIONS:
                return
            ended = [name for name, each in self._sessions.items() if each.over]
            if not ended:
                raise QuotaExceeded(f"{MOST_SESSIONS} sessions are open; end some of them first.")
            del self._sessions[ended[0]]
            self._files.sessions.remove(ended[0])

    def _resume(self) -> None:
        for name in self._files.sessions.names():
            try:
                data = self._files.sessions.read(name) or b""
                session = SealedSession.resume(
                    self._relay, self._identity, data, self._files.sessions.write
                )
            except TrisealError as error:
                # The file stays, so that it can be examined or replaced by a backup.
                words = f"A session was not resumed; ask for a new code. {error.message}"
                self._note("failure", words)
                continue
            self._sessions[session.session_id] = session
        for session in self._sessions.values():
            if not session.over:
                self._listen(session)

    def _kept(self, request_id: str) -> KeptRequest:
        with self._changed:
            return self._book.get(request_id)

    def _put(self, request_id: str, change: Callable[[KeptRequest], KeptRequest]) -> None:
        with self._changed:
            if self._closed.is_set():
                return
            kept = self._book.get(request_id)
            changed = change(kept)
            if changed is not kept:
                self._book.put(request_id, changed)
            self._note_change()

    def _tidy(self) -> None:
        """Write the activity and, now and then, remove results whose time is over."""
        with self._changed:
            if self._closed.is_set():
                return
            self._book.flush()
            if time.monotonic() < self._pruned + PRUNE_SECONDS:
                return
            self._pruned = time.monotonic()
            now = int(self._clock())
            for request_id, kept in self._book.requests():
                left = kept.pruned(now)
                if left is not kept:
                    self._book.put(request_id, left)

    def _note(
        self,
        kind: Any,
        words: str,
        request_id: str | None = None,
        entry: int | None = None,
        by: str = "",
    ) -> None:
        line = ActivityLine(
            at=int(self._clock()),
            kind=kind,
            by=by or self.name,
            words=words[:2000],
            request_id=request_id,
            entry=entry,
        )
        with self._changed:
            if not self._closed.is_set():
                self._book.note(line)
                self._note_change()

    def _note_change(self) -> None:
        with self._changed:
            self._serial += 1
            self._changed.notify_all()


def _require_usable(status: str, kept: KeptRequest) -> None:
    """Raise ConsentMissing or RequestClosed unless a use can be asked for."""
    if status in ("pending", "approved"):
        raise ConsentMissing(kept.problem or "The owner has not approved the request yet.")
    if status in ("denied", "revoked"):
        reason = kept.refused if kept.status is None else kept.status.reason
        because = f": {reason}" if reason else "."
        raise ConsentMissing(f"The owner has {status} the request{because}")
    if status == "paused":
        raise RequestClosed("The owner has paused the request; try again later.")
    if status != "active":
        raise RequestClosed(f"The request is {status}; make a new one.")
    if kept.receipt is None:
        raise ConsentMissing("The owner's receipt is missing; wait for it before the first use.")
