"""The bodies of requests and responses about sessions between data owners and institutions.

A session relays sealed messages between two agents, which the server cannot read. Its owner also
has the uses of its data marked and logged here, so that a permit counts once on any of several
servers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from contract.governance import Hex256, PartnerKind
from contract.http import Body, Moment, RequestBody

LARGEST_SESSION_MESSAGE = 512 * 1024
"""Bytes of a sealed message of a session."""
MOST_SESSION_MESSAGES = 64
"""Messages in one response."""
LONGEST_SESSION_WAIT = 25.0
LARGEST_EVENT_DETAILS = 15 * 1024
"""Bytes of an event's details in canonical JSON."""

SessionSide = Literal["owner", "institution"]
SessionState = Literal["waiting", "connected", "closed", "expired"]
Hex128 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class HostRequest(RequestBody):
    """A session to host. The call is signed with the owner's key (`Authorization: Owner …`).

    `nonce` is random, so that two calls of one second differ: a signed call counts once.
    """

    hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0
    nonce: Hex128 | None = None


class Hosted(Body):
    """A new session: the owner's token, and the code with which one institution can connect."""

    session_id: str
    token: Annotated[str, Field(repr=False)]
    code: Annotated[str, Field(repr=False)]
    expires_at: Moment


class ConnectRequest(RequestBody):
    """The code of a session; the caller is a registered partner."""

    code: Annotated[str, Field(min_length=1, max_length=200, repr=False)]


class Connected(Body):
    """The institution's token for a session."""

    session_id: str
    token: Annotated[str, Field(repr=False)]
    owner_key: Hex256
    expires_at: Moment


class SessionFacts(Body):
    """A session as its two sides see it; the partner's members are null until one connects."""

    session_id: str
    state: SessionState
    owner_key: Hex256
    partner_id: str | None
    partner_type: PartnerKind | None
    partner_key: Hex256 | None
    expires_at: Moment


class SessionMessageRequest(RequestBody):
    """The sender's message of this number, counted from 1, in base64."""

    number: Annotated[int, Field(ge=1, lt=2**31)]
    body: Annotated[str, Field(max_length=LARGEST_SESSION_MESSAGE * 4 // 3 + 4, repr=False)]


class SessionPosted(Body):
    """The number under which a message is stored."""

    number: int


class SessionMessage(Body):
    """A message of the other side, in base64."""

    number: int
    body: Annotated[str, Field(repr=False)]


class SessionMessages(Body):
    """The other side's messages above a number, in order, and the session's state."""

    state: SessionState
    items: list[SessionMessage]


class SessionEventRequest(RequestBody):
    """Something that an owner's agent has the log record.

    `digests` has SHA-256 digests by name (request, policy, receipt, permit, result), and `details`
    are readable by the operator until the owner is erased: purpose, fields, action, a reason. They
    never have a value of the owner's data. Numbers in them are integers. A call that repeats an
    `idempotency_key` of the session returns the same entry again.
    """

    kind: Literal["request", "answer", "permit", "revocation"]
    outcome: Literal["allowed", "denied", "reduced", "paused", "resumed", "failed"] | None = None
    digests: Annotated[dict[str, Hex256], Field(min_length=1, max_length=8)]
    details: Annotated[dict[str, Any], Field(max_length=32)]
    idempotency_key: Hex128 | None = None


class SessionUseRequest(RequestBody):
    """An owner's permit that is about to be used, and the digest of the consent receipt.

    Choose a random `idempotency_key` for each execution and store it with the result, before the
    call: if the response is lost, the same call returns the entry again. Any other call for the
    permit is refused.
    """

    permit: Annotated[str, Field(min_length=1, max_length=16 * 1024, repr=False)]
    receipt: Hex256
    details: Annotated[dict[str, Any], Field(max_length=32)]
    idempotency_key: Hex128 | None = None


class Logged(Body):
    """The number of an entry of the log."""

    entry: int
