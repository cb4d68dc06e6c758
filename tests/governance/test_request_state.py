"""A request's states: never more than was asked for, and nothing after a revocation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from governance.request_state import (
    CLOSED,
    PERMIT_SECONDS,
    Activate,
    Approve,
    Begin,
    Deny,
    Event,
    Grant,
    Issue,
    Pause,
    RequestState,
    Resume,
    Revoke,
    at,
    replay,
    step,
)
from governance.requests import SECONDS_OF, Uses
from tests.governance.requests_for_tests import NOW, a_request
from utils.errors import InvalidRequest, PermitSpent, RequestClosed

uses = st.builds(
    Uses, count=st.integers(1, 4), period=st.sampled_from([None, "hour", "day", "month"])
)
ACTIVE = [(Approve(), NOW), (Activate(), NOW)]


def allows(given_uses: Uses, times: list[int]) -> bool:
    """Return True if the uses allow executions at these times: the definition, naively."""
    if given_uses.period is None:
        return len(times) <= given_uses.count
    length = SECONDS_OF[given_uses.period]
    return all(
        sum(1 for other in times if one - length < other <= one) <= given_uses.count
        for one in times
    )


@given(uses, uses, st.lists(st.integers(0, 40 * 86400), max_size=8))
def test_fewer_uses_allow_nothing_that_more_do_not(
    fewer: Uses, more: Uses, times: list[int]
) -> None:
    if fewer.within(more) and allows(fewer, times):
        assert allows(more, times)


@given(
    st.lists(st.sampled_from(["month", "amount", "iban"]), max_size=4),
    uses,
    st.integers(NOW - 10, NOW + 2 * 86400),
)
def test_approval_never_grants_more_than_was_asked_for(
    fields: list[str], granted: Uses, end: int
) -> None:
    request = a_request()
    grant = Grant(tuple(fields), granted, end)
    try:
        state = step(RequestState(request), Approve(grant), NOW)
    except InvalidRequest:
        return
    assert state.grant is not None
    assert set(state.grant.fields) <= set(request.fields) and state.grant.fields
    assert state.grant.not_after <= request.not_after
    assert state.grant.uses.within(request.uses)


@pytest.mark.parametrize(
    "grant",
    [
        Grant(("month", "iban"), Uses(), NOW + 10),
        Grant((), Uses(), NOW + 10),
        Grant(("month",), Uses(count=4, period="day"), NOW + 10),
        Grant(("month",), Uses(count=3, period="hour"), NOW + 10),
        Grant(("month",), Uses(), NOW + 86401),
        Grant(("month",), Uses(), NOW),
    ],
)
def test_more_or_nothing_is_refused(grant: Grant) -> None:
    with pytest.raises(InvalidRequest):
        step(RequestState(a_request()), Approve(grant), NOW)


@pytest.mark.parametrize(
    ("events", "event", "allowed"),
    [
        ([], Issue("p", NOW + 60), False),
        ([(Approve(), NOW)], Issue("p", NOW + 60), False),
        (ACTIVE, Issue("p", NOW + 60), True),
        ([*ACTIVE, (Pause(), NOW)], Issue("p", NOW + 60), False),
        ([*ACTIVE, (Pause(), NOW), (Resume(), NOW)], Issue("p", NOW + 60), True),
        ([*ACTIVE, (Revoke(), NOW)], Issue("p", NOW + 60), False),
        ([(Deny("no"), NOW)], Approve(), False),
        ([*ACTIVE, (Revoke(), NOW)], Approve(), False),
        ([*ACTIVE], Deny("no"), False),
    ],
)
def test_events_are_allowed_in_their_states_only(
    events: list[tuple[Event, int]], event: Event, allowed: bool
) -> None:
    state = replay(a_request(), events)
    if allowed:
        step(state, event, NOW)
    else:
        with pytest.raises(RequestClosed):
            step(state, event, NOW)


def test_revocation_stops_a_permit_whose_use_has_not_begun() -> None:
    issued = replay(a_request(), [*ACTIVE, (Issue("p", NOW + 60), NOW)])
    step(issued, Begin("p"), NOW + 1)  # the control: without the revocation it begins
    with pytest.raises(RequestClosed, match="revoked"):
        step(step(issued, Revoke(), NOW + 1), Begin("p"), NOW + 1)


def test_order_of_approval_and_revocation_decides() -> None:
    approved = replay(a_request(), [(Approve(), NOW)])
    revoked = step(approved, Revoke(), NOW)
    for event in (Activate(), Approve(), Resume(), Issue("p", NOW + 60)):
        with pytest.raises(RequestClosed):
            step(revoked, event, NOW)


def test_permit_counts_once_and_until_it_expires() -> None:
    state = replay(a_request(), [*ACTIVE, (Issue("p", NOW + 60), NOW)])
    assert state.left(NOW) == 2
    begun = step(state, Begin("p"), NOW + 1)
    with pytest.raises(PermitSpent):
        step(begun, Begin("p"), NOW + 2)
    assert begun.left(NOW + 2) == 2
    with pytest.raises(RequestClosed, match="expired"):
        step(state, Begin("p"), NOW + 60)
    assert state.left(NOW + 60) == 3


def test_uses_return_with_the_next_period_but_not_beyond_the_end() -> None:
    state = replay(a_request(not_after=NOW + 2 * 86400), ACTIVE)
    for number in range(3):
        state = step(state, Issue(str(number), NOW + 60), NOW)
        state = step(state, Begin(str(number)), NOW)
    with pytest.raises(RequestClosed, match="taken"):
        step(state, Issue("p", NOW + 60), NOW + 1)
    assert state.left(NOW + 86400 - 1) == 0 and state.left(NOW + 86400) == 3
    assert at(state, NOW + 2 * 86400).status == "expired"


def test_reason_of_a_denial_is_required_and_bounded() -> None:
    for reason in ("", " ", "x" * 501):
        with pytest.raises(InvalidRequest):
            step(RequestState(a_request()), Deny(reason), NOW)


class RequestMachine(RuleBasedStateMachine):
    """Random walks, compared with a model that keeps the whole history."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.request = a_request(uses=Uses(count=2, period="hour"), not_after=NOW + 20_000)
        self.state = RequestState(self.request)
        self.model = "pending"
        self.limit = self.request.uses
        self.end = self.request.not_after
        self.permits: dict[str, int] = {}
        self.begun: dict[str, int] = {}
        self.revoked = False

    def status(self) -> str:
        if self.model in ("denied", "revoked", "used up"):
            return self.model
        return "expired" if self.now >= self.end else self.model

    def try_(self, event: Event, allowed: bool, after: str) -> None:
        try:
            self.state = step(self.state, event, self.now)
        except RequestClosed:
            assert not allowed
        else:
            assert allowed
            self.model = after

    @rule(seconds=st.integers(0, 2000))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(granted=st.none() | st.builds(Uses, count=st.integers(1, 2), period=st.none()))
    def approve(self, granted: Uses | None) -> None:
        grant = None if granted is None else Grant(("month",), granted, self.end)
        if self.status() == "pending" and granted is not None:
            self.limit = granted
        self.try_(Approve(grant), self.status() == "pending", "approved")

    @precondition(lambda self: self.now > NOW + 3000)
    @rule()
    def deny(self) -> None:
        self.try_(Deny("no"), self.status() == "pending", "denied")

    @rule()
    def activate(self) -> None:
        self.try_(Activate(), self.status() == "approved", "active")

    @rule()
    def pause(self) -> None:
        self.try_(Pause(), self.status() == "active", "paused")

    @rule()
    def resume(self) -> None:
        self.try_(Resume(), self.status() == "paused", "active")

    @precondition(lambda self: self.permits)
    @rule()
    def revoke(self) -> None:
        allowed = self.status() in ("approved", "active", "paused")
        self.try_(Revoke(), allowed, "revoked")
        self.revoked |= allowed

    @rule(life=st.integers(1, PERMIT_SECONDS))
    def issue(self, life: int) -> None:
        held = [p for p, end in self.permits.items() if end > self.now and p not in self.begun]
        length = SECONDS_OF.get(self.limit.period or "hour", 0)
        counted = [
            t for t in self.begun.values() if self.limit.period is None or t > self.now - length
        ]
        free = len(held) + len(counted) < self.limit.count
        permit = str(len(self.permits))
        allowed = self.status() == "active" and free
        assert self.state.left(self.now) > 0 if allowed else self.state.left(self.now) == 0
        self.try_(Issue(permit, self.now + life), allowed, "active")
        if allowed:
            self.permits[permit] = self.now + life

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        permit = data.draw(st.sampled_from(sorted(self.permits)))
        allowed = (
            self.status() == "active" and self.permits[permit] > self.now
        ) and permit not in self.begun
        used_up = self.limit.period is None and len(self.begun) + 1 >= self.limit.count
        try:
            self.try_(Begin(permit), allowed, "used up" if used_up else "active")
        except PermitSpent:
            assert permit in self.begun
        if allowed:
            assert not self.revoked
            self.begun[permit] = self.now

    @invariant()
    def status_is_that_of_the_model(self) -> None:
        assert at(self.state, self.now).status == self.status()
        assert self.state.closed == (self.state.status in CLOSED)

    @invariant()
    def uses_stay_within_the_limit(self) -> None:
        assert allows(self.limit, list(self.begun.values()))


RequestMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRequestMachine = RequestMachine.TestCase
