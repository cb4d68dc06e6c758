"""The wait of an exchange ends at the change at which reading everything again would end it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.http import (
    ApplicationState,
    Awaited,
    Exchanged,
    ExchangeRequest,
    MessageRequest,
    ProgramState,
    Relayed,
    SlotState,
)
from service.api.exchange_wait import Effect, Wait
from service.applications.events import Change, Sent
from service.applications.relay import Heard

PARTIES = ("a", "b", "c")
STEPS = ("hello", "share")
RECORD, MASKS = "record", "masks"


@dataclass
class Application:
    """An application as party `a` sees it."""

    messages: list[Sent] = field(default_factory=list)
    slots: set[tuple[str, str]] = field(default_factory=set)
    status: str = "running"
    changes: int = 0

    def apply(self, change: Change) -> None:
        self.messages += change.messages
        if change.slot:
            self.slots.add(change.slot)
        self.changes += not change.messages

    def heard(self) -> Heard:
        shown = [m for m in self.messages if m.receiver in (None, "a") or m.sender == "a"]
        messages = tuple(
            Relayed(number=i, sender=m.sender, receiver=m.receiver, step=m.step, body="")
            for i, m in enumerate(shown, 1)
        )
        slots = tuple(
            SlotState(
                party=party,
                file_name=name,
                needed_for=(),
                sha256="0" * 64 if (party, name) in self.slots else None,
            )
            for party in PARTIES
            for name in (RECORD, MASKS)
        )
        state = ApplicationState(
            client_id="0" * 32,
            state="open",
            created_at="",
            expires_at="",
            joined=PARTIES,
            slots=slots,
            programs={"decide": ProgramState(status=self.status)},
            missing={},
        )
        found = Exchanged(
            numbers=(), messages=messages, after=len(shown), state=state, tag=f"t{self.changes}"
        )
        return Heard("a", found)


awaited = st.builds(Awaited, sender=st.sampled_from(("b", "c")), step=st.sampled_from(STEPS))
requests = st.builds(
    ExchangeRequest,
    until=st.lists(awaited, max_size=3),
    until_filled=st.sampled_from((None, RECORD)),
    until_ended=st.sampled_from((None, "decide")),
    seen=st.sampled_from(("", "t0")),
    linger=st.sampled_from((0.0, 0.5)),
)
sent = st.builds(
    Sent,
    sender=st.sampled_from(PARTIES),
    receiver=st.sampled_from((None, *PARTIES)),
    step=st.sampled_from(STEPS),
)
changes = st.one_of(
    st.builds(Change, messages=st.lists(sent, min_size=1, max_size=2)),
    st.builds(Change, slot=st.tuples(st.sampled_from(PARTIES), st.sampled_from((RECORD, MASKS)))),
    st.just(Change()),
)


@given(requests, st.lists(changes, max_size=8))
def test_a_wait_ends_as_if_everything_was_read_at_every_change(
    request: ExchangeRequest, following: list[Change]
) -> None:
    application = Application()
    wait = Wait(request, application.heard())
    for change in following:
        if wait.is_over:
            break
        application.apply(change)
        effect, read = wait.note(change), Wait(request, application.heard())
        assert (effect is Effect.READ) == read.is_over
        if effect is Effect.READ:
            break
        assert read.has_news or effect is Effect.NONE


def test_a_change_of_any_kind_is_read() -> None:
    wait = Wait(ExchangeRequest(until_ended="decide"), Application().heard())
    assert wait.note(Change()) is Effect.NONE
    assert wait.note(None) is Effect.READ
    assert Wait(ExchangeRequest(until_ended="decide"), Application(status="done").heard()).is_over


@pytest.mark.parametrize("receiver", ["b", "c"])
def test_messages_between_others_are_no_news(receiver: str) -> None:
    wait = Wait(ExchangeRequest(seen="t0"), Application().heard())
    other = {"b": "c", "c": "b"}[receiver]
    assert wait.note(Change([Sent(other, receiver, "hello")])) is Effect.NONE
    posting = ExchangeRequest(messages=[MessageRequest.of("hello", None, b"x")])
    assert Wait(posting, Application().heard()).is_over, "its own messages are news"
