"""Attacks on one lender's vector, each with a control in which a rule is off and it works.

A lender of the controls is *forgetful*: it starts every step from its first state, so that none of
the rules that depend on earlier messages binds it.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engines.levelled.randomness import Expander
from federated.aggregation.coordinator_side import Opening
from federated.aggregation.seeds import pair_seed, self_mask_key
from federated.aggregation.statement import Step
from tests.federated.aggregation.lenders import (
    LENGTH,
    TRANSCRIPT,
    Lenders,
    plain_sum,
    reveal_all,
    root,
    upload_all,
    vectors,
)
from tests.strategies import QUICK
from utils.errors import (
    MessageOutOfOrder,
    ProtocolError,
    RevealInvalid,
    RosterRefused,
    SignatureInvalid,
    StepRefused,
)

OTHER_TRANSCRIPT = bytes(32)


@pytest.fixture
def five():
    return Lenders(5)


def stream(key):
    return Expander(key).uniform_words(LENGTH)


def words(upload):
    return np.frombuffer(upload.masked, "<u8")


# --- Lying rosters ---


def test_a_roster_of_colluders_is_refused():
    lenders = Lenders(7)
    victim, *colluders = lenders.names[:3]
    values = vectors(lenders.names)
    with pytest.raises(RosterRefused, match="at least 5"):
        lenders.masks[victim].upload(root(), lenders.names[:3], TRANSCRIPT, values[victim])
    # Control: without the least size of a roster, two colluders unmask the third lender.
    lenders.group.least_roster = 3
    opening = lenders.opening(root(), lenders.names[:3])
    upload_all(lenders.masks, opening, values)
    reveal_all(lenders.masks, opening)
    assert (opening.sum() - plain_sum(values, colluders) == values[victim]).all()


def test_two_rosters_in_one_step_are_not_both_opened(five):
    victim, *others = five.names
    rosters = five.names, tuple(others)
    values = vectors(five.names)

    def difference(machines):
        sums = []
        for roster, group in zip(rosters, machines, strict=True):
            opening = five.opening(root(), roster)
            upload_all(group, opening, values)
            reveal_all(group, opening)
            sums.append(opening.sum())
        return sums[0] - sums[1]

    # Control: forgetful lenders.
    assert (difference([five.copies(), five.copies()]) == values[victim]).all()
    with pytest.raises(StepRefused, match="another roster"):
        difference([five.masks, five.masks])


def test_lenders_that_are_shown_different_rosters_reveal_nothing(five, monkeypatch):
    values = vectors(five.names)
    shown = dict.fromkeys(five.names[:3], five.names)
    shown |= dict.fromkeys(five.names[3:], five.names[1:])
    uploads = {
        name: machine.upload(root(), shown[name], TRANSCRIPT, values[name])
        for name, machine in five.masks.items()
    }
    signatures = {name: upload.signature for name, upload in uploads.items()}
    for name, machine in five.masks.items():
        with pytest.raises(SignatureInvalid) as refused:
            machine.reveal(root(), signatures)
        assert shown[refused.value.lender] != shown[name]
        assert not machine.state.sent.locked

    # Control: without the signatures all seeds are revealed; only the masks protect then.
    monkeypatch.setattr(five.group, "require_signed", lambda *_: None)
    seeds = {name: machine.reveal(root(), signatures) for name, machine in five.masks.items()}
    assert len(seeds) == len(five.names)
    vectors_left = {n: words(uploads[n]) - stream(self_mask_key(seeds[n])) for n in five.names}
    for size in range(1, 6):
        for some in combinations(five.names, size):
            assert (plain_sum(vectors_left, some) != plain_sum(values, some)).any()


def test_lenders_with_different_histories_reveal_nothing(five):
    values = vectors(five.names)
    transcripts = dict.fromkeys(five.names, TRANSCRIPT) | {five.names[4]: OTHER_TRANSCRIPT}
    signatures = {
        name: machine.upload(root(), five.names, transcripts[name], values[name]).signature
        for name, machine in five.masks.items()
    }
    for name, machine in five.masks.items():
        with pytest.raises(SignatureInvalid) as refused:
            machine.reveal(root(), signatures)
        assert (refused.value.lender == five.names[4]) == (name != five.names[4])


# --- Late uploads ---


def test_a_late_upload_does_not_open_the_earlier_attempt(five):
    victim, *others = five.names
    values = vectors(five.names)
    first, second = five.opening(root(0, 0)), five.opening(root(0, 1), tuple(others))
    upload_all(five.masks, first, values)
    stale = five.copies()
    upload_all(five.masks, second, values)  # the coordinator says that the victim is missing
    reveal_all(five.masks, second)

    for name in others:
        with pytest.raises(StepRefused, match="reveals nothing"):
            five.masks[name].reveal(first.step, first.signatures)
        with pytest.raises(StepRefused):
            five.masks[name].reveal_share(first.step, victim, first.shares_for(name)[victim])
    first.take_seed(victim, five.masks[victim].reveal(first.step, first.signatures))
    assert not first.ready
    for name in others:
        # Nor do they send anything for a third attempt, with the victim again.
        with pytest.raises(StepRefused, match="another attempt"):
            five.masks[name].upload(root(0, 2), five.names, TRANSCRIPT, values[name])

    # Control: lenders that do not remember the second attempt, as from an old copy of their state.
    reveal_all(stale, first)
    assert (first.sum() - second.sum() == values[victim]).all()


# --- Replays ---


def test_a_step_is_not_repeated_with_another_vector(five):
    me = five.names[0]
    values, changed = vectors(five.names), vectors(five.names, seed=1)
    stale = five.copies()
    opening = five.opening(root())
    upload_all(five.masks, opening, values)
    reveal_all(five.masks, opening)
    with pytest.raises(StepRefused, match="already sent another vector"):
        five.masks[me].upload(root(), five.names, TRANSCRIPT, changed[me])

    # Control: from an old copy of its state the lender masks both vectors, and reveals both seeds.
    again = five.opening(root())
    upload_all({**five.masks, me: stale[me]}, again, {**values, me: changed[me]})
    reveal_all({**five.masks, me: stale[me]}, again)
    assert (again.sum() - opening.sum() == changed[me] - values[me]).all()


def test_two_vectors_from_an_old_state_have_unrelated_self_masks(five):
    """As long as the seeds are not revealed, not even the difference of both vectors shows."""
    me = five.names[0]
    values, changed = vectors(five.names)[me], vectors(five.names, seed=1)[me]
    found = [
        machines[me].upload(root(), five.names, TRANSCRIPT, vector)
        for machines, vector in ((five.copies(), values), (five.copies(), changed))
    ]
    assert (words(found[0]) - words(found[1]) != values - changed).all()
    assert found[0].commitment != found[1].commitment
    assert not set(found[0].shares) & set(found[1].shares)


@pytest.mark.parametrize(
    "step", [Step(3, 0, 0), Step(4, 0, 0), Step(3, 2, 5), Step(-1)], ids=lambda step: str(step)
)
def test_an_earlier_step_is_not_repeated(five, step):
    values = vectors(five.names)
    me = five.masks[five.names[0]]
    for now in (Step(3, 0, 0), Step(4, 0, 1), Step(4, 1, 0)):
        me.upload(now, five.names, TRANSCRIPT, values[five.names[0]])
    before = me.state
    with pytest.raises(StepRefused, match="gone on"):
        me.upload(step, five.names, TRANSCRIPT, values[five.names[0]])
    with pytest.raises(StepRefused):
        me.reveal(step, {})
    assert me.state == before


# --- Colluding lenders ---


def known_to(lenders, colluders, upload, victim, own_seed):
    """Return a lender's vector without all masks that the coordinator and colluders know."""
    stated = lenders.group.statement(upload.step, lenders.names, TRANSCRIPT)
    left = words(upload) - stream(self_mask_key(own_seed))
    for name in colluders:
        mask = stream(pair_seed(lenders.masks[name].state.pair_roots[victim], stated.digest))
        left = left - mask if victim < name else left + mask
    return left


