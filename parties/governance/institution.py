"""An institution's agent: asks owners for the use of their data, and keeps receipts and results.

Each session has a background thread that receives the owner's messages, checks them, and stores
what they say before they count as handled. A call waits for the reply with its number. Replies that
come late are stored too: a permit is used by the next `run`, and a result is returned by it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

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
from governance.requests import (
    AccessRequest,
    Action,
    Requester,
    SignedRequest,
    Uses,
    new_request_id,
)
from parties.governance.calls import (
    Ask,
    Browse,
    DataSets,
    GetMock,
    Message,
    Mock,
    Outcome,
    PermitGiven,
    Redeem,
    Refused,
    RequestStatus,
    Statuses,
    TakePermit,
)
from parties.governance.exchange_client import ExchangeClient
from parties.governance.exchange_seal import begin_call, open_record
from parties.governance.institution_book import (
    HeldPermit,
    InstitutionBook,
    KeptRequest,
    KeptResult,
    latest,
    latest_permits,
)
from parties.governance.institution_checks import (
    description_of,
    mock_set,
    require_permit,
    with_status,
)
from parties.governance.institution_files import InstitutionFiles
from parties.governance.sealed_session import Relay, SealedSession
from parties.governance.views import ActivityLine, DataSetView, RequestView, SessionView
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from parties.retrying import waiting_words
from utils.errors import (
    AgentUnreachable,
    ConsentMissing,
    InvalidRequest,
    MalformedMessage,
    NotAuthentic,
    OutOfStep,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    QuotaExceeded,
    RequestClosed,
    ServerBusy,
    TrisealError,
    UnknownDataSet,
    UnknownName,
    error_classes,
)

FOLDER = "institution"
METHOD = "SESSION"
MOST_SESSIONS = 500
CALL_SECONDS = 30.0
"""Longest wait for a reply of an owner's agent, unless the caller names another."""
POLL_SECONDS = 20.0
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 16.0
"""Pauses after temporary errors; the pause doubles with each one."""
PRUNE_SECONDS = 600.0
LONGEST_HOURS = 24.0 * 366
MOST_SEEN = 2000
_PERMIT_OVER = (
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    RequestClosed,
    ConsentMissing,
    NotAuthentic,
    UnknownName,
)
"""Refusals after which the same permit cannot be brought again."""

T = TypeVar("T", bound=Message)

log = logging.getLogger(__name__)


