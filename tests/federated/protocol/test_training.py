"""The whole protocol in one process: equal to pooled training whatever drops out and when."""

from __future__ import annotations

import random

import pytest

from features.schema import Schema
from federated.aggregation.statement import Step
from federated.boosting.cells import cells_of
from federated.boosting.first_root import first_root
from federated.boosting.pooled import total
from federated.boosting.rows import LocalRows
from federated.boosting.usable_bits import choose_bits
from federated.plan import Plan
from federated.privacy.parameters import Privacy
from federated.protocol.messages import Ask
from settings import ROOT
from tests.federated.protocol.network import Network, rows_of
from utils.errors import PartiesDisagree

SCHEMA = Schema.load(ROOT / "features" / "credit_card_fair_lending.json")


def plan_of(**more):
    return Plan(**{"schema": SCHEMA, "trees": 6, "depth": 3, "seed": 3, **more})


def network(lenders=4, rows=150, seed=0, **more):
    plan = plan_of(**more)
    data = {f"lender_{i}": rows_of(plan, rows + 40 * i, 100 * seed + i) for i in range(lenders)}
    return Network(plan, data)


def require_pooled(found: Network):
    expected = found.pooled()
    assert found.coordinator.state.phase == "finished"
    assert list(found.coordinator.trees) == list(expected.trees[: found.record().kept])
    for name, lender in found.lenders.items():
        if name not in found.down:
            assert lender.progress.phase == "finished"
            assert lender.trees == found.coordinator.trees


@pytest.mark.parametrize("lenders", [3, 5, 20])
def test_trees_are_those_of_pooled_training(lenders):
    found = network(lenders, rows=60).run()
    require_pooled(found)
    assert len(found.coordinator.trees) == 6
    assert all(len(tree.lenders) == lenders for tree in found.record().trees)


def test_early_stopping_keeps_the_best_trees():
    found = network(3, rows=60, trees=40, early_stopping=2, learning_rate=1.0).run()
    require_pooled(found)
    assert found.record().kept < len(found.record().trees) < 40


def test_a_lender_that_vanishes_before_it_uploads_at_a_root_is_left_out():
    found = network(4)
    found.kill("lender_1")
    found.run()
    require_pooled(found)
    assert all("lender_1" not in tree.lenders for tree in found.record().trees)


@pytest.mark.parametrize("seed", range(12))
def test_random_drop_outs_and_restarts(seed):
    """Lenders go and come back at any moment, the coordinator restarts: every tree is pooled."""
    choose = random.Random(seed)
    found = network(5 if seed % 2 else 6, rows=80, seed=seed)
    most = 1 if seed % 2 else 2
    for _ in range(20_000):
        event = choose.random()
        if event < 0.02 and len(found.down) < most:
            found.kill(choose.choice(sorted(set(found.names) - found.down)))
        elif event < 0.05 and found.down:
            found.bring_back(choose.choice(sorted(found.down)))
        elif event < 0.06:
            found.restart_coordinator()
        elif event < 0.09 and found.down and not found.deliver():
            found.post(found.coordinator.overdue())
        elif not found.deliver():
            if found.coordinator.state.phase == "finished":
                break
            if found.down and choose.random() < 0.5:
                found.bring_back(choose.choice(sorted(found.down)))
            else:
                found.post(found.coordinator.overdue())
    for name in sorted(found.down):
        found.bring_back(name)
    found.run()
    require_pooled(found)


def test_a_lender_that_waits_for_the_next_tree_is_told_nothing_twice():
    """Otherwise it and the coordinator would exchange messages as fast as they can until then."""
    found = network(4)
    while found.coordinator.state.step.tree < 1:
        found.deliver()
    found.kill("lender_1")
    while "lender_1" in found.coordinator.state.roster:
        if not found.deliver():
            found.post(found.coordinator.overdue())
    found.down |= {"lender_0"}  # so that the others wait for it, and nothing else moves
    while found.deliver():
        pass
    steps = found.steps
    found.bring_back("lender_1")
    while found.deliver():
        assert found.steps < steps + 30
    assert len(found.lenders["lender_1"].progress.results) == len(found.coordinator.state.results)
    found.bring_back("lender_0")
    found.run()
    require_pooled(found)
    assert "lender_1" in found.record().trees[-1].lenders


def test_too_few_lenders_pause_the_training_until_one_is_back():
    found = network(3)
    for _ in range(30):
        found.deliver()
    found.kill("lender_2")
    found.run()
    assert found.coordinator.state.phase == "paused"
    found.bring_back("lender_2")
    found.run()
    require_pooled(found)


def test_a_cancelled_training_ends_for_everyone():
    found = network(3)
    for _ in range(20):
        found.deliver()
    found.post(found.coordinator.cancel("The lenders have changed their minds."))
    found.run()
    assert {lender.progress.phase for lender in found.lenders.values()} == {"cancelled"}
    assert found.coordinator.trees == () or found.coordinator.state.phase == "cancelled"


def test_the_first_root_is_that_of_the_rows():
    """It is taken from the count; opened apart, it would show a lender that is lost in between."""
    found = network(3, trees=1, depth=1)
    rows = [LocalRows(found.plan, *data) for data in found.data.values()]
    counts = total(one.counts() for one in rows)
    usable = choose_bits(found.plan, counts)
    for one in rows:
        one.begin(usable)
    expected = total(one.vector(0, 0) for one in rows)
    assert (first_root(found.plan, cells_of(found.plan, usable), counts) == expected).all()


def test_a_training_ends_with_a_tree_without_splits():
    found = network(3, gamma=1e6).run()
    assert found.coordinator.state.phase == "finished"
    assert [tree.splits for tree in found.coordinator.trees] == [()]
    require_pooled(found)


def test_a_lender_refuses_to_go_on_after_a_tree_without_splits():
    """A coordinator could compare the same sums with and without one lender otherwise."""
    found = network(3, gamma=1e6).run()
    lender = found.lenders["lender_0"]
    lender.progress.phase, lender._stopped = "working", None
    lender.progress.results.pop()
    ask = Ask(first=2, results=(), step=Step(tree=1), roster=("lender_0", "lender_1", "lender_2"))
    with pytest.raises(PartiesDisagree, match="without splits"):
        lender.take(ask)


def test_noise_is_the_same_in_every_attempt_and_differs_between_lenders():
    found = network(4, trees=2, privacy=Privacy(noise_multiplier=2, delta=1e-5))
    first, other = found.lenders["lender_0"], found.lenders["lender_1"]
    noisy = first._vector(Step(tree=0, attempt=0))
    assert (noisy == first._vector(Step(tree=0, attempt=3))).all()
    assert (noisy != first._rows.counts()).any()
    assert (
        noisy - first._rows.counts() != other._vector(Step(tree=0)) - other._rows.counts()
    ).any()
    found.run()
    assert found.coordinator.state.phase == "finished"
    assert len(found.coordinator.trees) == 2