def test_two_colluders_and_the_coordinator_learn_only_the_sum_of_the_others(five):
    *honest, d, e = five.names
    values = vectors(five.names)
    opening = five.opening(root())
    upload_all(five.masks, opening, values)
    seeds = {n: five.masks[n].reveal(opening.step, opening.signatures) for n in five.names}
    uploads = {n: five.masks[n].upload(root(), five.names, TRANSCRIPT, values[n]) for n in honest}
    left = {n: known_to(five, (d, e), uploads[n], n, seeds[n]) for n in honest}
    assert (plain_sum(left, honest) == plain_sum(values, honest)).all()
    for size in (1, 2):
        for some in combinations(honest, size):
            assert (plain_sum(left, some) != plain_sum(values, some)).all()

    # Any other vectors of the same sum have masks that give the same view: if A's vector is larger
    # by d and B's smaller by d, the mask of A and B, which no colluder knows, is smaller by d.
    a, b, c = honest
    stated = five.group.statement(root(), five.names, TRANSCRIPT).digest
    roots = five.masks[a].state.pair_roots
    ab, ac = (stream(pair_seed(roots[name], stated)) for name in (b, c))
    bc = stream(pair_seed(five.masks[b].state.pair_roots[c], stated))
    shift = vectors(["shift"], seed=9)["shift"]
    assert (left[a] == (values[a] + shift) + (ab - shift) + ac).all()
    assert (left[b] == (values[b] - shift) - (ab - shift) + bc).all()

    # Control: if all others collude, they have the vector.
    assert (known_to(five, (b, c, d, e), uploads[a], a, seeds[a]) == values[a]).all()


