"""Lenders that come back: late, into a pause, after the count, or not in time for the last AUC.

Schedules with killed processes have found each of these cases (trials/federated). All tests
together need about 6 seconds of processor time.
"""

from __future__ import annotations

from tests.federated.protocol.network import Network, rows_of
from tests.federated.protocol.test_training import network, plan_of, require_pooled


def until(found: Network, tree: int, level: int, phase: str = "uploads") -> None:
    """Deliver messages until the coordinator is at this step and phase."""
    while True:
        state = found.coordinator.state
        if (state.step.tree, state.step.level, state.phase) == (tree, level, phase):
            return
        assert found.deliver(), "the step is never reached"


def wait(found: Network) -> None:
    """Deliver all messages, then let the coordinator's patience end once."""
    while found.deliver():
        pass
    found.post(found.coordinator.overdue())
    while found.deliver():
        pass


def test_a_lender_that_was_only_slow_ends_a_pause() -> None:
    found = network(3, rows=60, trees=2)
    until(found, 1, 0)
    found.kill("lender_2")
    wait(found)
    assert found.coordinator.state.phase == "paused"
    found.down.discard("lender_2")  # it goes on with what waits for it, and announces no return
    found.run()
    require_pooled(found)


def test_a_pause_ends_with_another_roster_than_before() -> None:
    found = network(4, rows=60, trees=2)
    until(found, 1, 0)
    found.kill("lender_1")
    found.kill("lender_2")
    wait(found)
    assert found.coordinator.state.phase == "paused"
    found.bring_back("lender_1")
    found.run()
    require_pooled(found)
    statuses = {name: one.status for name, one in found.coordinator.state.lenders.items()}
    assert statuses == {**dict.fromkeys(found.names, "done"), "lender_2": "away"}


def test_a_lender_that_was_not_counted_joins_at_the_next_tree() -> None:
    plan = plan_of(trees=3, learning_rate=0.05)
    sizes = {"lender_0": 60, "lender_1": 60, "lender_2": 60, "lender_3": 400}
    found = Network(plan, {name: rows_of(plan, n, n) for name, n in sizes.items()})
    found.kill("lender_3")
    while found.deliver():
        pass
    found.post(found.coordinator.overdue())
    found.bring_back("lender_3")
    found.run()
    require_pooled(found)
    assert found.record().trees[0].lenders == found.names[:3]
    assert found.record().trees[-1].lenders == found.names


def test_the_record_has_the_lenders_of_the_last_auc() -> None:
    found = network(4, rows=60, trees=2)
    until(found, 2, 0)
    found.kill("lender_3")
    found.run()
    record = found.record()
    assert record.trees[-1].lenders == found.names
    assert record.scored == ("lender_0", "lender_1", "lender_2")
    assert found.pooled().aucs[-1] == record.trees[-1].auc


def lose_two_of_four(level: int) -> Network:
    """Lose one lender before the root of tree 1, and another before it reveals its seed."""
    found = network(4, rows=60, trees=2)
    until(found, 1, 0)
    found.kill("lender_0")
    found.post(found.coordinator.overdue())
    until(found, 1, level, "seeds")
    found.kill("lender_1")
    wait(found)
    return found


def test_a_level_that_cannot_be_opened_ends_its_tree() -> None:
    found = lose_two_of_four(level=1)
    assert found.coordinator.state.phase == "paused"
    found.bring_back("lender_0")
    found.run()
    require_pooled(found)
    tree = found.record().trees[1]
    assert (tree.levels, tree.ended_early) == (1, True)


def test_a_root_that_cannot_be_opened_waits_for_its_lender() -> None:
    """Another attempt could open a second sum of the same gradients, so nothing is asked again."""
    found = lose_two_of_four(level=0)
    step = found.coordinator.state.step
    found.bring_back("lender_0")
    wait(found)
    state = found.coordinator.state
    assert (state.phase, state.step) == ("seeds", step)
    assert state.reason.startswith("Waiting for lender_1")
    found.bring_back("lender_1")
    found.run()
    require_pooled(found)
    assert found.coordinator.state.reason == ""
