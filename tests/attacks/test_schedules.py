"""Random schedules of faults and a dishonest server, a few of those of `trials.schedules`.

Whatever is killed, put back, delayed or offered, no party makes two different decryption shares for
one program, none before all have confirmed the result, and none after it has erased its keys.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from unittest.mock import patch

import pytest

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.joint import checks
from parties.joint.protocol import JointProtocol
from trials.joint_stand_in import JointStandIn
from trials.local_server import LocalServer
from trials.schedules import schedule
from trials.schedules.__main__ import main
from trials.schedules.ledger import Ledger, Violated
from trials.schedules.schedule import play
from trials.schedules.world import World

FAULTS = {
    "kill at a write or a call",
    "kill between steps",
    "duplicated delivery",
    "reordered delivery",
    "messages withheld",
    "second process for a folder",
    "folder put back",
    "another result offered",
}


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    made = LocalServer(tmp_path_factory.mktemp("schedules"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    made = LocalServer(tmp_path_factory.mktemp("schedules"), signs=True)
    yield made
    made.stop()


def test_no_party_makes_two_different_shares_of_a_program(signs, scores, tmp_path):
    faults, opened, shares = Counter(), Counter(), 0
    for seed in range(1, 11):
        server = scores if seed % 4 == 0 else signs
        outcome = play(seed, server, JointStandIn(server.public), tmp_path / f"{seed}", steps=40)
        assert outcome.violated is None, f"schedule {seed} of 40 steps: {outcome.violated}"
        faults += outcome.faults
        opened.update(outcome.opened)
        shares += outcome.shares
    assert set(faults) >= FAULTS
    assert min(opened[DECIDE], opened[EXPLAIN], opened[REASONS]) >= 3 and shares > 50


def test_control_without_confirmations_a_folder_put_back_makes_a_second_share(capsys):
    with (
        patch.object(JointProtocol, "all_confirmed", lambda *_: True),
        patch.object(checks, "same_result", lambda *_: None),
        # Otherwise the first share, or an application that ends, would be reported already.
        patch.object(Ledger, "send", lambda *_: None),
        patch.object(schedule, "_require_results", lambda _: None),
    ):
        assert main(["--schedules", "3", "--seed", "9"]) == 1
    printed = capsys.readouterr().out
    assert "made 2 different shares of decide" in printed
    assert "play one again with --schedules 1 --seed" in printed


@pytest.mark.parametrize(
    ("invariant", "act"),
    [
        ("different shares", lambda ledger: ledger.make("a", "decide", b"two", b"share")),
        ("different shares", lambda ledger: ledger.make("a", "decide", b"one", b"other")),
        ("erased", lambda ledger: ledger.erase("a") or ledger.make("a", "decide", b"one", b"1")),
    ],
)
def test_ledger_reports_a_violated_invariant(invariant, act):
    ledger = Ledger(["a", "b"])
    ledger.make("a", "decide", b"one", b"share")
    with pytest.raises(Violated, match=invariant):
        act(ledger)


@pytest.mark.parametrize(("program", "points"), [(DECIDE, (12, 13)), (EXPLAIN, (8, 9))])
def test_result_can_be_read_after_a_kill_at_any_write_of_the_opening(
    scores, tmp_path, program, points
):
    """Else a party that was killed between two files would have opened what it cannot show."""
    for point in points:
        world = World(scores, JointStandIn(scores.public), tmp_path / f"{point}", Random(1))
        try:
            rounds(world, until=program)
            world.light_fuse("bank", point)
            rounds(world, 4)
            world.put_out_fuses()
            rounds(world, 3)
            bank = world.parties["bank"]
            assert (bank.decision if program == DECIDE else bank.explanation) is not None, point
        finally:
            world.close()


def rounds(world, most=30, until=None):
    """Have all parties go on in turn, until all have agreed to the program `until`, if any."""
    for _ in range(most):
        if until and all(member.all_agreed(until) for member in world.parties.values()):
            return
        for name in world.names:
            world.goes_on(name)
        world.server.local.work()
