"""What the server's HTTP interface answers, as typed and checked values."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, Field

from engines.interface import DECIDE


class _Answer(BaseModel):
    # Fields that a later server adds must not break an older party.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Health(_Answer):
    """GET /health: `ok` once the server's workers are warm."""

    status: Literal["ok", "starting"]
    engine: str = ""
    model_version: str = ""


class OpenedApplication(_Answer):
    """POST /applications: a new application, and a code by which each party joins it once.

    `watch_token` shows its state and its traffic; `readers` are those who learn the answer.
    """

    client_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    expires_at: str
    join_codes: dict[str, str] = Field(repr=False)
    watch_token: str = Field(default="", repr=False)
    readers: tuple[str, ...] = ()


class Joined(_Answer):
    """POST /applications/{client_id}/join and …/token: the party's token, and until when.

    `expires_at` is None, and `readers` empty, for a server that does not say.
    """

    token: str = Field(repr=False)
    scopes: tuple[str, ...] = ()
    expires_at: AwareDatetime | None = None
    readers: tuple[str, ...] = ()


class SlotState(_Answer):
    """What has arrived in one slot; `received_bytes` is None where nothing has."""

    party: str
    file_name: str
    needed_for: tuple[str, ...]
    received_bytes: int | None = None
    sha256: str | None = None


class ProgramState(_Answer):
    """How far the run of one program is; `progress` from 0 to 1.

    A run that failed or was cancelled may be asked for again; `error_code` and `error` say why.
    """

    status: Literal["idle", "queued", "running", "done", "failed", "cancelled"]
    progress: float = 0.0
    seconds: float | None = None
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def under_way(self) -> bool:
        """Whether it waits for a worker, or has one."""
        return self.status in ("queued", "running")

    @property
    def stopped(self) -> bool:
        """Whether it ended without a result."""
        return self.status in ("failed", "cancelled")


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
    readers: tuple[str, ...] = ()

    @property
    def under_way(self) -> tuple[str, ProgramState] | None:
        """The program that waits at the server or is evaluated there, or None."""
        return next((item for item in self.programs.items() if item[1].under_way), None)

    @property
    def stopped(self) -> tuple[str, ProgramState] | None:
        """The program whose run failed or was cancelled, or None."""
        return next((item for item in self.programs.items() if item[1].stopped), None)

    def with_slot(self, party: str, file_name: str, size: int, sha256: str) -> ApplicationState:
        """Return this state with an upload that the server has confirmed since."""
        found = (party, file_name)
        received = {"received_bytes": size, "sha256": sha256}
        slots = tuple(
            slot.model_copy(update=received) if (slot.party, slot.file_name) == found else slot
            for slot in self.slots
        )
        name = f"{party}: {file_name}"
        missing = {p: tuple(m for m in each if m != name) for p, each in self.missing.items()}
        stage = "ready" if self.state == "open" and not missing.get(DECIDE) else self.state
        return self.model_copy(update={"slots": slots, "missing": missing, "state": stage})

    def with_program(self, program: str, run: ProgramState) -> ApplicationState:
        """Return this state with what the server has said of one program since."""
        stage = "running" if run.under_way else self.state
        programs = {**self.programs, program: run}
        return self.model_copy(update={"programs": programs, "state": stage})

    def sha256_of(self, party: str, file_name: str) -> str | None:
        """Digest of what lies in a slot; None where it is empty or there is no such slot."""
        for slot in self.slots:
            if (slot.party, slot.file_name) == (party, file_name):
                return slot.sha256
        return None


class Posted(_Answer):
    """POST /applications/{client_id}/messages: the number of what was posted."""

    number: int


class RelayedMessage(_Answer):
    """What one party gave the server for another, or (`receiver` None) for all."""

    number: int
    sender: str
    receiver: str | None
    step: str
    body: Base64Bytes = Field(repr=False)


class RelayedMessages(_Answer):
    """GET /applications/{client_id}/messages: new ones, and the state with its tag."""

    messages: tuple[RelayedMessage, ...]
    state: ApplicationState
    tag: str


class Exchanged(_Answer):
    """POST /applications/{client_id}/exchange: the numbers of what was posted, and what is new.

    `after` is to be given with the next exchange; `tag` changes when the state does.
    """

    numbers: tuple[int, ...]
    messages: tuple[RelayedMessage, ...]
    after: int = Field(ge=0, le=2**31 - 1)
    state: ApplicationState
    tag: str


class TrafficItem(_Answer):
    """One thing that travelled; `receiver` None stands for all parties, `at` is ISO 8601."""

    number: int
    at: str
    sender: str
    receiver: str | None
    what: str
    bytes: int


class Traffic(_Answer):
    """GET /applications/{client_id}/traffic: all that travelled, oldest first, no content."""

    items: tuple[TrafficItem, ...]


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
