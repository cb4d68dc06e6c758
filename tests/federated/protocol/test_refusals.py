"""Lenders that take no part: keys that are not pinned or wrong, and a code that opens nothing.

All tests together need about 3 seconds of processor time.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace

import pytest

from federated.agents.lender_agent import LenderAgent
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from tests.federated.protocol.test_restarts import NAMES, own_of, run, training
from utils.errors import PartiesDisagree, PlanRefused

__all__ = ["training"]
FIRST, *OTHERS = NAMES


class Lenders:
    """Four lenders of a training, of which all but the first run in the background."""

    def __init__(self, folder, training, pins_of_first) -> None:
        self.relay, self.coordinator, self.agents, self.pool = training
        owns = {name: own_of(number) for number, name in enumerate(NAMES)}
        keys = {name: own.key.public for name, own in owns.items()}
        owns[FIRST] = replace(owns[FIRST], pins=pins_of_first(keys))
        self.own, self.home = owns[FIRST], folder / FIRST
        for name, own in owns.items():
            code = self.coordinator.codes[name]
            self.agents[name] = LenderAgent.join(folder / name, self.relay, name, code, own)
        self.first = self.agents[FIRST]
        self.others: list[Future[str]] = [
            self.pool.submit(run, self.agents[name]) for name in OTHERS
        ]
        self.end = self.pool.submit(self.coordinator.run)

    def require_finished_without_first(self) -> None:
        view = self.end.result()
        assert view.state == "finished"
        assert {one.name: one.trees for one in view.lenders} == {
            **dict.fromkeys(OTHERS, 1),
            FIRST: 0,
        }
        assert [one.result() for one in self.others] == ["finished"] * 3


def test_a_lender_refuses_others_that_are_not_pinned_and_keeps_to_it(tmp_path, training):
    def pins(keys):
        return {name: keys[name] for name in OTHERS[:2]}

    lenders = Lenders(tmp_path, training, pins)
    with closing(lenders.first), pytest.raises(PlanRefused, match="no key of lender_4"):
        lenders.first.run()
    lenders.require_finished_without_first()
    sent = len(lenders.relay.messages)
    with closing(LenderAgent.resume(lenders.home, lenders.relay, lenders.own)) as again:
        view = again.run()
    assert (view.state, len(lenders.relay.messages)) == ("failed", sent)
    assert "no key of lender_4" in view.reason


def test_a_lender_with_all_keys_pinned_takes_part(tmp_path, training):
    lenders = Lenders(tmp_path, training, lambda keys: keys)
    assert run(lenders.first) == "finished"
    assert [one.trees for one in lenders.end.result().lenders] == [1] * 4


def test_a_lender_refuses_a_training_in_which_another_has_a_wrong_key(tmp_path, training):
    def pins(keys):
        return {**keys, NAMES[1]: IdentityKey.fresh().public}

    lenders = Lenders(tmp_path, training, pins)
    with closing(lenders.first), pytest.raises(PartiesDisagree, match="lender_2"):
        lenders.first.run()
    assert any("which is not the one that was pinned" in e.text for e in lenders.first.events())


def test_a_code_that_opens_nothing_is_told(tmp_path, training):
    relay, coordinator, agents, pool = training
    code = JoinCode.parse(coordinator.codes[FIRST])
    wrong = str(replace(code, group_secret=bytes(16)))
    agent = agents[FIRST] = LenderAgent.join(tmp_path / FIRST, relay, FIRST, wrong, own_of(1))
    pool.submit(coordinator.run)
    ends = pool.submit(run, agent)
    serial = agent.serial
    while not agent.view().problem:
        assert not ends.done()
        serial = agent.wait(serial, 10)
    assert "ask the coordinator for a new training" in agent.view().problem
    assert agent.view().state == "starting"
    for number, name in enumerate(OTHERS):
        agents[name] = LenderAgent.join(
            tmp_path / name, relay, name, coordinator.codes[name], own_of(number)
        )
        pool.submit(run, agents[name])
    with pytest.raises(PartiesDisagree, match="cannot be opened with this lender's code"):
        ends.result()