@dataclass
class _Waiting:
    """A call and the reply to it, once there is one."""

    reply: Any = None
    problem: TrisealError | None = None


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
    ) -> None:
        self.name = name
        self.key = key.public.hex()
        self._relay, self._identity, self._token = relay, key, partner_token
        self._files, self._clock = files, clock
        self._book = InstitutionBook(files)
        self._sessions: dict[str, SealedSession] = {}
        self._failures: dict[str, str] = {}
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._seen_sets: dict[tuple[str, str], DataSetView] = {}
        self._running: set[str] = set()
        self._serial = 1
        self._closed = threading.Event()
        self._changed = threading.Condition(threading.RLock())
        self._pruned = time.monotonic()

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
            found = cls(client, key, name, partner_token, files)
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
            for session in self._sessions.values():
                session.stop()
            self._files.close()
            self._note_change()

    # ---- sessions

    def connect_session(self, code: str) -> SessionView:
        """Connect with an owner's code; the session is `connected` once the owner's agent replies.

        Raises InvalidRequest, NotAuthorised, QuotaExceeded, and what the server reports.
        """
        self._require_running()
        with self._changed:
            if sum(not each.over for each in self._sessions.values()) >= MOST_SESSIONS:
                raise QuotaExceeded(f"This agent has {MOST_SESSIONS} sessions; end one first.")
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
        with _valid("words, tag"):
            Browse(call=1, words=words, tag=tag)
        found = self._call(
            session_id, DataSets, lambda call: Browse(call=call, words=words, tag=tag)
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
        with _valid("data_set, rows"):
            GetMock(call=1, data_set=data_set, rows=rows)
        found = self._call(
            session_id, Mock, lambda call: GetMock(call=call, data_set=data_set, rows=rows)
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
        session = self._connected(session_id, end)
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
        with _valid("request"):
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
            self._book.require_room()
            kept = KeptRequest(
                signed=signed,
                session_id=session_id,
                owner_key=session.peer_key or "",
                peer=session.peer or "",
                data_set=view.tag,
                asked=call,
            )
            self._book.put(made.id, kept)
            self._note("request", kept.view(now).words, made.id)
            return Ask(call=call, request=signed, join_code=join_code)

        try:
            self._call(session_id, RequestStatus, ask, end)
        except AgentUnreachable as error:
            if not self._has(made.id):
                raise
            problem = f"{error.message} The request reaches it when it is back."[:1000]
            self._put(made.id, lambda kept: kept.changed(problem=problem))
        except TrisealError:
            with self._changed:
                kept = self._book.get(made.id) if self._has(made.id) else None
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
                self._note("failure", f"A use failed: {error.message}"[:2000], request_id)
                raise

    def receive_record(
        self, host: str, port: int, token: str, *, owner_key: str | None = None
    ) -> dict[str, Any]:
        """Bring a permit to the owner's agent directly, and return the masked record.

        `owner_key` is the owner's identity key in hexadecimal. It is needed for a permit that the
        server signed; one that an owner of a session signed is for that owner. Raises
        PermitInvalid, PermitExpired, InvalidRequest, AddressInvalid, AgentUnreachable,
        NotAuthentic, and what the owner's agent reports.
        """
        self._require_running()
        signer = key_named_in(token)
        permit = signed_by(token, bytes.fromhex(signer))
        require_time(permit, self._clock())
        if permit.cnf is None or permit.cnf.jkt != thumbprint(self._identity.public):
            raise PermitInvalid("The permit was given to another institution; use your own.")
        expected = self._owner_key(signer, owner_key)
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
            request_id = next(
                (
                    name
                    for name, each in self._book.requests()
                    if each.owner_key == signer and each.request.digest == permit.sub
                ),
                None,
            )
            if request_id is not None:
                self._put(request_id, lambda each: each.with_result(kept))
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
        now = int(self._clock())
        with self._changed:
            kept = self._book.get(request_id)
            held = kept.permit
            if held is not None and not held.brought and now >= held.expires:
                held = None
        if held is not None:
            try:
                return self._bring(request_id, held, end)
            except PermitSpent:
                raise
            except _PERMIT_OVER:
                held = None  # it has expired without a use: take another
        _require_usable(kept.state_at(now), kept)
        given = self._call(
            kept.session_id,
            PermitGiven,
            lambda call: self._note_call(
                request_id,
                TakePermit(call=call, request_id=request_id),
                lambda each: each.changed(taking=latest(each.taking, call)),
            ),
            end,
        )
        permit = require_permit(self._kept(request_id), given.permit, self._clock())
        held = HeldPermit(token=given.permit, id=permit.jti, expires=permit.exp)
        return self._bring(request_id, held, end)

    def _bring(self, request_id: str, held: HeldPermit, end: float) -> dict[str, Any]:
        """Bring a permit and return its result; the permit is forgotten if it is over."""
        kept = self._kept(request_id)
        signature = prove_possession(
            self._identity.private, held.id, METHOD, kept.session_id, held.token.encode()
        )
        brought = held.model_copy(update={"brought": True})

        def redeem(call: int) -> Message:
            return self._note_call(
                request_id,
                Redeem(call=call, permit=held.token, signature=signature),
                lambda each: each.changed(
                    permit=brought, redeeming=latest_permits(each.redeeming, call, held.id)
                ),
            )

        try:
            self._call(kept.session_id, Outcome, redeem, end)
        except _PERMIT_OVER:
            self._put(request_id, lambda each: each.changed(permit=None))
            raise
        result = self._unreturned(request_id, held.id)
        if result is None:
            raise MalformedMessage("The owner's agent sent the result of another use.")
        return result

    def _note_call(
        self, request_id: str, message: Message, change: Callable[[KeptRequest], KeptRequest]
    ) -> Message:
        """Store that a call is made, before it is sent, so that a late reply is understood."""
        self._put(request_id, change)
        return message

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
        self._require_running()
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

    # ---- calls to an owner's agent

    def _call(
        self,
        session_id: str,
        kind: type[T],
        make: Callable[[int], Message],
        end: float | None = None,
    ) -> T:
        """Send a message and return the reply of this kind.

        `make` gets the call's number, with the agent's lock held. Raises the error that the owner's
        agent reports, and AgentUnreachable if it does not reply until `end`, a time of the
        monotonic clock.
        """
        end = time.monotonic() + CALL_SECONDS if end is None else end
        session = self._connected(session_id, end)
        waiting = _Waiting()
        with self._changed:
            call = secrets.randbelow(2**31 - 1) + 1
            while (session_id, call) in self._waiting:
                call = secrets.randbelow(2**31 - 1) + 1
            self._waiting[session_id, call] = waiting
        try:
            with self._changed:
                message = make(call)
            session.send(message)
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        waiting.reply is not None
                        or waiting.problem is not None
                        or session.over
                        or self._closed.is_set()
                    ),
                    max(0.0, end - time.monotonic()),
                )
        finally:
            with self._changed:
                del self._waiting[session_id, call]
        reply = waiting.reply
        if waiting.problem is not None:
            raise waiting.problem
        if reply is None:
            self._require_open(session)
            raise self._away(session)
        if isinstance(reply, Refused):
            raise _error_of(reply)
        if not isinstance(reply, kind):
            raise MalformedMessage("The owner's agent sent a reply of another kind; it is faulty.")
        return reply

    def _connected(self, session_id: str, end: float) -> SealedSession:
        """Return a session once both sides are there; raises AgentUnreachable at `end`."""
        session = self._session(session_id)
        with self._changed:
            self._changed.wait_for(
                lambda: session.connected or session.over or self._closed.is_set(),
                max(0.0, end - time.monotonic()),
            )
        self._require_open(session)
        if not session.connected:
            raise self._away(session)
        return session

    def _away(self, session: SealedSession) -> AgentUnreachable:
        failure = self._failures.get(session.session_id)
        if failure is not None:
            return AgentUnreachable(f"There is no connection to the owner's agent. {failure}")
        return AgentUnreachable(
            "The owner's agent did not respond in time; it may be switched off. Nothing is lost: "
            "try again when it is back."
        )

    def _require_open(self, session: SealedSession) -> None:
        self._require_running()
        if session.failure is not None:
            raise session.failure
        if session.over:
            raise OutOfStep("The session has ended; ask the owner for a new code.")

    def _require_running(self) -> None:
        if self._closed.is_set():
            raise OutOfStep("This agent is closed; start it again.")

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
                self._prune()
            except TrisealError as error:
                if not session.over:
                    log.warning("session %s: %s", session.session_id[:8], error.message)
                    self._fail(session, waiting_words(error, pause))
                    self._closed.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            except Exception:
                if self._closed.is_set():
                    return  # the client may be closed too
                log.exception("the background thread of a session has failed")
                self._fail(session, "Something went wrong; see the log of this agent.")
                return
            pause = PAUSE_SECONDS
            if connected != session.connected or session.session_id in self._failures:
                self._fail(session, None)
        if session.over and not self._closed.is_set():
            failure = session.failure
            words = "The session has ended." if failure is None else failure.message
            with self._changed:
                self._note("session" if failure is None else "failure", words)

    def _fail(self, session: SealedSession, words: str | None) -> None:
        with self._changed:
            if words is None:
                self._failures.pop(session.session_id, None)
            else:
                self._failures[session.session_id] = words
            self._note_change()

    def _take(self, session: SealedSession, message: Any) -> None:
        """Store what a message says, and give it to the call that waits for it."""
        with self._changed:
            if self._closed.is_set():
                return
            problem = None
            try:
                match message:
                    case RequestStatus():
                        self._take_status(session, message)
                    case Statuses():
                        for each in message.found:
                            self._take_status(session, each)
                    case PermitGiven():
                        self._take_permit(session, message)
                    case Outcome():
                        self._take_outcome(session, message)
                    case Refused():
                        self._take_refusal(session, message)
            except TrisealError as error:
                problem = error
                self._note("failure", error.message[:2000])
            waiting = self._waiting.get((session.session_id, message.call or 0))
            if waiting is not None:
                waiting.reply, waiting.problem = message, problem
            self._note_change()

    def _take_status(self, session: SealedSession, found: RequestStatus) -> None:
        kept = self._of_session(session, found.request_id)
        if kept is None:
            return
        before = kept.status.status if kept.status is not None else None
        try:
            self._book.put(found.request_id, with_status(kept, found))
        except TrisealError as error:
            self._book.put(found.request_id, kept.changed(problem=error.message[:1000]))
            self._note("failure", error.message[:2000], found.request_id)
            return
        if found.status != before:
            self._note("answer", f"The request is {found.status}.", found.request_id)

    def _take_permit(self, session: SealedSession, given: PermitGiven) -> None:
        for request_id, kept in self._book.requests():
            if kept.session_id == session.session_id and given.call in kept.taking:
                permit = require_permit(kept, given.permit, self._clock())
                taking = tuple(each for each in kept.taking if each != given.call)
                held = HeldPermit(token=given.permit, id=permit.jti, expires=permit.exp)
                current = kept.permit
                if current is not None and current.brought:
                    held = current  # its result may still come
                self._book.put(request_id, kept.changed(permit=held, taking=taking))
                self._note("permit", "A permit for one use was received.", request_id)
                return

    def _take_outcome(self, session: SealedSession, found: Outcome) -> None:
        kept = self._of_session(session, found.request_id)
        permit = None if kept is None else kept.redeeming.get(found.call)
        if kept is None or permit is None:
            return
        result = KeptResult(
            permit=permit, at=int(self._clock()), entry=found.entry, result=found.result
        )
        changed = kept.with_result(result)
        if changed is not kept:
            self._book.put(found.request_id, changed)
            self._note("result", "The result of one use was received.", found.request_id,
                       found.entry)  # fmt: skip

    def _take_refusal(self, session: SealedSession, found: Refused) -> None:
        """Note refusals that no call waits for any more."""
        if (session.session_id, found.call) in self._waiting:
            return
        error = _error_of(found)
        for request_id, kept in self._book.requests():
            if kept.session_id != session.session_id:
                continue
            if kept.asked == found.call and kept.status is None:
                self._book.put(request_id, kept.changed(refused=error.message[:2000]))
                self._note("failure", f"The request was refused: {error.message}"[:2000],
                           request_id)  # fmt: skip
            elif found.call in kept.redeeming:
                held = kept.permit
                if held is not None and held.id == kept.redeeming[found.call]:
                    held = None if isinstance(error, _PERMIT_OVER) else held
                self._book.put(request_id, kept.changed(permit=held, problem=error.message[:1000]))

    def _of_session(self, session: SealedSession, request_id: str) -> KeptRequest | None:
        """Return a request that was made in this session; others are none of its owner's."""
        if not self._has(request_id):
            return None
        kept = self._book.get(request_id)
        return kept if kept.session_id == session.session_id else None

    # ---- the state

    def _resume(self) -> None:
        for name in self._files.sessions.names():
            data = self._files.sessions.read(name) or b""
            session = SealedSession.resume(
                self._relay, self._identity, data, self._files.sessions.write
            )
            self._sessions[session.session_id] = session
        for session in self._sessions.values():
            if not session.over:
                self._listen(session)

    def _has(self, request_id: str) -> bool:
        return request_id in dict(self._book.requests())

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

    def _prune(self) -> None:
        """Remove results whose time is over, now and then."""
        with self._changed:
            if self._closed.is_set() or time.monotonic() < self._pruned + PRUNE_SECONDS:
                return
            self._pruned = time.monotonic()
            now = int(self._clock())
            for request_id, kept in self._book.requests():
                left = kept.pruned(now)
                if left is not kept:
                    self._book.put(request_id, left)

    def _note(
        self, kind: Any, words: str, request_id: str | None = None, entry: int | None = None
    ) -> None:
        with self._changed:
            if self._closed.is_set():
                return
            now = int(self._clock())
            self._book.note(
                ActivityLine(
                    at=now, kind=kind, by=self.name, words=words, request_id=request_id, entry=entry
                )
            )
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


def _error_of(refused: Refused) -> TrisealError:
    """Return the error that an owner's agent reported."""
    return error_classes().get(refused.code, TrisealError)(refused.message)


@contextmanager
def _valid(what: str) -> Iterator[None]:
    """Raise InvalidRequest if a message made inside is out of bounds."""
    try:
        yield
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or what}: {fault['msg']}"
            for fault in error.errors(include_input=False)[:5]
        ]
        # Without the cause, which shows the values.
        raise InvalidRequest(f"The request is not valid: {'; '.join(faults)}.") from None
