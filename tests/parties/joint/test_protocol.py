"""The joint protocol alone: its order, restarts, and refusals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.interface import DECIDE, EXPLAIN, PROGRAMS, REASONS
from parties.joint.channel import FirstWords, Identity, Place
from parties.joint.messages import (
    FIRST_STEPS,
    KEY_STEPS,
    RECORD_COMMIT,
    ShareOpen,
    confirm_step,
    encode,
)
from parties.joint.protocol import JointProtocol
from tests.parties.joint.group import APPLICATION, DIGESTS, INPUTS, Group, Posted
from trials.joint_stand_in import JointStandIn, public_model
from utils.errors import (
    AlreadyOpened,
    CommitmentBroken,
    ForeignMessage,
    MalformedMessage,
    MessageOutOfOrder,
    MessageRepeated,
    NotAuthentic,
    OutOfStep,
    PartiesDisagree,
    ProtocolError,
    UnknownParty,
)

A, B, C = INPUTS
ALL_STEPS = (
    *FIRST_STEPS,
    *("agree:decide", "confirm:decide", "partial:decide"),
    *("agree:explain", "confirm:explain", "partial:explain"),
    *("agree:reasons", "confirm:reasons", "partial:reasons"),
)


def test_all_parties_compute_the_same_key_and_scores():
    group = Group().ready()
    keys = {protocol.public_key for protocol in group.protocols.values()}
    prints = {protocol.fingerprint for protocol in group.protocols.values()}
    assert len(keys) == len(prints) == 1
    assert [len(part) for part in prints.pop().split()] == [4] * 5
    assert len({protocol.secret for protocol in group.protocols.values()}) == 3
    for program in PROGRAMS:
        group.run(program)
        assert group.scores(program) == dict.fromkeys(group.names, group.truth(program))


@pytest.mark.parametrize("readers", [(A,), (B, C), (C,)])
def test_only_the_readers_learn_the_scores(readers):
    group = Group(readers).ready()
    for program in PROGRAMS:
        group.run(program)
        assert {n for n, s in group.scores(program).items() if s is not None} == set(readers)
        assert [s for s in group.scores(program).values() if s] == [group.truth(program)] * len(
            readers
        )
    receivers = {p.receiver for p in group.wire if p.step == "partial:decide"}
    assert receivers <= set(readers)


def test_applications_have_different_keys():
    one, two = Group().ready(), Group(application="f" * 32).ready()
    assert one.protocols[A].public_key != two.protocols[A].public_key
    assert one.protocols[A].fingerprint != two.protocols[A].fingerprint


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(A, B, C), (B,), (A, C)]),
    st.permutations([EXPLAIN, REASONS]),
    st.integers(0, 2**32),
)
def test_outcome_is_independent_of_delivery_order(readers, later, seed):
    """Messages late, early, repeated, and across restarts: an early one is refused and retried."""
    group, draw = Group(readers), random.Random(seed)
    programs = [DECIDE, *later]
    for _ in range(400):
        name = draw.choice(group.names)
        protocol = group.protocols[name]
        chance = draw.random()
        if chance < 0.15:
            group.restart(name)
        elif chance < 0.5:
            group.post(name)
        elif chance < 0.6 and protocol.ready:
            _act(group, name, programs)
        elif group.wire:
            again = [i for i, posted in enumerate(group.wire) if posted.seen_by(name)]
            index = draw.choice(group.due(name) or again or [None])
            if index is None:
                continue
            if draw.random() < 0.2:
                index = draw.choice(again)
            before = group.snapshot(name)
            try:
                group.deliver(name, index)
            except MessageOutOfOrder:
                assert group.snapshot(name) == before
    group.pump()
    while sum([_act(group, name, programs) for name in group.names]):
        group.pump()
    for program in programs:
        expected = {n: group.truth(program) if n in group.readers else None for n in group.names}
        assert group.scores(program) == expected
    assert len({p.fingerprint for p in group.protocols.values()}) == 1


def _act(group, name, programs) -> bool:
    """Do the next thing that a person or a result would cause; return True if there was one."""
    protocol = group.protocols[name]
    for program in programs:
        if program != DECIDE and not protocol.opened(DECIDE):
            return False
        if not protocol.has_committed:
            protocol.commit_record(DIGESTS[name])
            return True
        if not protocol.all_committed:
            return False
        if name not in protocol.agreements(program):
            protocol.agree(program, DIGESTS)
            return True
        confirmed, all_confirmed = protocol.confirmed(program), protocol.all_confirmed(program)
        waits = confirmed is not None and not all_confirmed
        if protocol.agreed(program) and not protocol.opened(program) and not waits:
            result = group.results.setdefault(program, group.result(program))
            protocol.open(program, result)
            return True
    return False


@pytest.mark.parametrize("step", ALL_STEPS)
def test_restart_at_any_step_sends_identical_messages(step):
    group = Group()
    _drive_until(group, step)
    bodies = {name: [m.body for m in group.protocols[name].pending()] for name in group.names}
    for name in group.names:
        group.restart(name)
    assert bodies == {n: [m.body for m in group.protocols[n].pending()] for n in group.names}
    said = {(p.sender, p.step, p.receiver): p.body for p in group.wire}
    _finish(group)
    for posted in group.wire:
        key = (posted.sender, posted.step, posted.receiver)
        assert said.setdefault(key, posted.body) == posted.body
    assert group.scores(EXPLAIN)[A] == group.truth(EXPLAIN)


def _drive_until(group: Group, step: str) -> None:
    """Complete everything before `step`; its messages are on the wire, not delivered."""
    name, _, program = step.partition(":")
    if step in KEY_STEPS:
        group.until(step)
        return
    group.ready()
    if step == RECORD_COMMIT:
        for party, protocol in group.protocols.items():
            protocol.commit_record(DIGESTS[party])
            group.post(party)
        return
    if program in (EXPLAIN, REASONS):
        group.run(DECIDE)
    group.agree(program)
    if name in ("confirm", "partial"):
        group.pump()
        result = group.results[program] = group.result(program)
        if name == "partial":
            group.open(program, result)
        else:
            for protocol in group.protocols.values():
                protocol.open(program, result)
    for party in group.names:
        group.post(party)


def _finish(group: Group) -> None:
    for index_name in group.names:
        for index in group.due(index_name):
            group.deliver(index_name, index)
    group.pump()
    for program in PROGRAMS:
        if not all(p.opened(program) for p in group.protocols.values()):
            group.run(program)


def refuse(group, name, posted, error):
    """Assert that the message is refused with exactly this error, without any change."""
    before = group.snapshot(name)
    with pytest.raises(error) as caught:
        group.protocols[name].receive(posted.sender, posted.step, posted.receiver, posted.body)
    assert type(caught.value) is error
    assert group.snapshot(name) == before


@pytest.mark.parametrize("step", ALL_STEPS)
def test_altered_and_misplaced_messages_are_refused_at_every_step(step):
    group = Group()
    _drive_until(group, step)
    real = next(p for p in group.wire if p.step == step and p.sender != A and p.seen_by(A))
    for body in (b"", b"x" * 200, real.body[:-1], real.body + b"\0", _flip(real.body)):
        refuse(group, A, Posted(real.sender, step, real.receiver, body), NotAuthentic)
    other = next(n for n in group.names if n not in (A, real.sender))
    refuse(group, A, Posted(other, step, real.receiver, real.body), NotAuthentic)
    refuse(group, A, Posted("landlord", step, real.receiver, real.body), NotAuthentic)
    wrong = A if real.receiver is None else None
    refuse(group, A, Posted(real.sender, step, wrong, real.body), NotAuthentic)
    refuse(group, A, Posted(A, step, None, real.body), NotAuthentic)
    refuse(group, A, Posted(real.sender, "greeting", None, real.body), NotAuthentic)
    refuse(group, A, Posted(real.sender, "agree:other", None, real.body), NotAuthentic)
    foreign = Group(application="e" * 32)
    _drive_until(foreign, step)
    theirs = next(p for p in foreign.wire if (p.sender, p.step) == (real.sender, step))
    refuse(group, A, Posted(real.sender, step, real.receiver, theirs.body), NotAuthentic)
    _finish(group)  # the refused messages had no effect
    assert group.scores(EXPLAIN)[A] == group.truth(EXPLAIN)


def _flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


@pytest.mark.parametrize("step", ALL_STEPS)
def test_repeated_message_is_ignored_and_different_one_refused(step):
    group = Group()
    _drive_until(group, step)
    _finish(group)
    posted = next(
        p for p in group.wire if p.step == step and p.sender != A and p.receiver in (None, A)
    )
    before = group.snapshot(A)
    assert not group.protocols[A].receive(posted.sender, posted.step, posted.receiver, posted.body)
    assert group.snapshot(A) == before
    changed = Posted(posted.sender, step, posted.receiver, _flip(posted.body))
    refuse(group, A, changed, MessageRepeated)


@pytest.mark.parametrize("early", ALL_STEPS[1:])
def test_no_message_is_accepted_before_its_turn(early):
    """A party at the beginning accepts none of the group's later messages."""
    group = Group()
    _drive_until(group, early)
    behind = JointProtocol.start(
        group.engine, group.public, A, APPLICATION, group.identities[A], group.readers
    )
    posted = next(p for p in group.wire if p.step == early and p.sender == B)
    state = behind.to_bytes()
    receiver = A if posted.receiver else None
    with pytest.raises(MessageOutOfOrder):
        behind.receive(B, early, receiver, posted.body)
    assert behind.to_bytes() == state


