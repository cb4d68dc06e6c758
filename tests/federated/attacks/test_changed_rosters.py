"""A lender that leaves or returns: the sums with it and without it, compared."""

from __future__ import annotations

import numpy as np
import pytest

from federated.aggregation.statement import Step
from federated.boosting.fixed_point import LARGEST_HESSIAN, LEAF_BITS, real
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Splits
from federated.boosting.usable_bits import choose_bits
from federated.protocol.messages import Ask, Grown
from tests.federated.attacks.views import loans, opened_by, plan_of, seen_of
from tests.federated.protocol.network import Network
from utils.errors import PartiesDisagree

VICTIM = "lender_0"


@pytest.fixture(scope="module")
def five():
    """A training of five lenders, the histograms of one of them, and its data."""
    data = loans(5, 400)
    view = opened_by(plan_of(trees=40), data)
    return view, seen_of(view, data[VICTIM]), data


def root(view, tree):
    return view.sums[view.places.index((tree, 0))]


def predicted(view, tree):
    """Return the sums at the root of the tree after `tree`, to first order in its leaves."""
    rows = real(root(view, tree))
    levels = view.trees[tree]
    inner = {split.node for split in levels.splits}
    opened = {node: view.sums[i] for i, (t, node) in enumerate(view.places) if t == tree}
    for node, sums in opened.items():
        if any(2 * node + side in opened for side in (1, 2)):
            continue
        # The share of a cell's rows that go left is not known; both leaves count for half.
        ends = [2 * node + 1, 2 * node + 2] if node in inner else [node]
        change = np.mean([levels.leaf(end) for end in ends]) / 2**LEAF_BITS
        rows[0] += change * real(sums[1])
    return rows


def error_of(guess, truth):
    """Return the mean absolute error relative to the mean size."""
    return float(np.abs(guess - truth).sum() / np.abs(truth).sum())


@pytest.mark.parametrize("tree", [0, 35])
def test_limit_the_next_trees_sums_tell_roughly_a_lost_lenders_marginals(five, tree):
    view, own, _ = five
    truth = real(root(own, tree + 1))
    without = real(root(view, tree + 1)) - truth  # opened from the other four
    hessians = error_of(predicted(view, tree)[1] - without[1], truth[1])
    assert 0.003 < hessians < 0.5

    # Control: the same tree again without that lender gives exactly its histogram.
    again = root(view, tree) - root(own, tree)
    assert (root(view, tree) - again == root(own, tree)).all()


def test_control_a_first_root_opened_apart_would_count_a_lender_that_leaves_before_it(five):
    """All hessians of the first tree are 1/4: its root follows from the count of the same step."""
    view, own, _ = five
    counts = np.zeros(view.cells.count, np.int64)
    for first, column, of_states in zip(
        view.cells.first, view.cells.columns, view.cells.of_states, strict=True
    ):
        code = view.plan.layout.codes[column]
        both = view.counts[:-2].reshape(2, -1).sum(axis=0).astype(np.int64)
        states = both[code.first_state : code.first_state + code.n_states]
        np.add.at(counts, first + of_states, states)
    without = root(view, 0) - root(own, 0)
    found = counts - without[1] // LARGEST_HESSIAN
    assert (found == root(own, 0)[1] // LARGEST_HESSIAN).all()


# --- Trees that change nothing ---


def constant(tree, root):
    """Return the announcement of a tree without a split."""
    return Splits(tree=tree, level=0, root=root)


@pytest.fixture
def after_the_count():
    """Four lenders that have agreed to a tree without a split, by a coordinator that lies."""
    found = Network(plan_of(trees=3), loans(4, 60))
    while not found.coordinator.state.results:
        found.deliver()
    return found


def asked(network, roster, leaf=0):
    """Have all lenders take a lying tree 0, and ask them for the root of tree 1."""
    names = network.names
    counted = network.coordinator.state.results[0]
    results = [counted, Grown(lenders=names, splits=constant(0, leaf))]
    step = Step(1, 0, 0)
    ask = Ask(first=0, results=tuple(results), step=step, roster=roster)
    return {name: network.lenders[name].take(ask) for name in roster}


@pytest.mark.parametrize("leaf", [0, 1 << 18])
@pytest.mark.parametrize("left", [0, 1])
def test_no_tree_follows_one_that_changes_all_rows_alike(after_the_count, leaf, left):
    network = after_the_count
    with pytest.raises(PartiesDisagree, match="gave all rows the same value"):
        asked(network, network.names[left:], leaf)


def test_control_after_such_a_tree_the_difference_is_the_lost_lenders_histogram():
    plan, data = plan_of(trees=3), loans(4, 60)
    lenders = {name: LocalRows(plan, *one) for name, one in data.items()}
    usable = choose_bits(plan, sum(rows.counts() for rows in lenders.values()))
    for rows in lenders.values():
        rows.begin(usable)
    before = {name: rows.vector(0, 0) for name, rows in lenders.items()}
    for rows in lenders.values():
        assert rows.apply(constant(0, 0)) is not None
    size = len(before[VICTIM])
    others = sum(rows.vector(1, 0)[:size] for name, rows in lenders.items() if name != VICTIM)
    assert (sum(before.values()) - others == before[VICTIM]).all()
