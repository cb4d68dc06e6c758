"""Sealed messages between an owner's and an institution's agent, relayed by the server.

The code that the owner gives to one institution is `<session id>.<server code>.<secret>`. The
server checks the second part, which works once; it never learns the third, 128 random bits, under
which both sides seal their first message, the hello (parties/joint/channel.py). A hello has fresh
keys for this session. It is signed with the sender's long-lived identity key, and names the other
side's identity key as the server reported it. Each side compares that with what it knows, so that
a server that exchanges keys, or a wrong code, ends the session before anything else is sent.

Every later message is sealed and signed for its sender, its receiver and its number, counted from 1
for each side. A message that was altered, cut, repeated, left out, moved, or returned to its sender
is an error, which ends the session. The server can still withhold the newest messages or close the
session.

The state is saved before a message is posted, with the message: after a crash the same bytes are
posted again under the same number. Messages that were received count as handled at the next
`receive`, so that after a crash the last ones are returned once more.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.sessions import (
    LARGEST_SESSION_MESSAGE,
    MOST_SESSION_MESSAGES,
    Connected,
    Hosted,
    SessionFacts,
    SessionMessages,
    SessionSide,
    SessionState,
)
from governance.access import PartnerType
from parties.governance.calls import FROM_INSTITUTION, FROM_OWNER, LARGEST_MESSAGE, Message
from parties.governance.session_hello import SessionHello, opened_hello, sealed_hello
from parties.governance.views import SessionStatus, SessionView
from parties.joint.channel import (
    GROUP_SECRET_BYTES,
    OVERHEAD,
    Channel,
    Identity,
    Place,
    PublicIdentity,
    transcript,
)
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from parties.retrying import may_pass
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    EngineError,
    IdentityMismatch,
    InvalidRequest,
    MalformedMessage,
    MessageOutOfOrder,
    NotAuthentic,
    NotAuthorised,
    OutOfStep,
    ProtocolError,
    QuotaExceeded,
    ServerBusy,
    TrisealError,
    UnknownApplication,
    UnknownName,
    error_classes,
)

MOST_PENDING = 64
"""Messages that wait for the server."""
LARGEST_STATE = (MOST_PENDING + 2) * (LARGEST_SESSION_MESSAGE * 4 // 3 + 200) + 64 * 1024
"""Bytes of a session's state."""
_OTHER: dict[SessionSide, SessionSide] = {"owner": "institution", "institution": "owner"}
_GONE = (UnknownName, UnknownApplication, ApplicationExpired, NotAuthorised)
"""Errors of the server after which it has nothing more for this session."""
_FATAL = (ProtocolError, EngineError, AlreadySent)

Save = Callable[[str, bytes], None]
"""Stores a session's state, by the session's id, durably and where nobody else can read it."""


class Relay(Protocol):
    """The server's calls about sessions; see contract/sessions.py."""

    def host_session(self, key: Ed25519PrivateKey, hours: float) -> Hosted: ...

    def connect_session(self, session_id: str, partner_token: str, code: str) -> Connected: ...

    def session(self, session_id: str, token: str) -> SessionFacts: ...

    def post_session_message(
        self, session_id: str, token: str, number: int, body: bytes
    ) -> int: ...

    def session_messages(
        self,
        session_id: str,
        token: str,
        after: int = 0,
        wait: float = 0.0,
        seen: SessionState | None = None,
    ) -> SessionMessages: ...

    def close_session(self, session_id: str, token: str) -> None: ...


