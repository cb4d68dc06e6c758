"""What the server answers about an application, as the HTTP contract has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

RunStatus = Literal["idle", "queued", "running", "done", "failed", "cancelled"]
Stage = Literal["open", "ready", "running", "decided", "explained"]


class Opened(BaseModel):
    """A new application: its id, and for each party the code with which it joins, once.

    `watch_token` is for whoever opened it: it shows state, events and traffic, nothing else.
    """

    client_id: str
    expires_at: datetime
    join_codes: dict[str, str] = Field(repr=False)
    watch_token: str = Field(repr=False)
    readers: list[str]


class Joined(BaseModel):
    """The party's bearer token for this application, what it may do, and until when."""

    token: str = Field(repr=False)
    scopes: list[str]
    expires_at: datetime
    readers: list[str] = Field(description="The parties that learn what is opened.")


class SlotState(BaseModel):
    """One message an application needs, and what has come of it."""

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    received_bytes: int | None
    sha256: str | None


class ProgramState(BaseModel):
    """How far a program is; `seconds` is the time of its evaluation alone.

    `error_code` is a code of
    utils/errors.py; a failed or cancelled program may be run again.
    """

    status: RunStatus
    job: str | None = Field(description="The id of the run that was asked for last.")
    attempts: int
    progress: float = Field(ge=0, le=1)
    queued_at: datetime | None
    deadline: datetime | None = Field(description="When a run that still waits is given up.")
    seconds: float | None
    result_bytes: int | None
    error_code: str | None
    error: str | None


class ApplicationState(BaseModel):
    """All that any party of an application may see of it."""

    client_id: str
    state: Stage
    created_at: datetime
    expires_at: datetime
    joined: list[str]
    readers: list[str] = Field(description="The parties that learn what is opened.")
    slots: list[SlotState]
    programs: dict[str, ProgramState]
    missing: dict[str, list[str]] = Field(
        description="For each program, the slots still empty, such as `bank: encrypted_inputs`."
    )


class Posted(BaseModel):
    """The number under which a message of one party for another is kept."""

    number: int


class Relayed(BaseModel):
    """A message of one party for another, as it came; `receiver` is null for all."""

    number: int
    sender: str
    receiver: str | None
    step: str
    bytes: int
    sent_at: datetime
    body: str = Field(description="Base64, as RFC 4648 has it.", repr=False)


class RelayedMessages(BaseModel):
    """New messages, and the application's state with a `tag` that changes when it does."""

    messages: list[Relayed]
    state: ApplicationState
    tag: str


class Exchanged(BaseModel):
    """The numbers of the messages that were posted, new messages, and the application's state.

    `numbers` are in the order of the request. `after` is to be given with the next exchange. `tag`
    changes when the state does.
    """

    numbers: list[int]
    messages: list[Relayed]
    after: int
    state: ApplicationState
    tag: str


class TrafficItem(BaseModel):
    """One thing that travelled, and never its content.

    `sender` and `receiver` are parties or `server`; a `receiver` of null stands for all parties.
    `what` is a step of the parties, the name of a slot, `run <program>` (asked for),
    `ran <program>`, `failed <program>`, or `result of <program>` (fetched).
    """

    number: int
    at: datetime
    sender: str
    receiver: str | None
    what: str
    bytes: int


class Traffic(BaseModel):
    """All that travelled in an application, oldest first."""

    items: list[TrafficItem]


class Receipt(BaseModel):
    """What was stored of an upload."""

    client_id: str
    client_type: str
    file_name: str
    bytes: int
    sha256: str
    state: Stage


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a date with its time zone."""
    return datetime.fromtimestamp(seconds, UTC)
