"""What the server answers about an application, as the HTTP contract has it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

RunStatus = Literal["idle", "running", "done", "failed"]
Stage = Literal["open", "ready", "running", "decided", "explained"]


class Opened(BaseModel):
    """A new application: its id, and for each party the code with which it joins, once."""

    client_id: str
    expires_at: datetime
    join_codes: dict[str, str] = Field(repr=False)


class Joined(BaseModel):
    """The party's bearer token for its own slots of this application."""

    token: str = Field(repr=False)


class SlotState(BaseModel):
    """One message an application needs, and what has come of it."""

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    received_bytes: int | None
    sha256: str | None


class ProgramState(BaseModel):
    """How far a program is; `seconds` is the time of its evaluation alone."""

    status: RunStatus
    progress: float = Field(ge=0, le=1)
    seconds: float | None
    result_bytes: int | None
    error: str | None


class ApplicationState(BaseModel):
    """All that any party of an application may see of it."""

    client_id: str
    state: Stage
    created_at: datetime
    expires_at: datetime
    joined: list[str]
    slots: list[SlotState]
    programs: dict[str, ProgramState]
    missing: dict[str, list[str]] = Field(
        description="For each program, the slots still empty, such as `bank: encrypted_inputs`."
    )


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
