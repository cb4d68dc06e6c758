"""A party that seals arbitrary bytes with its own keys: the other parties read or refuse them.

The joint protocol's messages are mutated before they are sealed, so that they pass the seal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from engines.interface import DECIDE, SIGN_OF
from parties.joint.channel import FirstWords, Place
from parties.joint.messages import (
    FIRST_STEPS,
    HELLO,
    KEY_STEPS,
    agree_step,
    confirm_step,
    partial_step,
)
from parties.joint.protocol import JointProtocol
from tests.fuzz.mutations import spoilt
from tests.parties.joint.group import DIGESTS, Group, Posted
from trials.joint_stand_in import public_model
from utils.errors import TrisealError

FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
LIAR, READER = "bank", "applicant"
SIGN = SIGN_OF[DECIDE]
OPENING_STEPS = (
    agree_step(DECIDE),
    confirm_step(DECIDE),
    partial_step(DECIDE),
    confirm_step(SIGN),
    partial_step(SIGN),
)


def at(step: str) -> Group:
    """Return parties of an application in which LIAR's message of `step` is not yet received."""
    group = Group(public=public_model(signs=True))
    if step in KEY_STEPS:
        group.until(step)
        return group
    for act in _acts(group.ready()):
        act()
        for name in group.names:
            group.post(name)
        if any(posted.step == step for posted in group.wire):
            return group
        group.pump()
    raise AssertionError(f"no message of {step}")


def _acts(group: Group) -> Iterator[Callable[[], object]]:
    """Yield what all parties do next, up to the opening of the sign; messages go in between."""

    def each(act: Callable[[str, JointProtocol], object]) -> Callable[[], object]:
        return lambda: [act(name, own) for name, own in group.protocols.items()]

    yield each(lambda name, own: own.commit_record(DIGESTS[name], "0" * 64))
    yield each(lambda _, own: own.agree(DECIDE, DIGESTS, "0" * 64))
    result = group.result(DECIDE)
    for _ in range(2):  # a party confirms, then it makes its share
        yield each(lambda _, own: own.open(DECIDE, result))
    yield each(lambda _, own: own.masked_scores(DECIDE, result))
    sign = group.result(SIGN)
    for _ in range(2):
        yield each(lambda _, own: own.open(SIGN, sign))


def said(group: Group, step: str) -> tuple[Posted, bytes, Callable[[bytes], bytes]]:
    """Return LIAR's message, its payload, and a function that seals other bytes in its place."""
    posted = next(
        p for p in group.wire if (p.sender, p.step) == (LIAR, step) and p.receiver in (None, READER)
    )
    model = "" if step == HELLO else group.public.model_version
    place = Place(group.application, model, LIAR, posted.receiver, step)
    talk, hearer = group.protocols[LIAR]._talk, group.protocols[READER]._talk
    payload = hearer.unseal(LIAR, step, posted.receiver, posted.body)
    sealer: Any = FirstWords(group.application, talk.identity) if step == HELLO else talk.channel
    return posted, payload, lambda content: sealer.seal(place, content)


@pytest.mark.parametrize("step", [*FIRST_STEPS, *OPENING_STEPS])
def test_mutated_message_is_read_or_refused_by_other_parties(step: str) -> None:
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
            assert (hearer.to_bytes(), hearer.secret) == before, "a refused message changes nothing"
            ends.add(error.code)
        else:
            ends.add("taken")

    hearer = JointProtocol.resume(*parts, state, secret)
    assert hearer.receive(LIAR, step, posted.receiver, posted.body), "the original is accepted"
    say()
    assert "malformed-message" in ends
