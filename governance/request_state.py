"""The states of a request, as pure functions of its events and their times.

    pending ──approve──► approved ──activate──► active ◄──pause, resume──► paused
       └──deny──► denied      any but the last four ──► revoked, expired, used up

The states are those of the consent artefact of India's Account Aggregators (ReBIT: active, paused,
revoked, expired), with the steps before it. Events count in the order in which they are applied,
so that after a revocation no permit is issued and no permitted use begins. A permit holds one use
until the use begins or the permit expires. A use begins with `Begin`, which has to be stored before
a run is queued or a result leaves its owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from governance.requests import SECONDS_OF, AccessRequest, Uses
from utils.errors import InvalidRequest, PermitSpent, RequestClosed

PERMIT_SECONDS = 300
"""Longest life of a permit."""
LONGEST_REASON = 500

Status = Literal[
    "pending", "approved", "active", "paused", "denied", "revoked", "expired", "used up"
]
CLOSED: tuple[Status, ...] = ("denied", "revoked", "expired", "used up")


@dataclass(frozen=True)
class Grant:
    """The part of a request that its owner allows: all of it, or less."""

    fields: tuple[str, ...]
    uses: Uses
    not_after: int

    @classmethod
    def whole(cls, request: AccessRequest) -> Grant:
        """Return all that a request asks for."""
        return cls(request.fields, request.uses, request.not_after)

    def within(self, request: AccessRequest) -> bool:
        """Return True if it is at most what the request asks for, and at least one field."""
        return (
            0 < len(self.fields) == len(set(self.fields))
            and set(self.fields) <= set(request.fields)
            and self.uses.within(request.uses)
            and self.not_after <= request.not_after
        )


@dataclass(frozen=True)
class Approve:
    """The owner approves the request, or with `grant` less of it."""

    grant: Grant | None = None


@dataclass(frozen=True)
class Deny:
    """The owner denies the request, for a reason in words."""

    reason: str


@dataclass(frozen=True)
class Activate:
    """The consent receipt is signed and both sides have it."""


@dataclass(frozen=True)
class Pause:
    """The owner stops the use for a while."""


@dataclass(frozen=True)
class Resume:
    """The owner ends the pause."""


@dataclass(frozen=True)
class Revoke:
    """The owner withdraws the approval, for good."""

    reason: str = ""


@dataclass(frozen=True)
class Issue:
    """A permit is issued for one use."""

    permit: str
    expires: int


@dataclass(frozen=True)
class Begin:
    """The use of a permit begins."""

    permit: str


Event: TypeAlias = Approve | Deny | Activate | Pause | Resume | Revoke | Issue | Begin


@dataclass(frozen=True)
class RequestState:
    """A request and what has happened to it.

    `issued` maps permits whose use has not begun to their expiry, and `begun` permits to the time
    when their use began, as far as it counts for the uses that are left.
    """

    request: AccessRequest
    status: Status = "pending"
    grant: Grant | None = None
    reason: str = ""
    issued: tuple[tuple[str, int], ...] = ()
    begun: tuple[tuple[str, int], ...] = ()

    @property
    def closed(self) -> bool:
        """Return True if nothing can happen to the request any more."""
        return self.status in CLOSED

    def left(self, now: int) -> int:
        """Return the number of permits that could be issued now; 0 unless active."""
        state = at(self, now)
        if state.status != "active" or state.grant is None:
            return 0
        return max(0, state.grant.uses.count - len(state.issued) - len(state.begun))


def at(state: RequestState, now: int) -> RequestState:
    """Return the state at a time in seconds since 1970: requests and permits expire by themselves.

    A clock that is set back makes no further use possible.
    """
    if state.closed:
        return state
    if now >= (state.grant or Grant.whole(state.request)).not_after:
        return replace(state, status="expired", issued=())
    begun = state.begun
    if state.grant is not None and state.grant.uses.period is not None:
        since = now - SECONDS_OF[state.grant.uses.period]
        begun = tuple(use for use in begun if use[1] > since)
    issued = tuple(permit for permit in state.issued if permit[1] > now)
    return replace(state, issued=issued, begun=begun)


def step(state: RequestState, event: Event, now: int) -> RequestState:
    """Return the state after an event at `now`, in seconds since 1970.

    Raises RequestClosed if the state does not allow it, InvalidRequest for an approval of more than
    was asked for or a reason that is missing or too long, and PermitSpent for a use that has begun.
    """
    state = at(state, now)
    if state.closed:
        raise RequestClosed(f"The request is {state.status}; make a new one.")
    match event:
        case Approve(grant):
            _require(state, ("pending",), "approved")
            allowed = grant or Grant.whole(state.request)
            if not allowed.within(state.request) or allowed.not_after <= now:
                raise InvalidRequest(
                    "An approval may allow less than was asked for, never more or nothing: at "
                    "least one of the fields, at most the uses, and an end in the future that is "
                    "not later."
                )
            return replace(state, status="approved", grant=allowed)
        case Deny(reason):
            _require(state, ("pending",), "denied")
            if not reason.strip():
                raise InvalidRequest("reason: say why the request is denied.")
            return replace(state, status="denied", reason=_short(reason))
        case Activate():
            _require(state, ("approved",), "activated")
            return replace(state, status="active")
        case Pause():
            _require(state, ("active",), "paused")
            return replace(state, status="paused")
        case Resume():
            _require(state, ("paused",), "resumed")
            return replace(state, status="active")
        case Revoke(reason):
            _require(state, ("approved", "active", "paused"), "revoked")
            return replace(state, status="revoked", reason=_short(reason), issued=())
        case Issue(permit, expires):
            return _issue(state, permit, expires, now)
        case Begin(permit):
            return _begin(state, permit, now)


def replay(request: AccessRequest, events: Iterable[tuple[Event, int]]) -> RequestState:
    """Return the state after all events, each with its time; raises the errors of `step`."""
    state = RequestState(request)
    for event, now in events:
        state = step(state, event, now)
    return state


def _issue(state: RequestState, permit: str, expires: int, now: int) -> RequestState:
    _require(state, ("active",), "used")
    if not now < expires <= now + PERMIT_SECONDS:
        raise InvalidRequest(f"A permit lives at most {PERMIT_SECONDS} seconds.")
    if permit in dict(state.issued) or permit in dict(state.begun):
        raise InvalidRequest("Every permit has an id of its own.")
    if state.left(now) == 0:
        raise RequestClosed(
            "All uses that were approved for now are taken; ask again when a permit has expired "
            "or the next period begins."
        )
    return replace(state, issued=(*state.issued, (permit, expires)))


def _begin(state: RequestState, permit: str, now: int) -> RequestState:
    if permit in dict(state.begun):
        raise PermitSpent("This permit has been used; ask for a new one.")
    _require(state, ("active",), "used")
    if permit not in dict(state.issued):
        raise RequestClosed("There is no such permit, or it has expired; ask for a new one.")
    issued = tuple(one for one in state.issued if one[0] != permit)
    begun = (*state.begun, (permit, now))
    used_up = (
        state.grant is not None
        and state.grant.uses.period is None
        and len(begun) >= state.grant.uses.count
    )
    status: Status = "used up" if used_up else state.status
    return replace(state, status=status, issued=issued, begun=begun)


def _require(state: RequestState, allowed: tuple[Status, ...], done: str) -> None:
    if state.status not in allowed:
        raise RequestClosed(
            f"The request is {state.status}; only one that is {' or '.join(allowed)} can be {done}."
        )


def _short(reason: str) -> str:
    if len(reason) > LONGEST_REASON:
        raise InvalidRequest(f"reason: at most {LONGEST_REASON} characters.")
    return reason.strip()
