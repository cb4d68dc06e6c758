"""A lender that sends nonsense, replays itself, or poisons the model within all bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from federated.boosting.pooled import pooled
from federated.boosting.rows import LocalRows
from federated.boosting.trees import margins
from federated.protocol.messages import Uploaded, decode_from_lender, encode
from tests.federated.attacks.views import loans, plan_of, together
from tests.federated.protocol.network import Network

PLAN = plan_of(trees=3)
LIAR = "lender_1"
HONEST = ("lender_0", "lender_2", "lender_3")


@pytest.fixture
def network():
    return Network(PLAN, loans(4, 60))


def spoil(network, change, tree=1):
    """Have the liar's rows change its vector from a tree on."""
    rows = network.lenders[LIAR]._rows
    honest = rows.vector
    rows.vector = lambda t, level: change(honest(t, level)) if t >= tree else honest(t, level)


NONSENSE = {
    "NaN": lambda v: np.full(len(v), np.nan).view(np.uint64),
    "overflow": lambda v: v + np.uint64(1 << 63),
    "one number": lambda v: np.concatenate([v[:1] + np.uint64(1), v[1:]]),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_sums_that_no_rows_have_cancel_the_training_without_a_name(network, name):
    spoil(network, NONSENSE[name])
    network.run()
    state = network.coordinator.state
    assert state.phase == "cancelled"
    assert "inconsistent" in state.reason
    assert "masks hide which" in state.reason
    assert not any(lender in state.reason for lender in network.names)
    assert {one.progress.phase for one in network.lenders.values()} == {"cancelled"}


def test_a_malformed_vector_is_refused_and_its_lender_named(network):
    spoil(network, lambda vector: vector[:-1])
    network.run()
    state = network.coordinator.state
    assert state.phase == "finished"
    assert state.lenders[LIAR].status == "refused"
    assert f"vector that {LIAR} has sent" in state.lenders[LIAR].reason
    assert [tree.lenders for tree in network.record().trees] == [network.names, HONEST, HONEST]
    assert list(network.coordinator.trees) == list(network.pooled().trees)


def test_unreadable_bytes_as_a_vector_exclude_their_sender_alone(network):
    while network.coordinator.state.step.tree < 1:
        network.deliver()
    network.outbox.appendleft((LIAR, encode(Uploaded(upload=b"\xff" * 300))))
    network.run()
    refused = [n for n, one in network.coordinator.state.lenders.items() if one.status == "refused"]
    assert refused == [LIAR]
    assert network.coordinator.state.phase == "finished"


def test_replayed_vectors_change_nothing(network):
    old = []
    while network.coordinator.state.phase not in ("finished", "cancelled"):
        if network.outbox:
            old.append(network.outbox[0])
        network.deliver()
        for message in old[-40::3]:
            network.post(network.coordinator.take(message[0], decode_from_lender(*message)))
    assert network.coordinator.state.phase == "finished"
    assert list(network.coordinator.trees) == list(network.pooled().trees)


@pytest.mark.parametrize("copies", [1, 20], ids=["flipped labels", "flipped labels of many copies"])
def test_limit_poison_within_the_bounds_is_not_noticed(copies):
    """A lender may invent rows, so that its sums are those of rows. Only the AUC falls."""
    plan = plan_of(trees=20)
    data = loans(4, 500)
    states, outcomes = data[LIAR]
    poisoned = data | {LIAR: (np.repeat(states, copies, 0), np.repeat(1 - outcomes, copies))}
    found = [
        pooled(plan, {name: LocalRows(plan, *one) for name, one in each.items()}).trees
        for each in (data, poisoned)
    ]
    others = together({name: data[name] for name in HONEST})
    honest, spoilt = (auc_of(plan, trees, others) for trees in found)
    assert spoilt < honest - 0.02 * min(copies, 4)


def auc_of(plan, trees, data):
    """Return the AUC of all trees on these rows."""
    states, outcomes = data
    ranks = rankdata(margins(trees, plan.layout, np.ascontiguousarray(states.T.astype(np.uint8))))
    ones = int(outcomes.sum())
    above = ranks[outcomes == 1].sum() - ones * (ones + 1) / 2
    return above / (ones * (len(outcomes) - ones))
