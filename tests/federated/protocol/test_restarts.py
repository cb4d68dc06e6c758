"""A lender's agent that is killed where schedules have found that it did not go on afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from features.records import Records
from federated.agents.coordinator_agent import CoordinatorAgent, Patience
from federated.agents.lender_agent import LenderAgent, Own
from federated.agents.member_agent import BOOSTER, RECORD
from parties.joint.identities import IdentityKey
from tests.federated.protocol.network import rows_of
from tests.federated.protocol.relay import Killed, Relay
from tests.federated.protocol.test_training import plan_of
from utils.errors import OutOfStep

PLAN = plan_of(trees=1, depth=1, validation_share=0.0)
NAMES = ("lender_1", "lender_2", "lender_3", "lender_4")


def own_of(number):
    states, outcomes = rows_of(PLAN, 60, number)
    records = Records(states.astype("uint8"), outcomes.astype("uint8"))
    return Own(PLAN.layout, records, IdentityKey.fresh(), {})


@pytest.fixture
def training(tmp_path):
    """Yield a training that nobody has joined yet: its relay, coordinator, agents, thread pool."""
    relay, agents = Relay(), {}
    key, patience = IdentityKey.fresh(), Patience(start=0.5, step=5.0)
    coordinator = CoordinatorAgent.host(tmp_path / "c", relay, key, PLAN, NAMES, {}, patience)
    with ThreadPoolExecutor(5) as pool, closing(coordinator):
        yield relay, coordinator, agents, pool
        for agent in (coordinator, *agents.values()):
            agent.stop()


def run(agent):
    with closing(agent):
        return agent.run().state


def test_a_lender_goes_on_if_killed_when_its_return_was_posted_and_when_no_model_was_written(
    tmp_path, training
):
    relay, coordinator, agents, pool = training
    owns = {name: own_of(number) for number, name in enumerate(NAMES[:3])}
    homes = {name: tmp_path / name for name in owns}
    for name, own in owns.items():
        agents[name] = LenderAgent.join(homes[name], relay, name, coordinator.codes[name], own)
    others = [pool.submit(run, agents[name]) for name in NAMES[:2]]
    last = NAMES[2]
    ends = pool.submit(coordinator.run)
    for _ in range(3):  # with its hello, with its consent, and with its return
        relay.kill_after_post.add(last)
        with pytest.raises(Killed):
            run(agents[last])
        agents[last] = LenderAgent.resume(homes[last], relay, owns[last])
    assert run(agents[last]) == "finished"
    assert [one.result() for one in others] == ["finished"] * 2
    assert ends.result().state == "finished"
    model = (homes[last] / BOOSTER).read_bytes()
    (homes[last] / BOOSTER).unlink()
    (homes[last] / RECORD).unlink()
    assert run(LenderAgent.resume(homes[last], relay, owns[last])) == "finished"
    assert (homes[last] / BOOSTER).read_bytes() == model
    late = LenderAgent.join(
        tmp_path / "late", relay, NAMES[3], coordinator.codes[NAMES[3]], own_of(4)
    )
    with pytest.raises(OutOfStep, match="started without this lender"):
        run(late)
