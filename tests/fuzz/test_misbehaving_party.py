"""A party that says anything at all, sealed with its own keys: the others take it or refuse it.

Of the joint protocol's messages the bytes are spoilt inside the seal, so that they get past it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from parties.joint.channel import FirstWords, Place
from parties.joint.messages import (
    AGREE,
    HELLO,
    KEY_STEPS,
    PARTIAL,
    agree_step,
    partial_step,
)
from parties.joint.protocol import JointProtocol
from tests.fuzz.mutations import spoilt
from tests.parties.joint.group import Group, Posted
from utils.errors import TrisealError

FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
LIAR, READER = "bank", "applicant"
DECIDE_STEPS = (agree_step("decide"), partial_step("decide"))


def at(step: str) -> Group:
    """The parties of an application where LIAR's message of this step is on the wire, untaken."""
    group = Group()
    if step in KEY_STEPS:
        group.until(step)
        return group
    group.ready()
    group.agree()
    if step.startswith(PARTIAL):
        group.pump()
        group.results["decide"] = group.result()
        for name in group.names:
            group.protocols[name].open("decide", group.results["decide"])
    for name in group.names:
        group.post(name)
    return group


def said(group: Group, step: str) -> tuple[Posted, bytes, Callable[[bytes], bytes]]:
    """LIAR's message, what is inside its seal, and how LIAR seals anything else in its place."""
    posted = next(
        p for p in group.wire if (p.sender, p.step) == (LIAR, step) and p.receiver in (None, READER)
    )
    model = "" if step == HELLO else group.public.model_version
    place = Place(group.application, model, LIAR, posted.receiver, step)
    talk, hearer = group.protocols[LIAR]._talk, group.protocols[READER]._talk
    payload = hearer.unseal(LIAR, step, posted.receiver, posted.body)
    sealer: Any = FirstWords(group.application, talk.identity) if step == HELLO else talk.channel
    return posted, payload, lambda content: sealer.seal(place, content)


@pytest.mark.parametrize("step", [*KEY_STEPS, *DECIDE_STEPS])
def test_no_word_of_a_party_is_another_partys_fault(step: str) -> None:
    assert step.partition(":")[0] in (*KEY_STEPS, AGREE, PARTIAL)
    group = at(step)
    posted, payload, seal = said(group, step)
    state, secret = group.snapshot(READER)
    parts = (group.engine, group.public, READER, group.application, group.identities[READER])
    ends: set[str] = set()

    @FEW
    @given(spoilt([payload]))
    def say(content: bytes) -> None:
        hearer = JointProtocol.resume(*parts, state, secret)
        before = hearer.to_bytes(), hearer.secret
        try:
            hearer.receive(LIAR, step, posted.receiver, seal(content))
        except TrisealError as error:
            assert error.message
            assert (hearer.to_bytes(), hearer.secret) == before, "what is refused changes nothing"
            ends.add(error.code)
        else:
            ends.add("taken")

    hearer = JointProtocol.resume(*parts, state, secret)
    assert hearer.receive(LIAR, step, posted.receiver, posted.body), "the true one is taken"
    say()
    assert "malformed-message" in ends
