"""The messages that an owner's and an institution's agent send each other in a session.

Each is one JSON object, sealed (parties/governance/sealed_session.py). The institution calls, and
the owner replies with the same `call` number; the owner also tells of changes by itself. Whatever
arrives is validated here before it is used.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from governance.data_store import DataSetId
from governance.datasets import MOST_ROWS, Record
from governance.request_state import Status
from governance.requests import LARGEST_REQUEST, Hex128
from parties.governance.views import DataSetView, GrantView

LARGEST_MESSAGE = 384 * 1024
"""Bytes of a message in JSON, before it is sealed."""
MOST_MOCK_ROWS = 200
SESSION_METHOD = "SESSION"
"""The method in the proof of possession of a `Redeem` (governance.permits.prove_possession)."""

CallNumber = Annotated[int, Field(ge=1, lt=2**31)]


class Message(BaseModel):
    """Base class of the messages."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Browse(Message):
    """Institution: list the data sets with this tag whose descriptions have these words."""

    kind: Literal["browse"] = "browse"
    call: CallNumber
    words: str = Field(default="", max_length=200)
    tag: str = Field(default="", max_length=40)


class GetMock(Message):
    """Institution: return invented rows of a data set."""

    kind: Literal["get mock"] = "get mock"
    call: CallNumber
    data_set: DataSetId
    rows: int = Field(default=20, ge=1, le=MOST_MOCK_ROWS)


class Ask(Message):
    """Institution: put a signed request (governance/requests.py, JSON) before the owner.

    `join_code` is, for `decide` and `explain`, the owner's code for the application.
    """

    kind: Literal["ask"] = "ask"
    call: CallNumber
    request: str = Field(max_length=LARGEST_REQUEST)
    join_code: str | None = Field(default=None, max_length=300, repr=False)


class TakePermit(Message):
    """Institution: issue a permit for one use of an approved request."""

    kind: Literal["take permit"] = "take permit"
    call: CallNumber
    request_id: Hex128


class Redeem(Message):
    """Institution: execute once what a permit allows.

    `signature` proves possession of the requester's key: governance.permits.prove_possession with
    the method SESSION_METHOD, the session's id as target, and the permit as body.
    """

    kind: Literal["redeem"] = "redeem"
    call: CallNumber
    permit: str = Field(max_length=16 * 1024, repr=False)
    signature: str = Field(max_length=128)


class GetStatus(Message):
    """Institution: return the status of its requests."""

    kind: Literal["get status"] = "get status"
    call: CallNumber


class DataSets(Message):
    """Owner: the data sets that were found."""

    kind: Literal["data sets"] = "data sets"
    call: CallNumber
    found: tuple[DataSetView, ...] = Field(max_length=500)


class Mock(Message):
    """Owner: invented rows."""

    kind: Literal["mock"] = "mock"
    call: CallNumber
    rows: tuple[Record, ...] = Field(max_length=MOST_MOCK_ROWS)


class RequestStatus(Message):
    """Owner: the state of a request, in reply to `ask` and at every change (`call` is None).

    `receipt` is the signed consent receipt in JSON, once the owner has approved.
    """

    kind: Literal["request status"] = "request status"
    call: CallNumber | None = None
    request_id: Hex128
    status: Status
    policy_allows: bool
    policy_words: str = Field(max_length=5000)
    rules: tuple[str, ...] = Field(default=(), max_length=64)
    masks: dict[str, str] = Field(default={}, max_length=256)
    grant: GrantView | None = None
    reason: str = Field(default="", max_length=500)
    receipt: str | None = Field(default=None, max_length=256 * 1024)
    uses_left: int = Field(default=0, ge=0, le=MOST_ROWS)
    problem: str | None = Field(default=None, max_length=1000)


class Statuses(Message):
    """Owner: the state of all requests of the institution in this session."""

    kind: Literal["statuses"] = "statuses"
    call: CallNumber
    found: tuple[RequestStatus, ...] = Field(max_length=500)


class PermitGiven(Message):
    """Owner: a permit, signed with the owner's key."""

    kind: Literal["permit given"] = "permit given"
    call: CallNumber
    permit: str = Field(max_length=16 * 1024, repr=False)
    expires: int


class Outcome(Message):
    """Owner: the result of one use, and its entry in the server's log.

    `result` is a statistic (governance.computations.Result), a masked record, or for `decide` and
    `explain` a note that the owner's process has joined and agreed.
    """

    kind: Literal["outcome"] = "outcome"
    call: CallNumber
    request_id: Hex128
    entry: int | None
    result: dict[str, JsonValue] = Field(repr=False)


class Refused(Message):
    """Owner: the call failed; `code` and `message` are those of a class of utils/errors.py."""

    kind: Literal["refused"] = "refused"
    call: CallNumber
    code: str = Field(max_length=64)
    message: str = Field(max_length=2000)


FromInstitution = Annotated[
    Browse | GetMock | Ask | TakePermit | Redeem | GetStatus, Field(discriminator="kind")
]
FromOwner = Annotated[
    DataSets | Mock | RequestStatus | Statuses | PermitGiven | Outcome | Refused,
    Field(discriminator="kind"),
]
FROM_INSTITUTION: TypeAdapter[Any] = TypeAdapter(FromInstitution)
FROM_OWNER: TypeAdapter[Any] = TypeAdapter(FromOwner)
