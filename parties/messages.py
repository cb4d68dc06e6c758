"""What the server's HTTP interface answers, as typed and checked values."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    # Fields that a later server adds must not break an older party.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Health(_Answer):
    """GET /health: `ok` once the server's workers are warm."""

    status: Literal["ok", "starting"]
    engine: str = ""
    model_version: str = ""


class OpenedApplication(_Answer):
    """POST /applications: a new application, and a code by which each party joins it once."""

    client_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    expires_at: str
    join_codes: dict[str, str] = Field(repr=False)


class SlotState(_Answer):
    """What has arrived in one slot; `received_bytes` is None where nothing has."""

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    received_bytes: int | None = None
    sha256: str | None = None


class ProgramState(_Answer):
    """How far the evaluation of one program is; `progress` from 0 to 1."""

    status: Literal["idle", "running", "done", "failed"]
    progress: float = 0.0
    seconds: float | None = None
    result_bytes: int | None = None
    error: str | None = None


class ApplicationState(_Answer):
    """GET /applications/{client_id}, and every event of its stream."""

    client_id: str
    state: Literal["open", "ready", "running", "decided", "explained"]
    created_at: str
    expires_at: str
    joined: tuple[str, ...]
    slots: tuple[SlotState, ...]
    programs: dict[str, ProgramState]
    missing: dict[str, tuple[str, ...]]


class Receipt(_Answer):
    """POST /send_file: what the server has stored; `sha256` is of the bytes as they arrived."""

    client_id: str
    client_type: str
    file_name: str
    bytes: int
    sha256: str


class Problem(_Answer):
    """An error as RFC 9457 has it; `type` is `urn:triseal:error:<code>`."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
