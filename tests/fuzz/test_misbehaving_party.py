"""A party that seals arbitrary bytes with its own keys: the other parties read or refuse them.

The joint protocol's messages are mutated before they are sealed, so that they pass the seal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from parties.joint.channel import FirstWords, Place
from parties.joint.messages import (
    AGREE,
    FIRST_STEPS,
    HELLO,
    KEY_STEPS,
    PARTIAL,
    RECORD_COMMIT,
    agree_step,
    partial_step,
)
from parties.joint.protocol import JointProtocol
from tests.fuzz.mutations import spoilt
from tests.parties.joint.group import DIGESTS, Group, Posted
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
    """Return parties of an application in which LIAR's message of `step` is not yet received."""
    group = Group()
    if step in KEY_STEPS:
        group.until(step)
        return group
    group.ready()
    if step == RECORD_COMMIT:
        for name, protocol in group.protocols.items():
            protocol.commit_record(DIGESTS[name])
            group.post(name)
        return group
    group.agree()
    if step.startswith(PARTIAL):
        group.pump()
        group.results["decide"] = group.result()
        group.open("decide", group.results["decide"])
    for name in group.names:
        group.post(name)
    return group


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


@pytest.mark.parametrize("step", [*FIRST_STEPS, *DECIDE_STEPS])
def test_mutated_message_is_read_or_refused_by_other_parties(step: str) -> None:
    assert step.partition(":")[0] in (*FIRST_STEPS, AGREE, PARTIAL)
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
