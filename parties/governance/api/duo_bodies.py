"""The bodies of the calls of Duo, with the members and texts of that system.

Duo is an earlier system in which a person keeps the data and decides on each use. Each of its calls
is here with the members that its users know, and further ones beside them. `idx` may be the index
that a listing shows, or an id.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StrictInt

from contract.governance import FieldName, PurposeTerm
from governance.computations import Filter
from governance.request_state import LONGEST_REASON, Status
from governance.requests import LONGEST_RETENTION_DAYS, MOST_FIELDS, Action, Hex128, Period, Uses
from parties.governance.api.bodies import Asked, Given, Hours, SessionId

PURPOSE = "dpv:CreditChecking"
"""The purpose of a request that names none; the shipped policy allows statistics for it."""
NO_ACCESS = "No Access to Run Computation"

Index = (
    Annotated[StrictInt, Field(ge=0, lt=2**31)] | Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
)


class SessionHosted(Given):
    """A new session, and the code with which one institution can connect."""

    status: Literal["session hosted"] = "session hosted"
    session_id: str
    code: Annotated[str | None, Field(repr=False)]
    expires: int


class SessionConnected(Given):
    """A session that is connected, and the owner's key, to be compared with the owner."""

    status: Literal["session connected"] = "session connected"
    session_id: str
    owner: str | None
    owner_key: str | None


class DataStored(Given):
    """A data set that is stored."""

    status: Literal["data storage complete"] = "data storage complete"
    id: str
    rows: int
    columns: tuple[str, ...]


class StoreLine(Given):
    """A data set: `Filename` is its tag."""

    index: int
    description: Annotated[str, Field(serialization_alias="Description")]
    filename: Annotated[str, Field(serialization_alias="Filename")]
    id: str
    columns: dict[str, str]
    rows: int


class SessionStoreLine(StoreLine):
    """A data set of the owner in a session."""

    session_id: str


class SeenStore(Given):
    """The data sets of an owner."""

    data_store: tuple[StoreLine, ...]


class SeenStores(Given):
    """The data sets of all connected owners, and the sessions whose owners did not respond."""

    data_store: tuple[SessionStoreLine, ...]
    unreachable: tuple[str, ...]


class RequestLine(Given):
    """A request that waits for the owner's decision."""

    index: int
    access: Annotated[str, Field(serialization_alias="Requested Access")]
    reason: Annotated[str, Field(serialization_alias="Reason")]
    request_id: Hex128
    requester: str
    purpose: str
    policy_allows: bool
    policy: str


class SeenRequests(Given):
    """The requests that wait for a decision."""

    current_requests: tuple[RequestLine, ...]


class DecisionBody(Asked):
    """The owner's decision on a request. With less than was asked for, see the call `approve`."""

    idx: Index
    decision: Literal["approve", "deny"]
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    fields: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=MOST_FIELDS)] | None = (
        None
    )
    uses: Uses | None = None
    not_after: Annotated[int, Field(ge=0, lt=2**40)] | None = None


class Decided(Given):
    """A request that was decided; `Reason` is the requester's."""

    index: int
    reason: Annotated[str, Field(serialization_alias="Reason")]
    decision: Annotated[Literal["approve", "deny"], Field(serialization_alias="Decision")]
    request_id: Hex128
    status: Status


class LogLine(Given):
    """A decision on a request; the time is ISO 8601, in UTC."""

    reason: Annotated[str, Field(serialization_alias="Request Reason")]
    decision: Annotated[str, Field(serialization_alias="Decision")]
    at: Annotated[str | None, Field(serialization_alias="Decision Timestamp")]
    request_id: Hex128
    status: Status


class SeenLogs(Given):
    """The decisions on requests, the oldest first."""

    logs: tuple[LogLine, ...]


class RequestDataBody(Asked):
    """A request to compute something on a data set.

    `computation` is a name such as `average`, `median`, `max`, `min`, `sum` or `count`, or an
    object of governance/computations.py. Without `column`, it is about the only numeric column.
    `name` is a short title for the request. `uses` and `period` limit how often it may run, and
    `hours` until when.
    """

    idx: Index
    computation: (
        Annotated[str, Field(max_length=64)]
        | Annotated[dict[str, JsonValue], Field(max_length=16)]
        | None
    ) = None
    name: Annotated[str, Field(max_length=200)] = ""
    reason: Annotated[str, Field(min_length=1, max_length=1700)]
    purpose: PurposeTerm = PURPOSE
    action: Action = "statistic"
    column: FieldName | None = None
    fields: Annotated[tuple[FieldName, ...], Field(max_length=MOST_FIELDS)] = ()
    filters: Annotated[tuple[Filter, ...], Field(max_length=8)] = ()
    uses: Annotated[int, Field(ge=1, le=10_000)] = 1
    period: Period | None = None
    hours: Hours = 24.0
    retention_days: Annotated[int, Field(ge=0, le=LONGEST_RETENTION_DAYS)] = 30
    session_id: SessionId | None = None
    join_code: Annotated[str | None, Field(max_length=300, repr=False)] = None


class DataRequested(Given):
    """A request that was sent: its index for `run_computation`, and its state."""

    computation_index: int
    request_id: Hex128
    status: Status
    policy_allows: bool
    policy: str
    words: str


class RunComputationBody(Asked):
    """A request to run, and how many seconds to wait for the result."""

    idx: Index
    wait: Annotated[float, Field(ge=0, le=120)] = 30.0


class ComputationRan(Given):
    """The result as a text, and whole."""

    result: str
    request_id: Hex128
    outcome: dict[str, Any]
