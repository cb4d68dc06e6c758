"""The bodies of requests and responses of the agents' own calls; facts are views.py's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from contract.governance import FieldName, Hex256, PurposeTerm
from governance.data_store import DataSetId
from governance.datasets import MOST_BYTES, Record, Tag
from governance.request_state import LONGEST_REASON
from governance.requests import (
    LONGEST_RETENTION_DAYS,
    MOST_FIELDS,
    MOST_READERS,
    Action,
    Hex128,
    Uses,
)
from parties.governance.views import ActivityLine, DataSetView, RequestView, SessionView

LARGEST_DATA = 2 * MOST_BYTES
"""Bytes of a request with a data set: in JSON, quotation marks and line ends take two bytes."""
LONGEST_WAIT = 25.0
LONGEST_RUN_WAIT = 120.0
LONGEST_HOURS = 24 * 365.0

Categories = dict[FieldName, Annotated[str, Field(max_length=64)]]
Words = Annotated[str, Field(max_length=500)]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hours = Annotated[float, Field(gt=0, le=LONGEST_HOURS)]


class Asked(BaseModel):
    """Base class of the bodies of requests: unknown members are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Given(BaseModel):
    """Base class of the bodies of responses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Key(Given):
    """An agent's name and its long-lived public key (Ed25519), in hexadecimal."""

    name: str
    key: str


class HostBody(Asked):
    """A session to host: a title for the owner, and how long it lasts."""

    title: Annotated[str, Field(max_length=200)] = ""
    hours: Annotated[float, Field(gt=0, le=24 * 30)] = 24.0


class ConnectBody(Asked):
    """The code of a session, which its owner gave."""

    code: Annotated[str, Field(min_length=1, max_length=300, repr=False)]


class Sessions(Given):
    """The sessions of an agent."""

    items: tuple[SessionView, ...]


class StoreBody(Asked):
    """A data set to store.

    `data` is the text of a CSV or JSON file, a record, a list of records, or a list of values,
    which becomes one column `value`. `categories` are the policy's, by column; the policy allows no
    use of a column without a category.
    """

    data: Annotated[JsonValue, Field(repr=False)]
    tag: Tag
    description: Words
    categories: Annotated[Categories, Field(max_length=MOST_FIELDS)] = {}
    schema_name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")] | None = None


class DataSets(Given):
    """Data sets, without values."""

    items: tuple[DataSetView, ...]


class Requests(Given):
    """Requests, the oldest first; a request's position is its index in the calls by index."""

    items: tuple[RequestView, ...]


class ApproveBody(Asked):
    """Less than was asked for: fewer fields, fewer uses, an earlier end; null means all of it."""

    fields: Annotated[tuple[FieldName, ...], Field(min_length=1, max_length=MOST_FIELDS)] | None = (
        None
    )
    uses: Uses | None = None
    not_after: Annotated[int, Field(ge=0, lt=2**40)] | None = None


class DenyBody(Asked):
    """The owner's reason, which the requester sees."""

    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_REASON)]


class RevokeBody(Asked):
    """The owner's reason, if there is one to give."""

    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""


class RequestBody(Asked):
    """A request to the owner of a data set.

    `fields` are, if left out, those that the computation reads. `computation` is for `statistic`
    (governance/computations.py), and `join_code` for `decide` and `explain`.
    """

    session_id: SessionId
    data_set: DataSetId
    action: Action = "statistic"
    purpose: PurposeTerm
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    fields: Annotated[tuple[FieldName, ...], Field(max_length=MOST_FIELDS)] = ()
    computation: Annotated[dict[str, JsonValue], Field(max_length=16)] | None = None
    readers: (
        Annotated[
            tuple[Annotated[str, Field(min_length=1, max_length=64)], ...],
            Field(min_length=1, max_length=MOST_READERS),
        ]
        | None
    ) = None
    uses: Uses = Uses()
    hours: Hours = 24.0
    retention_days: Annotated[int, Field(ge=0, le=LONGEST_RETENTION_DAYS)] = 30
    join_code: Annotated[str | None, Field(max_length=300, repr=False)] = None


class RunBody(Asked):
    """The seconds to wait for the result."""

    wait: Annotated[float, Field(ge=0, le=LONGEST_RUN_WAIT)] = 30.0


class Ran(Given):
    """The result of one use of a request."""

    request_id: Hex128
    result: dict[str, Any]


class TryBody(Asked):
    """A computation to try on invented rows."""

    computation: Annotated[dict[str, JsonValue], Field(max_length=16)]


class Tried(Given):
    """The result on invented rows, which says nothing about the owner's data."""

    result: dict[str, Any]


class MockRows(Given):
    """Invented rows of a data set."""

    rows: tuple[Record, ...]


class ReceiveBody(BaseModel):
    """A permit for a masked record, and the owner's agent that it is redeemed at.

    The first three members are those of the server's response to `POST /authorize`, whose others
    may be there too. `owner_key` is the owner's public key, from the owner; it is needed for a
    permit that the server signed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    exchange_host: Annotated[str, Field(min_length=1, max_length=253)]
    exchange_port: Annotated[int, Field(ge=1, le=65535)]
    token: Annotated[str, Field(min_length=1, max_length=16 * 1024, repr=False)]
    owner_key: Hex256 | None = None


class Received(Given):
    """The record that the owner's agent released."""

    record: dict[str, Any]


class ConsentBody(Asked):
    """The person's consent to a partner's use of the record for a purpose, or its end."""

    purpose: PurposeTerm
    state: Literal["granted", "revoked"]


class Activity(Given):
    """The activity of this agent, the oldest first."""

    items: tuple[ActivityLine, ...]


class Serial(Given):
    """A number that changes whenever there is something new to show."""

    serial: int
