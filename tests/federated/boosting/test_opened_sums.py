"""Sums that no rows can have are refused before a tree is grown on them, and change nothing."""

import numpy as np
import pytest

from federated.boosting.cells import cells_of
from federated.boosting.grower import Grower
from federated.boosting.pooled import total
from federated.boosting.rows import LocalRows
from federated.boosting.scores import auc
from federated.boosting.usable_bits import choose_bits
from federated.plan import Privacy
from tests.federated.boosting.data import lenders_of, plan_of, random_rows
from utils.errors import HistogramInvalid, MessageOutOfOrder

PLAN = plan_of(trees=2, least_rows=5)
PRIVATE = plan_of(trees=2, least_rows=5, privacy=Privacy(noise_multiplier=1, delta=1e-6))
HUGE = np.uint64(1 << 62)
MINUS_ONE = np.uint64(2**64 - 1)


def started(plan=PLAN):
    """Return three lenders and the grower of their training."""
    states, outcomes = random_rows(plan, 450, seed=6)
    lenders = list(lenders_of(plan, states, outcomes, np.arange(450) % 3).values())
    usable = choose_bits(plan, total(rows.counts() for rows in lenders))
    for rows in lenders:
        rows.begin(usable)
    return lenders, Grower(plan, usable), usable


def step(lenders, grower, spoil=None):
    """Take the next step, after `spoil` has changed the first lender's vector."""
    tree, level = grower.growing.tree, grower.growing.level
    vectors = [rows.vector(tree, level) for rows in lenders]
    if spoil is not None:
        vectors[0] = spoil(vectors[0].copy())
    result = grower.take(tree, level, total(vectors), 450)
    if result.splits is not None:
        for rows in lenders:
            rows.apply(result.splits)
    return result


def at(place, change):
    def spoil(vector):
        vector[place] += change
        return vector

    return spoil


def everywhere(change):
    """Change one cell of every column, so that all columns still agree."""

    def spoil(vector):
        cells = cells_of(PLAN, started()[2])
        vector[cells.first + change[0] * cells.count] += change[1]
        return vector

    return spoil


NONSENSE = {
    "a single gradient": at(0, np.uint64(1)),
    "a single hessian": at(40, np.uint64(1 << 20)),
    "an overflow": at(slice(None), HUGE),
    "the bits of NaN": lambda v: np.full(len(v), np.nan).view(np.uint64),
    "random numbers": lambda v: np.random.default_rng(1).integers(0, 2**64, len(v), np.uint64),
    "negative hessians": everywhere((1, np.uint64(2**64 - (1 << 50)))),
    "more hessian than rows": everywhere((1, np.uint64(451 << 28))),
    "more gradient than rows": everywhere((0, np.uint64(700 << 30))),
    "zeros in one column": lambda v: np.concatenate([np.zeros(2, np.uint64), v[2:]]),
}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_of_one_lender_is_refused_at_every_level(name, level):
    lenders, grower, _ = started()
    for _ in range(level):
        step(lenders, grower)
    with pytest.raises(HistogramInvalid, match=f"tree 0, level {level}.*At least one lender"):
        step(lenders, grower, NONSENSE[name])
    # The same step works with honest sums: nothing was changed.
    assert step(lenders, grower).splits.level == level


def test_sums_of_the_parent_are_no_sums_of_its_child():
    """Rows of the other side, and rows that the parent does not have, are noticed."""
    lenders, grower, usable = started()
    root = lenders[0].vector(0, 0)
    splits = step(lenders, grower).splits
    with pytest.raises(HistogramInvalid, match="inconsistent"):
        step(lenders, grower, lambda vector: root)
    more = LocalRows(PLAN, *random_rows(PLAN, 3000, seed=9))
    more.begin(usable)
    more.apply(splits)
    with pytest.raises(HistogramInvalid, match="inconsistent"):
        step(lenders, grower, lambda vector: more.vector(0, 1))
    step(lenders, grower)


def test_wrong_lengths_and_types_are_refused():
    lenders, grower, _ = started()
    honest = total(rows.vector(0, 0) for rows in lenders)
    for wrong in (honest[:-1], np.append(honest, honest[:1]), honest.view(np.int64), honest[:0]):
        with pytest.raises(HistogramInvalid, match="numbers is expected"):
            grower.take(0, 0, wrong)
    grower.take(0, 0, honest)


def test_impossible_validation_counts_are_refused():
    lenders, grower, _ = started()
    for _ in range(3):
        step(lenders, grower)
    for change in (MINUS_ONE, HUGE):
        with pytest.raises(HistogramInvalid, match="validation"):
            step(lenders, grower, at(-100, change))
    assert grower.aucs == ()
    assert 0.5 < step(lenders, grower).auc < 1


def test_poisoned_sums_within_bounds_are_not_noticed():
    """A limit: a lender that inverts its outcomes sends consistent sums, and spoils the tree."""
    lenders, grower, _ = started()
    honest = step(lenders, grower).splits
    states, outcomes = random_rows(PLAN, 450, seed=6)
    liar = LocalRows(PLAN, states[::3], 1 - outcomes[::3])
    lenders, grower, usable = started()
    liar.begin(usable)
    assert step([liar, *lenders[1:]], grower).splits != honest


def test_noise_is_taken_as_it_is():
    """With noise, sums of columns differ and hessians may be negative; leaves stay in bounds."""
    generator = np.random.default_rng(2)
    for deviation in (1 << 24, 1 << 34, 1 << 55):
        lenders, grower, _ = started(PRIVATE)

        def noisy(vector, deviation=deviation):
            noise = np.rint(generator.normal(0, deviation, len(vector))).astype(np.int64)
            return vector + noise.view(np.uint64)

        while not grower.done:
            result = step(lenders, grower, noisy)
            assert result.auc is None or 0 <= result.auc <= 1
        assert len(grower.trees) == 2
        assert all(rows.trees == grower.trees for rows in lenders)
    with pytest.raises(HistogramInvalid):
        lenders, grower, _ = started()
        step(lenders, grower, lambda vector: vector + np.uint64(1 << 24))


def test_no_step_follows_the_last():
    lenders, grower, usable = started()
    while not grower.done:
        last = step(lenders, grower)
    assert last.stop and last.splits is None and len(grower.aucs) == 2
    assert Grower(PLAN, usable, grower.trees, grower.aucs).done
    assert not Grower(PLAN, usable, grower.trees, grower.aucs[:1]).done
    with pytest.raises(ValueError, match="0 AUCs"):
        Grower(PLAN, usable, grower.trees)
    with pytest.raises(MessageOutOfOrder, match="stopped"):
        grower.take(2, 0, lenders[0].vector(2, 0))


def test_validation_rows_of_a_single_class_have_no_order():
    scores = np.zeros(256, np.uint64)
    scores[40] = 30
    assert auc(PLAN, scores) == 0.5
    scores[128 + 50] = 30
    assert auc(PLAN, scores) == 1.0
