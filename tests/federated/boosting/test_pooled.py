"""The trees are, bit for bit, those of pooled rows, however the rows are spread over lenders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.boosting.pooled import Grown, pooled
from federated.boosting.rows import LocalRows
from federated.boosting.scores import best_trees, should_stop
from federated.boosting.trees import margins
from tests.federated.boosting.data import lenders_of, plan_of, random_rows
from tests.federated.boosting.reference import Row, follow, pair_auc, train
from tests.strategies import SLOW

RUN = {"trees": 6, "depth": 3, "early_stopping": 3, "validation_share": 0.25}


@pytest.fixture(scope="module")
def alone():
    """Return a function from (optional, monotone, seed) to a plan, its rows and the pooled run."""
    made = {}

    def make(optional, monotone, seed):
        key = (optional, monotone, seed)
        if key not in made:
            plan = plan_of(optional, monotone, seed=seed, **RUN)
            states, outcomes = random_rows(plan, 600, seed)
            made[key] = (
                plan,
                states,
                outcomes,
                pooled(plan, {"all": LocalRows(plan, states, outcomes)}),
            )
        return made[key]

    return make


@given(
    st.data(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
    st.sampled_from([3, 5, 20]),
)
@SLOW
def test_any_spread_of_rows_gives_the_same_trees(alone, data, optional, monotone, seed, lenders):
    plan, states, outcomes, expected = alone(optional, monotone, seed)
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    share = generator.dirichlet(np.full(lenders, data.draw(st.sampled_from([0.2, 1.0, 50.0]))))
    owners = generator.choice(lenders, len(outcomes), p=share)
    if data.draw(st.booleans()):  # not identically distributed: sorted by a column and outcome
        owners = owners[np.argsort(states[:, 1] + 10 * outcomes)]
    order = generator.permutation(len(outcomes))
    run = pooled(plan, lenders_of(plan, states[order], outcomes[order], owners[order]))
    assert run == expected


@pytest.mark.parametrize("lenders", [3, 5, 20])
@pytest.mark.parametrize("seed", range(10))
def test_ten_seeds_give_the_same_trees(alone, seed, lenders):
    plan, states, outcomes, expected = alone(seed % 2 == 0, seed % 3 > 0, seed)
    owners = np.random.default_rng(seed).integers(0, lenders, len(outcomes))
    assert pooled(plan, lenders_of(plan, states, outcomes, owners)) == expected


def test_early_stopping_cuts_back_to_the_best_tree():
    plan = plan_of(trees=40, early_stopping=4, validation_share=0.3, learning_rate=1.0)
    states, outcomes = random_rows(plan, 400, seed=3)
    run = pooled(plan, {"all": LocalRows(plan, states, outcomes)})
    best = int(np.argmax(run.aucs))
    assert len(run.trees) == len(run.aucs) == best + 1 + 4 < 40
    assert run.kept == run.trees[: best + 1]
    endless = pooled(
        plan.model_copy(update={"early_stopping": None}),
        {"all": LocalRows(plan, states, outcomes)},
    )
    assert endless.trees[: len(run.trees)] == run.trees and endless.kept == endless.trees
    assert len(endless.trees) == len(endless.aucs) == 40


def test_of_equal_aucs_the_fewest_trees_are_best():
    assert best_trees([0.6, 0.7, 0.7]) == 2
    assert should_stop([0.6, 0.7, 0.7], 1) and not should_stop([0.6, 0.7, 0.7], 2)
    assert not should_stop([0.7, 0.6, 0.5], None) and not should_stop([], 1)


PARAMETERS = [
    {},
    {"optional": False, "monotone": False, "learning_rate": 0.7},
    {"reg_lambda": 0.0, "gamma": 0.5, "depth": 4, "least_rows": 3},
    {"min_child_weight": 6.0, "learning_rate": 1.0, "reg_lambda": 3.0},
]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_trees_are_those_of_the_slow_reference(parameters):
    """Also with lenders that drop out of a tree, and trees that end before their full depth."""
    plan = plan_of(**{"trees": 4, "validation_share": 0.0} | parameters)
    states, outcomes = random_rows(plan, 240, seed=11)
    owners = np.arange(240) % 3
    lenders = lenders_of(plan, states, outcomes, owners)
    names = tuple(lenders)
    record = [
        Grown(names, plan.depth),
        Grown(names[:2], plan.depth),
        Grown(names, 2),
        Grown(names[1:], 1),
    ]
    run = pooled(plan, lenders, record)
    bits = plan.layout.bits_of_states(states + [code.first_state for code in plan.layout.codes])
    rows = {
        name: [
            Row(bits[i].tolist(), int(outcomes[i]))
            for i in range(240)
            if f"lender{owners[i]}" == name
        ]
        for name in names
    }
    expected = train(plan, run.usable.bits, rows, [(g.lenders, g.levels) for g in record])
    found = [(t.root, {s.node: (s.bit, s.left, s.right) for s in t.splits}) for t in run.trees]
    assert found == expected
    assert all(len(tree.splits) > 0 for tree in run.trees[:2])


def test_auc_is_that_of_all_pairs_of_validation_rows():
    plan = plan_of(trees=3, validation_share=0.5)
    states, outcomes = random_rows(plan, 400, seed=4)
    run = pooled(plan, {"all": LocalRows(plan, states, outcomes)})
    held_out = [LocalRows(plan, states[[i]], outcomes[[i]]).n_validation for i in range(400)]
    bits = plan.layout.bits_of_states(states + [code.first_state for code in plan.layout.codes])
    rows = [Row(bits[i].tolist(), int(outcomes[i])) for i in range(400) if held_out[i]]
    for tree, expected in zip(run.trees, run.aucs, strict=True):
        splits = {s.node: (s.bit, s.left, s.right) for s in tree.splits}
        for row in rows:
            row.margin += follow((tree.root, splits), row)
        assert pair_auc(rows) == pytest.approx(expected, abs=1e-12)
    assert 0.6 < expected < 1


def test_monotone_constraint_orders_every_pair_of_bins():
    """Control: without the constraint, the same rows give a score that falls."""
    falls = {}
    for monotone in (True, False):
        plan = plan_of(optional=False, monotone=monotone, trees=10, validation_share=0.0)
        states, outcomes = random_rows(plan, 500, seed=8)
        outcomes = np.where(states[:, 0] == 3, 0, outcomes)
        run = pooled(plan, {"all": LocalRows(plan, states, outcomes)})
        code = plan.layout.code("Years")
        grid = np.repeat(states[:200, :], code.n_states, axis=0)
        grid[:, 0] = np.tile(np.arange(code.n_states), 200)
        values = margins(run.trees, plan.layout, grid.T.astype(np.uint8)).reshape(200, -1)
        falls[monotone] = int((np.diff(values, axis=1) < 0).sum())
    assert falls[True] == 0 < falls[False]