def test_a_party_opens_no_share_before_all_have_committed():
    group = Group()
    group.until("share_commit")
    steps = {(p.sender, p.step) for p in group.wire}
    assert not any(step == "share_open" for _, step in steps)
    for index in group.due(A):
        if group.wire[index].sender != C:
            group.deliver(A, index)
    group.post(A)
    assert (A, "share_open") not in {(p.sender, p.step) for p in group.wire}


def test_broken_commitment_is_detected():
    """A party opens a different value than it committed to, correctly sealed and signed."""
    step = "share_open"
    group = Group()
    group.until(step)
    real = next(p for p in group.wire if (p.sender, p.step) == (B, step))
    liar = group.protocols[B].conversation
    place = Place(APPLICATION, group.public.model_version, B, None, step)
    message = next(iter(liar.state.said(_class(step), step).values()))
    other = message.model_copy(update={"share": b"otherval"})
    body = liar.channel.seal(place, encode(other))
    refuse(group, A, Posted(B, step, None, body), CommitmentBroken)
    moved = message.model_copy(update={"nonce": bytes(32)})
    refuse(
        group, A, Posted(B, step, None, liar.channel.seal(place, encode(moved))), CommitmentBroken
    )
    refuse(group, A, Posted(B, step, None, liar.channel.seal(place, b"{}")), MalformedMessage)
    group.protocols[A].receive(B, step, None, real.body)