def test_a_vector_without_the_known_masks_is_uniform(five, monkeypatch):
    """The bytes of 400 steps' remainders of a vector of zeros, by Pearson's chi-square test."""
    victim, *_, d, e = five.names
    zeros, machine = np.zeros(LENGTH, np.uint64), five.masks[victim]
    monkeypatch.setattr(five.group, "require_signed", lambda *_: None)
    remainders = []
    for tree in range(400):
        sent = {
            name: five.masks[name].upload(Step(tree), five.names, TRANSCRIPT, zeros)
            for name in (victim, d, e)
        }
        seed = machine.reveal(Step(tree), dict.fromkeys(five.names, b""))
        remainders.append(known_to(five, (d, e), sent[victim], victim, seed))
    found = np.array(remainders)
    # Six standard deviations, which a correct mask exceeds less than once in 100,000 runs.
    counts = np.bincount(found.view(np.uint8).ravel(), minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * np.sqrt(2 * 255)
    ones = np.unpackbits(found.view(np.uint8), axis=1).sum(
        axis=0, dtype=np.int64
    )  # for each bit of the vector
    assert (np.abs(ones - 200) < 6 * 10).all()
    # Nor are two steps related, which a mask used twice would show.
    assert len(np.unique(found)) == found.size
    assert len(np.unique(np.diff(found, axis=0))) == found.size - LENGTH


# --- Lies in seeds and shares ---


@pytest.fixture
def without_last(five):
    """Return an opening in which the last lender has vanished before it revealed its seed."""
    opening, values = five.opening(root()), vectors(five.names)
    upload_all(five.masks, opening, values)
    for name in five.names[:-1]:
        opening.take_seed(name, five.masks[name].reveal(root(), opening.signatures))
    return five, opening, values


def test_a_lender_that_lies_in_its_share_is_named(without_last):
    five, opening, values = without_last
    *holders, gone = five.names
    liar = holders[1]
    for holder in holders:
        share = five.masks[holder].reveal_share(root(), gone, opening.shares_for(holder)[gone])
        if holder == liar:
            lie = bytes(32) if share != bytes(32) else bytes(31) + b"\1"
            for wrong in (lie, share[:-1], share + b"\0", b""):
                with pytest.raises(RevealInvalid, match=liar) as refused:
                    opening.take_share(holder, gone, wrong)
                assert refused.value.lender == liar
            assert opening.missing_seeds == (gone,)
        opening.take_share(holder, gone, share)
    assert (opening.sum() == plain_sum(values, five.names)).all()


def test_a_lender_that_lies_in_its_seed_is_named(without_last):
    five, opening, values = without_last
    gone = five.names[-1]
    for wrong in (
        bytes(32),
        bytes(31),
        b"",
        five.masks[five.names[0]].reveal(root(), opening.signatures),
    ):
        with pytest.raises(RevealInvalid, match=gone) as refused:
            opening.take_seed(gone, wrong)
        assert refused.value.lender == gone
    opening.take_seed(gone, five.masks[gone].reveal(root(), opening.signatures))
    assert (opening.sum() == plain_sum(values, five.names)).all()


def test_a_lender_that_made_bad_shares_is_named(five, monkeypatch):
    *holders, liar = five.names
    opening, values = five.opening(root()), vectors(five.names)
    with monkeypatch.context() as patch:
        patch.setattr("federated.aggregation.lender_side.share_at", lambda *_: b"\1" * 32)
        lies = five.masks[liar].upload(root(), five.names, TRANSCRIPT, values[liar])
    opening.take_upload(liar, lies)
    for name in holders:
        sent = five.masks[name].upload(root(), five.names, TRANSCRIPT, values[name])
        opening.take_upload(name, sent)
    with pytest.raises(RevealInvalid, match=f"shares that {liar} made") as refused:
        reveal_all(five.masks, opening, without=[liar])
    assert refused.value.lender == liar
    assert opening.missing_seeds == (liar,)


def test_a_moved_or_altered_sealed_share_is_refused_and_its_sender_named(without_last):
    five, opening, _ = without_last
    first, second, *_, gone = five.names
    sealed = opening.shares_for(first)[gone]
    machine = five.masks[first]
    other = opening.shares_for(second)[gone]
    for wrong in (
        other,
        sealed[:-1],
        sealed + b"\0",
        b"",
        b"\0" + sealed[1:],
        sealed[:40] + other[40:],
    ):
        with pytest.raises(RevealInvalid, match=gone) as refused:
            machine.reveal_share(root(), gone, wrong)
        assert refused.value.lender == gone
    with pytest.raises(RevealInvalid):
        machine.reveal_share(root(), second, sealed)
    assert len(machine.reveal_share(root(), gone, sealed)) == 32


def test_fewer_shares_than_the_threshold_open_nothing(without_last):
    five, opening, _ = without_last
    *holders, gone = five.names
    for holder in holders[: five.group.threshold - 1]:
        share = five.masks[holder].reveal_share(root(), gone, opening.shares_for(holder)[gone])
        opening.take_share(holder, gone, share)
        opening.take_share(holder, gone, share)  # a repeated share counts once
    assert not opening.ready
    with pytest.raises(MessageOutOfOrder, match=gone):
        opening.sum()


def test_no_share_is_revealed_before_the_lock_or_of_oneself_or_a_stranger(five):
    first, second = five.names[:2]
    opening, values = five.opening(root(), five.names[:4]), vectors(five.names)
    upload_all(five.masks, opening, values)
    sealed = opening.shares_for(first)[second]
    with pytest.raises(StepRefused, match="signatures"):
        five.masks[first].reveal_share(root(), second, sealed)
    five.masks[first].reveal(root(), opening.signatures)
    for of in (first, five.names[4], "nobody"):
        with pytest.raises(RosterRefused):
            five.masks[first].reveal_share(root(), of, sealed)
    assert five.masks[first].reveal_share(root(), second, sealed)


# --- A coordinator and colluders that do anything ---

ROSTERS = [(0, 1, 2, 3, 4), (1, 2, 3, 4), (0, 1, 2, 4)]
ALL = {0, 1, 2, 3, 4}
KINDS = st.sampled_from(["upload", "reveal", "shares"])
SOME = st.just(ALL) | st.just(ALL) | st.sets(st.integers(0, 4), min_size=1)


@st.composite
def stages_of_two(draw):
    """Draw requests for two sums of one level, in any order, mostly to all lenders."""
    second = draw(st.sampled_from([(0, 1), (1, 0), (1, 1), (1, 2)]))
    sums = st.sampled_from([(0, 0), second])
    drawn = draw(st.lists(st.tuples(KINDS, sums, SOME), min_size=6, max_size=16))
    return [(kind, attempt, roster, some) for kind, (attempt, roster), some in drawn]


LATE = [("upload", 0, 0, ALL), ("upload", 1, 1, ALL), ("reveal", 1, 1, ALL), ("reveal", 0, 0, ALL)]
AGAIN = [LATE[0], LATE[3], *LATE[1:3]]
SPLIT = [
    *(("upload", 0, 0, ALL), ("reveal", 0, 0, {1}), ("upload", 1, 2, ALL), ("reveal", 1, 2, ALL)),
    *(("shares", 0, 0, ALL), ("reveal", 0, 0, ALL)),
]


class Anything:
    """A coordinator that asks for anything in any order, with colluders that refuse nothing."""

    def __init__(self, lenders, forgetful):
        self.lenders, self.names = lenders, lenders.names
        self.forgetful = forgetful
        self.fresh = lenders.copies()
        self.machines = {}
        self.openings = {}
        self.values = vectors(self.names)

    def machine(self, name, attempt, roster):
        if name not in self.forgetful:
            return self.lenders.masks[name]
        key = name, attempt, roster
        if key not in self.machines:
            self.machines[key] = self.lenders.with_state(self.fresh[name].state)
        return self.machines[key]

    def play(self, stages):
        """Return the rosters whose sums have been opened."""
        for kind, attempt, roster, some in stages:
            self.stage(kind, attempt, tuple(self.names[i] for i in ROSTERS[roster]), some)
        for attempt, roster in list(self.openings):
            for kind in ("upload", "reveal", "shares"):
                self.stage(kind, attempt, roster, range(5), only=self.forgetful)
        for opening in self.openings.values():
            if opening.ready:
                assert (opening.sum() == plain_sum(self.values, opening.roster)).all()
        return [opening.roster for opening in self.openings.values() if opening.ready]

    def stage(self, kind, attempt, roster, some, only=None):
        step = root(0, attempt)
        opening = self.openings.setdefault((attempt, roster), self.lenders.opening(step, roster))
        for name in (self.names[i] for i in sorted(some)):
            if name in roster and (only is None or name in only):
                machine = self.machine(name, attempt, roster)
                with suppress(ProtocolError):
                    self.ask(kind, machine, name, opening)

    def ask(self, kind, machine, name, opening: Opening):
        step, roster = opening.step, opening.roster
        if kind == "upload":
            opening.take_upload(name, machine.upload(step, roster, TRANSCRIPT, self.values[name]))
        elif kind == "reveal":
            opening.take_seed(name, machine.reveal(step, opening.signatures))
        else:
            for of, sealed in opening.shares_for(name).items():
                opening.take_share(name, of, machine.reveal_share(step, of, sealed))


FIVE = Lenders(5)


@settings(QUICK, max_examples=100)
@given(stages_of_two(), st.sets(st.integers(0, 4), max_size=2))
@example(LATE, {4})
@example(AGAIN, {4})
@example(SPLIT, {4})
def test_no_two_sums_of_one_level_are_opened(stages, colluders):
    game = Anything(FIVE.begin(), {FIVE.names[i] for i in colluders})
    assert len(game.play(stages)) <= 1


@pytest.mark.parametrize("stages", [LATE, AGAIN, SPLIT], ids=["late", "again", "split"])
def test_two_sums_are_opened_if_all_lenders_are_forgetful(stages):
    """Control of the test above."""
    opened = Anything(FIVE.begin(), set(FIVE.names)).play(stages)
    assert len(opened) == 2 and opened[0] != opened[1]
