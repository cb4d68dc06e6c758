"""A lender's state: it survives a restart, belongs to one run, and forgets earlier trees' roots."""

from contextlib import closing

import numpy as np
import pytest

from federated.agents.state_file import StateFile
from federated.aggregation.group import Group
from federated.aggregation.lock_state import LockState
from federated.aggregation.seeds import advanced, pair_seed, polynomial
from federated.aggregation.statement import Step
from tests.federated.aggregation.lenders import TRANSCRIPT, Lenders, root, upload_all, vectors
from utils.errors import (
    ForeignMessage,
    MalformedMessage,
    RosterRefused,
    SignatureInvalid,
    StoreDamaged,
    UnknownLender,
)


@pytest.fixture
def five():
    return Lenders(5)


def test_a_restarted_lender_sends_and_reveals_the_same_bytes(five):
    me = five.names[0]
    values = vectors(five.names)
    opening = five.opening(root(7))
    upload_all(five.masks, opening, values)
    first = five.masks[me].upload(root(7), five.names, TRANSCRIPT, values[me])
    five.restart(me)
    assert five.masks[me].upload(root(7), five.names, TRANSCRIPT, values[me]) == first
    seed = five.masks[me].reveal(root(7), opening.signatures)
    assert five.masks[me].state.sent.locked
    five.restart(me)
    assert five.masks[me].reveal(root(7), opening.signatures) == seed
    assert five.masks[me].upload(root(7), five.names, TRANSCRIPT, values[me]) == first
    assert five.masks[me].state.sent.locked


def test_a_refused_reveal_leaves_the_state_unlocked(five):
    me, other = five.names[:2]
    opening = five.opening(root())
    upload_all(five.masks, opening, vectors(five.names))
    for signatures in (
        {name: opening.signatures[name] for name in five.names if name != other},
        opening.signatures | {other: bytes(64)},
        opening.signatures | {other: b""},
        opening.signatures | {other: opening.signatures[five.names[2]]},
    ):
        with pytest.raises(SignatureInvalid) as refused:
            five.masks[me].reveal(root(), signatures)
        assert refused.value.lender == other
        assert not five.masks[me].state.sent.locked


def test_the_roots_of_earlier_trees_are_gone(five):
    me = five.names[0]
    values = vectors(five.names)[me]
    roots = []
    for tree in range(-1, 4):
        five.masks[me].upload(root(tree), five.names, TRANSCRIPT, values)
        state = five.masks[me].state
        roots += [state.own_root, *state.pair_roots.values()]
    assert len(set(roots)) == len(roots) == 25
    saved = LockState.model_validate_json(state.model_dump_json())
    kept = [saved.own_root, *saved.pair_roots.values()]
    assert kept == roots[-5:]
    assert [advanced(old, 1) for old in roots[-10:-5]] == kept
    # An attempt or a level of the same tree keeps the roots, so that it can be repeated.
    five.masks[me].upload(Step(3, 1, 0), five.names, TRANSCRIPT, values)
    assert five.masks[me].state.own_root == kept[0]


def test_seeds_of_different_purposes_differ():
    key, one, two = bytes(32), bytes(32), b"\1" * 32
    seeds = {pair_seed(key, one), pair_seed(key, two), pair_seed(two, one), advanced(key, 1)}
    assert len(seeds) == 4
    polynomials = [polynomial(key, s, v, 4) for s, v in ((one, one), (one, two), (two, one))]
    assert len({value for found in polynomials for value in found}) == 12


def test_a_state_of_another_run_or_lender_is_refused(five):
    me, other = five.names[:2]
    state, old = five.masks[me].state, five.group
    with pytest.raises(ForeignMessage):
        five.with_state(state.model_copy(update={"me": other}))
    five.begin()
    assert five.group.run != old.run
    with pytest.raises(ForeignMessage, match="folder"):
        five.with_state(state)


