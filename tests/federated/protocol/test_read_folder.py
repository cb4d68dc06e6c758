"""A lender's folder that somebody reads later: what it opens of the sums that were sent before.

With the pairwise secrets of one lender and the seeds that it has revealed to the coordinator, all
that it has sent could be unmasked. The test needs about 1 second of processor time.
"""

from __future__ import annotations

import base64
from contextlib import closing
from pathlib import Path

from federated.agents.lender_agent import STATE_FILE, LenderAgent
from federated.agents.membership import MemberState
from federated.agents.state_file import StateFile
from federated.protocol.lender import LenderProgress
from parties.joint.channel import KEY_BYTES, Identity
from tests.federated.protocol.test_restarts import NAMES, own_of, run, training

__all__ = ["training"]


def stored(home: Path) -> tuple[MemberState, LenderProgress | None]:
    with closing(StateFile.open(home / STATE_FILE)) as file:
        progress = file.part("progress")
        return (
            MemberState.model_validate_json(file.part("member")),
            None if progress is None else LenderProgress.model_validate_json(progress),
        )


def is_in(home: Path, secret: bytes) -> bool:
    """Return True if a secret, as the state has it in JSON, is anywhere in the folder's files."""
    for shift in range(3):  # its place within the base64 of a longer value
        text = base64.urlsafe_b64encode(bytes(shift) + secret)
        whole = text[4 if shift else 0 : -4]
        if any(whole in path.read_bytes() for path in home.iterdir() if path.is_file()):
            return True
    return False


def test_a_finished_training_leaves_no_secret_that_unmasks_what_was_sent(tmp_path, training):
    relay, coordinator, agents, pool = training
    owns = {name: own_of(number) for number, name in enumerate(NAMES)}
    home = tmp_path / NAMES[0]
    for name, own in owns.items():
        code = coordinator.codes[name]
        agents[name] = LenderAgent.join(tmp_path / name, relay, name, code, own)
        agents[name].close()
    before, _ = stored(home)
    exchange = before.identity[-KEY_BYTES:]
    assert is_in(home, exchange)  # needed until the training starts
    for name, own in owns.items():
        agents[name] = LenderAgent.resume(tmp_path / name, relay, own)
    ends = [pool.submit(run, agents[name]) for name in NAMES]
    assert coordinator.run().state == "finished"
    assert [end.result() for end in ends] == ["finished"] * 4
    assert not is_in(home, exchange)
    after, progress = stored(home)
    assert is_in(home, after.master)  # which draws noise, and would be found
    assert Identity.from_bytes(after.identity).sign(b"x") == Identity.from_bytes(
        before.identity
    ).sign(b"x")
    kept = set(after.channel.values())
    assert progress is not None and not kept & set(progress.locks.pair_roots.values())