class _Pending(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    body: str


class _State(BaseModel):
    """All that a side keeps of a session; bytes are in base64."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    version: Literal[1] = 1
    session_id: str
    side: SessionSide
    name: str
    title: str = ""
    created: int
    expires: int
    token: str = Field(repr=False)
    code: str | None = Field(default=None, repr=False)
    identity: bytes = Field(repr=False)
    peer_key: str | None = None
    partner_id: str | None = None
    peer_type: PartnerType | None = None
    peer: str | None = None
    own_hello: bytes | None = None
    peer_hello: bytes | None = None
    posted: int = 0
    pending: list[_Pending] = Field(default=[], max_length=MOST_PENDING)
    handled: int = 0
    ended: SessionStatus | None = None
    failure_code: str = ""
    failure: str = ""


class SealedSession:
    """One side of a session. Create it with `host`, `connect` or `resume`.

    Several threads may send; one thread at a time receives.
    """

    def __init__(self, relay: Relay, key: IdentityKey, state: _State, save: Save) -> None:
        self._relay, self._key, self._state, self._save_to = relay, key, state, save
        self._identity = Identity.from_bytes(state.identity)
        self._channel: Channel | None = None
        self._received = state.handled
        self._seen: SessionState | None = None
        self._unsaved = False
        self._stopped = False
        self._guard = threading.RLock()
        self._posting = threading.Lock()
        self._receiving = threading.Lock()

    @classmethod
    def host(
        cls,
        relay: Relay,
        key: IdentityKey,
        name: str,
        save: Save,
        title: str = "",
        hours: float = 24,
    ) -> SealedSession:
        """Host a session as the owner `name`; its code is in `view`, until somebody connects.

        Raises InvalidRequest, and what the server reports.
        """
        _require_name(name)
        hosted = relay.host_session(key.private, hours)
        secret = secrets.token_bytes(GROUP_SECRET_BYTES)
        code = str(JoinCode(hosted.session_id, hosted.code, secret))
        JoinCode.parse(code)  # an id that is not one would be a part of a file's name
        state = _State(
            session_id=hosted.session_id,
            side="owner",
            name=name,
            title=title[:200],
            created=int(time.time()),
            expires=_seconds(hosted.expires_at),
            token=hosted.token,
            code=code,
            identity=Identity.fresh(secret).to_bytes(),
        )
        session = cls(relay, key, state, save)
        session._save()
        return session

    @classmethod
    def connect(
        cls, relay: Relay, key: IdentityKey, name: str, save: Save, code: str, partner_token: str
    ) -> SealedSession:
        """Connect as the institution `name` with an owner's code, which works once.

        Raises InvalidRequest, NotAuthorised, and what the server reports.
        """
        _require_name(name)
        parsed = JoinCode.parse(code)
        connected = relay.connect_session(parsed.client_id, partner_token, parsed.server_code)
        if connected.session_id != parsed.client_id:
            raise MalformedMessage(
                "The server connected another session than that of the code; ask the owner for a "
                "new code."
            )
        state = _State(
            session_id=parsed.client_id,
            side="institution",
            name=name,
            created=int(time.time()),
            expires=_seconds(connected.expires_at),
            token=connected.token,
            identity=Identity.fresh(parsed.group_secret).to_bytes(),
            peer_key=connected.owner_key,
        )
        session = cls(relay, key, state, save)
        session._queue_hello()
        session._flush()
        return session

    @classmethod
    def resume(cls, relay: Relay, key: IdentityKey, data: bytes, save: Save) -> SealedSession:
        """Continue a session from its saved state; raises MalformedMessage."""
        try:
            if len(data) > LARGEST_STATE:
                raise ValueError("too large")
            state = _State.model_validate_json(data)
            session = cls(relay, key, state, save)
            if state.peer_hello is not None and state.ended is None:
                session._open_channel(session._open_hello(state.peer_hello))
        except (ValueError, ProtocolError) as error:
            # Without the cause, which may show the keys.
            raise MalformedMessage(
                f"A session's file is damaged; start a new session. ({type(error).__name__})"
            ) from None
        return session

    @property
    def session_id(self) -> str:
        """The session's id, 32 hexadecimal digits."""
        return self._state.session_id

    @property
    def token(self) -> str:
        """This side's token for the server's calls about the session."""
        return self._state.token

    @property
    def partner_id(self) -> str | None:
        """On the owner's side: the institution's id at the server, None until it has connected."""
        return self._state.partner_id

    @property
    def peer(self) -> str | None:
        """The other side's name in its hello, None before that."""
        return self._state.peer

    @property
    def peer_key(self) -> str | None:
        """The other side's identity key in hexadecimal, None before its hello is verified."""
        return self._state.peer_key if self._state.peer_hello is not None else None

    @property
    def connected(self) -> bool:
        """Return True if both hellos are there, so that messages can be sent."""
        return self._channel is not None and not self.over

    @property
    def over(self) -> bool:
        """Return True if the session has ended."""
        return self._state.ended is not None

    @property
    def failure(self) -> TrisealError | None:
        """The error that ended the session, None if it has not failed."""
        state = self._state
        if not state.failure:
            return None
        return error_classes().get(state.failure_code, ProtocolError)(state.failure)

    @property
    def view(self) -> SessionView:
        """The session as people see it."""
        with self._guard:
            state = self._state
            status: SessionStatus = state.ended or ("connected" if self.connected else "waiting")
            return SessionView(
                session_id=state.session_id,
                status=status,
                title=state.title,
                created=state.created,
                expires=state.expires,
                code=state.code if status == "waiting" else None,
                peer=state.peer,
                peer_type=state.peer_type,
                peer_key=self.peer_key,
            )

    def send(self, message: Message) -> None:
        """Save a message and post it; if the server cannot be reached, the next call posts it.

        Raises OutOfStep if the other side is not connected or the session has ended, ServerBusy if
        too many messages wait for the server, MalformedMessage for one that is too large, and the
        error that ended the session.
        """
        payload = message.model_dump_json().encode()
        if len(payload) > LARGEST_MESSAGE:
            raise MalformedMessage(
                f"A message of a session has at most {LARGEST_MESSAGE} bytes, this one "
                f"{len(payload)}; ask for less at a time."
            )
        with self._guard:
            self._require_open()
            if self._channel is None:
                raise OutOfStep("The other side is not connected to the session yet; wait for it.")
            self._require_room()
            number = self._state.posted + len(self._state.pending) + 1
            body = self._channel.seal(self._place(self._state.side, number), payload)
            self._queue(number, body)
        try:
            self._flush()
        except TrisealError as error:
            if not (may_pass(error) or isinstance(error, QuotaExceeded)):
                raise

    def receive(self, wait: float = 0.0) -> tuple[Any, ...]:
        """Return the other side's new messages (parties/governance/calls.py), in order.

        Waits at most `wait` seconds (25) for one. Also sends this side's hello, and messages that
        could not be posted. Returns nothing once the session has ended. A message that is not the
        next one, or not the other side's, ends the session: raises ProtocolError or
        MalformedMessage. Other errors are those that the server reports.
        """
        with self._receiving:
            with self._guard:
                if self._stopped or self.over:
                    return ()
                if self._state.handled != self._received or self._unsaved:
                    self._state.handled = self._received
                    self._save()
            try:
                refused = self._flush_unless_refused()
                found = self._relay.session_messages(
                    self.session_id, self.token, self._received, wait, self._seen
                )
                self._seen = found.state
                if refused is not None and found.state == "connected":
                    self._fail(refused)
                    raise refused
                self._learn_partner(found.state)
                return self._take(found)
            except _GONE as error:
                self._end("expired" if isinstance(error, ApplicationExpired) else "closed", error)
                return ()
            except _FATAL as error:
                self._fail(error)
                raise

    def close(self) -> None:
        """End the session, also on the server if it can be reached."""
        with self._guard:
            if not self.over:
                self._end("closed")
        try:
            self._relay.close_session(self.session_id, self.token)
        except TrisealError as error:
            if not (may_pass(error) or isinstance(error, _GONE)):
                raise

    def stop(self) -> None:
        """Change and save nothing any more; the session can be resumed from its state."""
        with self._guard:
            self._stopped = True

    # ---- the order of messages

    def _place(self, sender: SessionSide, number: int) -> Place:
        """Return what a message is bound to."""
        return Place(self.session_id, "", sender, _OTHER[sender], f"message {number}")

    def _require_next(self, number: int, expected: int) -> None:
        if number != expected:
            raise MessageOutOfOrder(
                f"The server delivered message {number} of the session instead of message "
                f"{expected}: one was left out, repeated or moved. The session has ended; start a "
                "new one."
            )

    def _take(self, found: SessionMessages) -> tuple[Any, ...]:
        """Return the messages that the server delivered, after checks of their order and seals."""
        if len(found.items) > MOST_SESSION_MESSAGES:
            raise MalformedMessage("The server delivered more messages at once than it may.")
        opened = []
        with self._guard:
            if self._stopped or self.over:
                return ()
            for item in found.items:
                self._require_next(item.number, self._received + 1)
                body = _decoded(item.body)
                if self._state.peer_hello is None:
                    self._welcome(body)
                else:
                    opened.append(self._opened(body, self._received + 1))
                self._received += 1
            if found.state in ("closed", "expired") and not found.items:
                self._end("closed" if found.state == "closed" else "expired")
        return tuple(opened)

    def _opened(self, body: bytes, number: int) -> Any:
        other = _OTHER[self._state.side]
        if self._channel is None:
            raise MessageOutOfOrder("A message arrived before the hellos; the session has ended.")
        payload = self._channel.open(self._place(other, number), body)
        if len(payload) > LARGEST_MESSAGE:
            raise MalformedMessage("The other side sent a message that is too large.")
        kinds = FROM_INSTITUTION if other == "institution" else FROM_OWNER
        try:
            return kinds.validate_json(payload)
        except ValidationError:
            # Without the cause, which shows values.
            raise MalformedMessage(
                f"A message of the {other}'s agent cannot be read: it runs another version, or is "
                "faulty. Start a new session with the same release on both sides."
            ) from None

    # ---- the hellos

    def _learn_partner(self, state: str) -> None:
        """On the owner's side: learn who has connected, and send the hello."""
        if self._state.side != "owner" or self._state.own_hello is not None or state == "waiting":
            return
        facts = self._relay.session(self.session_id, self.token)
        if facts.partner_key is None:
            return
        if facts.owner_key != self._key.public.hex():
            raise IdentityMismatch(
                "The server names another key than this agent's as the owner's: it may play one "
                "side against the other. The session has ended; do not use this server."
            )
        with self._guard:
            if self._stopped or self.over:
                return
            state_ = self._state
            state_.peer_key, state_.partner_id = facts.partner_key, facts.partner_id
            state_.peer_type, state_.code = facts.partner_type, None
            self._queue_hello()
        self._flush()

    def _queue_hello(self) -> None:
        state = self._state
        place = self._place(state.side, 1)
        peer_key = bytes.fromhex(state.peer_key or "")
        sealed = sealed_hello(place, self._identity, self._key, state.name, peer_key)
        state.own_hello = sealed
        self._queue(1, sealed)

    def _welcome(self, body: bytes) -> None:
        if self._state.own_hello is None:
            raise MessageOutOfOrder(
                "The server delivered a message although it says that nobody has connected; the "
                "session has ended."
            )
        hello = self._open_hello(body)
        self._state.peer_hello, self._state.peer = body, hello.name
        self._state.handled = 1
        self._open_channel(hello)
        self._unsaved = True

    def _open_hello(self, body: bytes) -> SessionHello:
        """Return the other side's hello; raises ProtocolError and MalformedMessage."""
        place = self._place(_OTHER[self._state.side], 1)
        peer_key = bytes.fromhex(self._state.peer_key or "")
        return opened_hello(place, body, self._identity, peer_key, self._key.public)

    def _open_channel(self, hello: SessionHello) -> None:
        side, other = self._state.side, _OTHER[self._state.side]
        own, peer = self._state.own_hello, self._state.peer_hello
        if own is None or peer is None:
            raise MalformedMessage("A session's file lacks a hello; start a new session.")
        others: dict[str, PublicIdentity] = {
            other: PublicIdentity(hello.signing_key, hello.exchange_key)
        }
        hellos: dict[str, bytes] = {side: own, other: peer}
        digest = transcript(self.session_id, hellos)
        self._channel = Channel(side, self._identity, others, digest)

    # ---- the state

    def _queue(self, number: int, body: bytes) -> None:
        text = base64.b64encode(body).decode()
        self._state.pending.append(_Pending(number=number, body=text))
        try:
            self._save()
        except BaseException:
            self._state.pending.pop()  # a message that is not saved is never posted
            raise

    def _flush(self) -> None:
        """Post what the server does not have yet, in order."""
        with self._posting:
            while not (self._stopped or self.over):
                with self._guard:
                    if not self._state.pending:
                        return
                    first = self._state.pending[0]
                try:
                    self._relay.post_session_message(
                        self.session_id, self.token, first.number, base64.b64decode(first.body)
                    )
                except AlreadySent as error:
                    failure = AlreadySent(
                        f"The server has another message {first.number} of this side: the "
                        "session's file is older than the session, for example from a backup. "
                        "Start a new session."
                    )
                    self._fail(failure)
                    raise failure from error
                with self._guard:
                    if self._state.pending:  # none if the session has ended meanwhile
                        self._state.pending.pop(0)
                    self._state.posted = first.number

    def _flush_unless_refused(self) -> OutOfStep | None:
        """Post what is pending; return the error of a server that has closed the session."""
        try:
            self._flush()
        except OutOfStep as error:
            return error
        except QuotaExceeded:
            return None  # too many messages wait for the other side, which has to read them first
        return None

    def _require_open(self) -> None:
        failure = self.failure
        if failure is not None:
            raise failure
        if self.over or self._stopped:
            raise OutOfStep("The session has ended; start a new one.")

    def _require_room(self) -> None:
        if len(self._state.pending) >= MOST_PENDING:
            raise ServerBusy(
                f"{MOST_PENDING} messages wait for the server already; try again when it can be "
                "reached."
            )

    def _fail(self, error: TrisealError) -> None:
        self._end("closed", error)
        try:
            self._relay.close_session(self.session_id, self.token)
        except TrisealError:
            return  # this side has ended it in any case

    def _end(self, status: SessionStatus, reason: TrisealError | None = None) -> None:
        with self._guard:
            if self._stopped or self.over:
                return
            self._state.ended = status
            if reason is not None:
                self._state.failure_code = reason.code
                self._state.failure = reason.message
            # Nothing can be sent or opened any more, so that the keys are not needed.
            self._channel = None
            self._state.pending = []
            self._state.identity = bytes(len(self._state.identity))
            self._save()

    def _save(self) -> None:
        if not self._stopped:
            self._save_to(self.session_id, self._state.model_dump_json().encode())
            self._unsaved = False


def _seconds(moment: str) -> int:
    """Return a time of the server in seconds since 1970; raises MalformedMessage."""
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError) as error:
        raise MalformedMessage("The server sent a time that cannot be read.") from error


def _require_name(name: str) -> None:
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise InvalidRequest("The agent's name has 1 to 64 printable characters; choose another.")


def _decoded(text: str) -> bytes:
    """Return a message's bytes; raises NotAuthentic."""
    if len(text) > LARGEST_SESSION_MESSAGE * 4 // 3 + 4:
        raise NotAuthentic("The server delivered a message that is too large.")
    try:
        body = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NotAuthentic("The server delivered a message that is not in base64.") from error
    if len(body) < OVERHEAD:
        raise NotAuthentic("The server delivered a message that is too short to be sealed.")
    return body