def _class(step):
    from parties.joint.messages import class_of

    return class_of(step)


def test_group_key_does_not_allow_impersonation():
    group = Group()
    group.until("share_commit")
    cheat = group.protocols[C].conversation
    place = Place(APPLICATION, group.public.model_version, B, None, "share_commit")
    payload = encode(next(iter(cheat.state.said(_class("share_commit"), "share_commit").values())))
    body = cheat.channel.seal(place, payload)  # the right key, C's signature
    refuse(group, A, Posted(B, "share_commit", None, body), NotAuthentic)


def test_messages_without_the_group_secret_are_refused():
    group = Group()
    stranger = Identity.fresh(bytes(16))
    (hello,) = group.start(B, identity=stranger).pending()
    refuse(group, A, Posted(B, "hello", None, hello.body), NotAuthentic)


def test_copied_hello_is_refused():
    """Another party's keys under one's own name fail, because the signature does not match."""
    group = Group()
    group.until("hello")
    real = next(p for p in group.wire if p.sender == B)
    cheat = FirstWords(APPLICATION, group.identities[C])
    payload = group.protocols[A].conversation.unseal(B, "hello", None, real.body)
    body = cheat.seal(Place(APPLICATION, "", C, None, "hello"), payload)
    refuse(group, A, Posted(C, "hello", None, body), NotAuthentic)


