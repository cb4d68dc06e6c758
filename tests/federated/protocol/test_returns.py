"""Lenders that come back: late, into a pause, after the count, or not in time for the last AUC.

Schedules with killed processes have found each of these cases (trials/federated). All tests
together need about 6 seconds of processor time.
"""

from __future__ import annotations

import pytest

from contract.trainings import LARGEST_TRAINING_MESSAGE
from federated.aggregation.group import MOST_LENDERS
from federated.boosting.trees import Split, Splits
from federated.protocol import coordinator
from federated.protocol.coordinator import Out
from federated.protocol.messages import Earlier, Grown, Refused, encode
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


def test_a_lender_that_missed_more_than_a_message_holds_is_told_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coordinator, "PART_BYTES", 700)
    found = network(4, rows=60, trees=6)
    until(found, 1, 0)
    found.kill("lender_3")
    found.post(found.coordinator.overdue())
    until(found, 5, 1)
    found.inbox["lender_3"].clear()  # the relay has dropped what waited for it
    found.bring_back("lender_3")
    sent: list[int] = []
    post = found.post
    monkeypatch.setattr(found, "post", lambda outs: post(sized(outs, sent)))
    found.run()
    require_pooled(found)
    assert found.lenders["lender_3"].progress.results == found.coordinator.state.results
    assert len(sent) > 2, "it was told in one part"
    assert max(sent) < 1000


def sized(outs: list[Out], sent: list[int]) -> list[Out]:
    """Note the sizes of results that a lender has missed."""
    sent += [len(encode(out.message)) for out in outs if isinstance(out.message, Earlier)]
    return outs


def test_the_results_of_the_largest_training_fit_into_messages() -> None:
    """A part that the relay refused would end the coordinator, also after every restart."""
    splits = tuple(
        Split(node=7 + i, bit=(1 << 20) - 1, left=-(1 << 23), right=-(1 << 23)) for i in range(8)
    )
    roster = tuple(f"lender_{i:02}".ljust(32, "x") for i in range(MOST_LENDERS))
    grown = [
        Grown(lenders=roster, splits=Splits(tree=i // 4, level=i % 4, root=0, splits=splits))
        for i in range(1200)
    ]
    parts = coordinator._parts(grown, 0)
    assert [one for _, part in parts for one in part] == grown
    assert [first for first, _ in parts] == [grown.index(part[0]) for _, part in parts]
    messages = [encode(Earlier(first=first, results=part)) for first, part in parts]
    assert sum(map(len, messages)) > LARGEST_TRAINING_MESSAGE > 2 * max(map(len, messages))


def test_a_training_ends_once_too_few_lenders_are_left_that_could_come_back() -> None:
    found = network(4, rows=60, trees=2)
    until(found, 1, 0)
    found.post(found.coordinator.take("lender_0", Refused(code="left", reason="Enough.")))
    assert found.coordinator.state.phase == "uploads"
    found.kill("lender_1")
    found.post(found.coordinator.overdue())
    assert found.coordinator.state.phase == "paused"  # lender_1 may come back
    found.bring_back("lender_1")
    found.post(found.coordinator.take("lender_2", Refused(code="left", reason="Enough.")))
    found.run()
    state = found.coordinator.state
    assert (state.phase, state.reason[:16]) == ("cancelled", "2 of 4 lenders h")
    assert found.lenders["lender_3"].progress.phase == "cancelled"
