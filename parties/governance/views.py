"""The facts that an owner's or institution's agent shows to a page or an HTTP client.

They have no secrets, and no values of an owner's data except results that the viewer may read.
Times are in seconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from governance.access import PartnerType
from governance.datasets import Column
from governance.request_state import Status
from governance.requests import AccessRequest, Uses

SessionStatus = Literal["waiting", "connected", "closed", "expired"]


class View(BaseModel):
    """Base class of the views."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SessionView(View):
    """A session between an owner and an institution.

    `code` is the one-time code, which only the host sees, until somebody connects with it. `peer`
    is the name of the other side, and `peer_key` its long-lived public key (hexadecimal).
    `peer_type` is the institution's type in the policy, None on the institution's own side.
    """

    session_id: str
    status: SessionStatus
    title: str
    created: int
    expires: int
    code: str | None = Field(default=None, repr=False)
    peer: str | None = None
    peer_type: PartnerType | None = None
    peer_key: str | None = None


class DataSetView(View):
    """The public facts of an owner's data set; see governance/datasets.py."""

    id: str
    version: int
    tag: str
    words: str
    schema_name: str
    columns: tuple[Column, ...]
    rows: int


class GrantView(View):
    """The part of a request that its owner allowed."""

    fields: tuple[str, ...]
    uses: Uses
    not_after: int


class UseView(View):
    """One execution of a request: when it began, and its entry in the server's log."""

    permit: str
    at: int
    entry: int | None


class RequestView(View):
    """A request, its state, and what has come of it.

    `words` says in a sentence of plain English what is asked for. `policy_allows` is the policy's
    answer given the owner's consent, with its reason in `policy_words`. `reason` is the owner's
    reason for a denial or revocation. `receipt_id` is set once the owner has approved. `problem`
    says why the last use failed. `results` are on the institution's side only.
    """

    request: AccessRequest
    session_id: str
    peer: str
    peer_type: PartnerType | None
    status: Status
    words: str
    data_set: str
    policy_allows: bool
    policy_words: str
    rules: tuple[str, ...]
    masks: dict[str, str]
    grant: GrantView | None = None
    reason: str = ""
    receipt_id: str | None = None
    uses: tuple[UseView, ...] = ()
    uses_left: int = 0
    problem: str | None = None
    results: tuple[dict[str, Any], ...] = ()


class ActivityLine(View):
    """One line of an agent's own activity log: what happened, when, and by whom."""

    at: int
    kind: Literal[
        "session",
        "request",
        "answer",
        "permit",
        "use",
        "result",
        "pause",
        "resume",
        "revocation",
        "data",
        "failure",
    ]
    by: str
    words: str
    request_id: str | None = None
    entry: int | None = None