@pytest.mark.parametrize(
    "change",
    [{"public": public_model(model="another-model")}, {"readers": (A,)}],
    ids=["model", "readers"],
)
def test_hello_with_different_model_or_readers_is_refused(change):
    group = Group()
    (hello,) = group.start(B, **change).pending()
    refuse(group, A, Posted(B, "hello", None, hello.body), PartiesDisagree)


class ShortShare(JointStandIn):
    def key_share(self, common):
        return super().key_share(common).model_copy(update={"share": b"short"})


def test_an_invalid_share_gives_no_key():
    group = Group()
    liar = ShortShare(group.public)
    group.protocols[B] = JointProtocol.start(
        liar, group.public, B, APPLICATION, group.identities[B], group.readers
    )
    with pytest.raises(MalformedMessage):
        group.pump()
    assert not any(protocol.ready for protocol in group.protocols.values())


def test_withheld_message_only_makes_others_wait():
    group = Group()
    for step in KEY_STEPS[:2]:
        group.until(step)
    names = [A, B]
    for _ in range(10):
        for name in names:
            group.post(name)
            for index in group.due(name):
                group.deliver(name, index)
    assert group.protocols[A].awaits() == group.protocols[B].awaits() == (C,)
    assert not group.protocols[A].ready
    with pytest.raises(OutOfStep, match=C):
        _ = group.protocols[A].public_key
    group.ready()


def test_nothing_is_agreed_or_opened_before_its_turn():
    group = Group()
    for act in (lambda p: p.agree(DECIDE, DIGESTS), lambda p: p.open(DECIDE, b"")):
        with pytest.raises(OutOfStep):
            act(group.protocols[A])
    group.ready()
    with pytest.raises(OutOfStep, match="after the decision"):
        group.protocols[A].agree(EXPLAIN, DIGESTS)
    with pytest.raises(OutOfStep, match="no program"):
        group.protocols[A].agree("other", DIGESTS)
    group.agree(names=[A, B])
    group.pump()
    with pytest.raises(OutOfStep, match="Not all parties"):
        group.protocols[A].open(DECIDE, group.result())
    assert group.protocols[A].awaits() == (C,)


@pytest.mark.parametrize(
    "inputs",
    [DIGESTS | {B: "f" * 64}, {A: "0" * 64}, DIGESTS | {"landlord": "f" * 64}],
    ids=["another record", "missing", "too many"],
)
def test_agreements_to_different_inputs_are_refused(inputs):
    group = Group().ready()
    group.agree(names=[B])
    group.pump()
    for name in (A, C):
        before = group.snapshot(name)
        with pytest.raises(PartiesDisagree):
            group.protocols[name].agree(DECIDE, inputs)
        assert group.snapshot(name) == before
    group.agree()
    group.pump()
    assert group.protocols[A].agreed(DECIDE)


def test_parties_that_were_told_different_commitments_open_nothing():
    """C commits to one record towards A and to another towards B, with the server's help."""
    group = Group().ready()
    kept = group.snapshot(C)
    for name in (A, B):
        group.protocols[name].commit_record(DIGESTS[name])
    group.pump()
    for name, sha256 in ((A, DIGESTS[C]), (B, "e" * 64)):
        identity = Identity.from_bytes(group.identities[C].to_bytes())
        parts = (group.engine, group.public, C, group.application, identity)
        liar = JointProtocol.resume(*parts, *kept)
        liar.commit_record(sha256)
        body = liar.pending()[0].body
        group.protocols[name].receive(C, RECORD_COMMIT, None, body)
    group.protocols[A].agree(DECIDE, DIGESTS)
    group.protocols[B].agree(DECIDE, DIGESTS | {C: "e" * 64})
    for name in (A, B):
        group.post(name)
    for name, other in ((A, B), (B, A)):
        refuse(group, name, next(p for p in group.wire[::-1] if p.sender == other), PartiesDisagree)


def test_explanation_uses_the_decided_inputs():
    group = Group().ready()
    group.run()
    with pytest.raises(PartiesDisagree):
        group.protocols[A].agree(EXPLAIN, DIGESTS | {B: "f" * 64})
    with pytest.raises(PartiesDisagree):
        group.protocols[A].agree(DECIDE, DIGESTS | {B: "f" * 64})