def test_a_damaged_state_is_refused_without_showing_it(five, tmp_path):
    state = five.masks[five.names[0]].state
    data = state.model_dump_json().encode()
    secret = data[data.index(b'"own_root":"') + 12 :][:43]
    with closing(StateFile.open(tmp_path / "lender.sqlite")) as file:
        for damaged in (b"", data[:-1], data.replace(b'"version":1', b'"version":2'), data + b"x"):
            file.save({"locks": damaged})
            with pytest.raises(StoreDamaged, match="older copy") as refused:
                file.model("locks", LockState)
            assert secret.decode() not in repr(refused.getrepr(style="long"))
            assert refused.value.__cause__ is None
        file.save({"locks": data})
        assert file.model("locks", LockState) == state


def test_pairwise_secrets_have_to_be_complete(five):
    me, other, *_ = five.names
    secrets = five.secrets(me)
    for wrong in ({}, secrets | {me: bytes(32)}, secrets | {other: bytes(31)}):
        with pytest.raises(ValueError, match="pairwise"):
            LockState.begin(five.group, me, wrong)
    with pytest.raises(UnknownLender):
        LockState.begin(five.group, "nobody", secrets)


def test_the_roster_stays_within_a_tree(five):
    me = five.names[0]
    machine, values = five.masks[me], vectors(five.names)[me]
    with pytest.raises(RosterRefused, match="not at the root"):
        machine.upload(Step(0, 1), five.names, TRANSCRIPT, values)
    machine.upload(Step(0, 0), five.names, TRANSCRIPT, values)
    with pytest.raises(RosterRefused, match="changed within"):
        machine.upload(Step(0, 1), five.names[:4], TRANSCRIPT, values)
    with pytest.raises(RosterRefused, match="not at the root"):
        machine.upload(Step(1, 1), five.names, TRANSCRIPT, values)
    machine.upload(Step(0, 1), five.names, TRANSCRIPT, values)
    with pytest.raises(RosterRefused, match="without"):
        machine.upload(Step(1, 0), five.names[1:], TRANSCRIPT, values)
    machine.upload(Step(1, 0), five.names[:4], TRANSCRIPT, values)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(0, np.uint64),
        np.zeros(2**15 + 1, np.uint64),
        np.zeros((2, 3), np.uint64),
        np.zeros(6, np.int64),
        np.array([np.nan]),
        [1, 2, 3],
    ],
    ids=["empty", "too long", "matrix", "signed", "float", "list"],
)
def test_a_vector_of_another_kind_is_refused(five, vector):
    me = five.names[0]
    before = five.masks[me].state
    with pytest.raises(MalformedMessage):
        five.masks[me].upload(root(), five.names, TRANSCRIPT, vector)
    assert five.masks[me].state == before


@pytest.mark.parametrize("names", [["a", "b"], [f"{i}" for i in range(65)], ["a", "b", ""]])
def test_a_bad_list_of_lenders_is_refused(names):
    with pytest.raises(RosterRefused):
        Group(bytes(32), dict.fromkeys(names, bytes(32)))


def test_a_bad_key_or_digest_is_refused(five):
    keys = {name: key.public_key().public_bytes_raw() for name, key in five.keys.items()}
    with pytest.raises(SignatureInvalid) as refused:
        Group(bytes(32), keys | {five.names[1]: bytes(31)})
    assert refused.value.lender == five.names[1]
    with pytest.raises(ValueError, match="digest"):
        Group(bytes(31), keys)
    with pytest.raises(ValueError, match="digest"):
        five.masks[five.names[0]].upload(
            root(), five.names, bytes(31), vectors(five.names)[five.names[0]]
        )


@pytest.mark.parametrize(
    ("count", "threshold", "least"), [(3, 2, 3), (4, 3, 3), (5, 4, 4), (20, 14, 14)]
)
def test_the_threshold_is_two_thirds_and_a_roster_has_three(count, threshold, least):
    group = Lenders(count).group
    assert (group.threshold, group.least_roster) == (threshold, least)
