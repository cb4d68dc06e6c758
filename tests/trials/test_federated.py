"""A few schedules of `python -m trials.federated`, and controls without a rule.

All tests together need about 23 seconds of processor time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from contract.trainings import COORDINATOR
from trials.faults.application import Broken
from trials.federated.__main__ import ROOM, main
from trials.federated.case import drawn
from trials.federated.invariants import POOLED, SEALED
from trials.federated.ledger import FORWARD, LOCKED, ONE_SUM, require_locks, require_one_sum
from trials.federated.training import ENDS, Training
from trials.servers import Server, Setup

SEED = 1967


def test_schedules_break_no_invariant(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    code = main(["--schedules", "4", "--seed", str(SEED), "--at-once", "2", "--json", str(path)])
    found = json.loads(path.read_text())
    assert found["broken"] == []
    assert (code, found["schedules"]) == (0, 4)
    assert {ENDS, POOLED, SEALED, ONE_SUM, LOCKED, FORWARD} <= set(found["checks"])
    assert min(found["checks"].values()) > 0
    assert found["facts"]["processes of lenders"] > 4 * 3, "no process was killed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = Server("server", tmp_path_factory.mktemp("server"), Setup(ROOM))
    own.start()
    yield own.wait()
    own.try_stop()


def repeated(folder: Path, server: Server, lenders: str) -> Training:
    """Have a coordinator repeat the first root without a lender killed before it revealed its seed.

    Returns when that lender is back and has revealed its seed of the first attempt. The caller
    stops the training.
    """
    case = drawn(Random(7), 7, least_lenders=4)
    training = Training(case, folder, server, {COORDINATOR: "repeating", "lenders": lenders})
    lost = training.names[0]
    training.arm(lost, "reveal made")
    training.start(*training.everyone)
    training.until(lambda: not training.runs(lost), "the lender is killed")
    assert training.disarm(lost)
    training.until(lambda: training.seen()["step"]["attempt"] > 0, "the root is repeated")
    training.start(lost)
    journal = training.setups[lost].journal
    training.until(lambda: journal.count("reveal") >= 2, "the lender reveals again")
    return training


def judged(training: Training) -> int:
    """Return the number of sums that can be opened; raises Broken if a level has two."""
    events = {name: training.setups[name].journal.events() for name in training.names}
    coordinator = training.setups[COORDINATOR].journal.events()
    return require_one_sum(events, coordinator, -(-2 * len(events) // 3))


def test_locks_leave_one_sum_to_a_coordinator_that_repeats_a_root(
    tmp_path: Path, server: Server
) -> None:
    training = repeated(tmp_path / "training", server, "")
    try:
        training.until(lambda: judged(training) == 1, "the first attempt can be opened")
        for name in training.names:
            require_locks(name, training.setups[name].journal.events())
    finally:
        training.stop()


def test_without_locks_two_sums_are_found(tmp_path: Path, server: Server) -> None:
    training = repeated(tmp_path / "training", server, "unlocked")
    try:
        with pytest.raises(Broken, match=f"{ONE_SUM}: 2 sums of tree 0, level 0"):
            training.until(lambda: judged(training) > 9, "more sums are opened", 30)
        with pytest.raises(Broken, match=LOCKED):
            for name in training.names:
                require_locks(name, training.setups[name].journal.events())
    finally:
        training.stop()