def test_one_result_of_each_program_is_opened():
    group = Group().ready()
    result = group.run()
    for name in group.names:
        before = group.snapshot(name)
        group.protocols[name].open(DECIDE, result)  # once more does nothing
        for restart in (False, True):
            if restart:
                group.restart(name)
            with pytest.raises(AlreadyOpened):
                group.protocols[name].open(DECIDE, group.result())
            with pytest.raises(AlreadyOpened):
                group.protocols[name].scores(DECIDE, group.result())
        assert group.snapshot(name) == before


def test_an_invalid_result_is_not_opened():
    group = Group().ready()
    group.agree()
    group.pump()
    before = group.snapshot(A)
    with pytest.raises(MalformedMessage):
        group.protocols[A].open(DECIDE, b"no result")
    with pytest.raises(ForeignMessage):
        group.protocols[A].open(DECIDE, group.result(EXPLAIN))
    assert group.snapshot(A) == before and group.protocols[A].opened(DECIDE) is None


@pytest.mark.parametrize("answered_first", [True, False])
def test_neither_of_two_different_results_is_opened(answered_first):
    group = Group().ready()
    group.agree()
    group.pump()
    mine, theirs = group.result(), group.result()
    group.protocols[B].open(DECIDE, theirs)
    group.post(B)
    part = next(p for p in group.wire if p.step == confirm_step(DECIDE))
    if answered_first:
        group.protocols[A].open(DECIDE, mine)
        refuse(group, A, part, PartiesDisagree)
    else:
        group.protocols[A].receive(part.sender, part.step, part.receiver, part.body)
        before = group.snapshot(A)
        with pytest.raises(PartiesDisagree):
            group.protocols[A].open(DECIDE, mine)
        assert group.snapshot(A) == before


def test_share_is_sealed_for_its_reader_only():
    group = Group().ready()
    group.run()
    part = next(p for p in group.wire if p.step == "partial:decide" and p.receiver == B)
    eavesdropper = group.protocols[A if part.sender == C else C].conversation
    for receiver in (B, None):
        place = Place(APPLICATION, group.public.model_version, part.sender, receiver, part.step)
        with pytest.raises(NotAuthentic):
            eavesdropper.channel.open(place, part.body)


def test_each_pair_of_parties_has_its_own_key():
    group = Group().ready()
    keys = {n: group.protocols[n].conversation.channel.pairwise for n in group.names}
    assert keys[A][B] == keys[B][A] and keys[A][C] == keys[C][A] and keys[B][C] == keys[C][B]
    assert len({keys[A][B], keys[A][C], keys[B][C]}) == 3


def test_the_state_holds_no_secret_key():
    group = Group().ready()
    group.run()
    for name, protocol in group.protocols.items():
        state = protocol.to_bytes()
        identity = group.identities[name].to_bytes()
        for secret in (protocol.secret, identity[:16], identity[16:48], identity[48:]):
            assert len(secret) >= 8
            for form in _forms(secret):
                assert form not in state


def _forms(secret: bytes) -> list[bytes]:
    import base64

    return [
        secret,
        secret.hex().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ]


def test_damaged_file_error_names_the_file():
    group = Group().ready()
    parts = (group.engine, group.public, A, APPLICATION, group.identities[A])
    with pytest.raises(MalformedMessage):
        JointProtocol.resume(*parts, b"{}x", b"")
    with pytest.raises(MalformedMessage):
        Identity.from_bytes(b"short")
    with pytest.raises(UnknownParty):
        JointProtocol.start(*parts[:2], "landlord", *parts[3:], group.readers)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(ALL_STEPS), st.sampled_from([None, A, B]))
def test_random_bytes_are_always_refused(body, step, receiver):
    group = READY
    for sender in (A, B, "landlord", ""):
        before = group.snapshot(A)
        with pytest.raises(ProtocolError):
            group.protocols[A].receive(sender, step, receiver, body)
        assert group.snapshot(A) == before


READY = Group().ready()


def test_share_open_message_fits_the_largest_profile():
    message = ShareOpen(share=bytes(32 * 1024), nonce=bytes(32))
    assert len(encode(message)) < 64 * 1024 - 200
