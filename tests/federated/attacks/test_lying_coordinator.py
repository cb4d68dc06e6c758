"""A coordinator that tells different lenders different trees, chooses splits, or invents lenders.

Rosters, late vectors, replays and colluders are in tests/federated/aggregation/test_attacks.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from federated.agents.lender_agent import LenderAgent, Own
from federated.aggregation.statement import Step
from federated.aggregation.upload import Upload
from federated.boosting.trees import Split, Splits
from federated.boosting.usable_bits import choose_bits
from federated.protocol.messages import AllUploaded, Ask, Counted, Grown, Revealed
from tests.federated.attacks.views import loans, opened_by, plan_of, seen_of, together
from tests.federated.protocol.network import Network
from utils.errors import PartiesDisagree, PlanRefused, SignatureInvalid, SplitsInvalid

PLAN = plan_of(trees=3)


@pytest.fixture
def started():
    """Four lenders after the first count, and the coordinator's state."""
    found = Network(PLAN, loans(4, 60))
    while not found.coordinator.state.results:
        found.deliver()
    return found


def told(network, name, split):
    """Have one lender take a first level of the coordinator's choice; returns its upload."""
    level = Splits(tree=0, level=0, root=0, splits=(split,))
    counted = network.coordinator.state.results[0]
    results = (counted, Grown(lenders=network.names, splits=level))
    ask = Ask(first=0, results=results, step=Step(0, 1, 0), roster=network.names)
    (sent,) = network.lenders[name].take(ask)
    return Upload.from_bytes(sent.upload)


def test_lenders_that_are_shown_different_trees_reveal_nothing(started):
    network = started
    one, other, *_ = network.coordinator.state.results[0].usable.bits
    shown = dict.fromkeys(network.names, one) | {network.names[3]: other}
    uploads = {
        name: told(network, name, Split(node=0, bit=bit, left=-5, right=5))
        for name, bit in shown.items()
    }
    signatures = {name: upload.signature for name, upload in uploads.items()}
    step = uploads[network.names[0]].step
    for name in network.names:
        with pytest.raises(SignatureInvalid) as refused:
            network.lenders[name].take(AllUploaded(step=step, signatures=signatures))
        assert shown[refused.value.lender] != shown[name]


def test_lenders_that_are_shown_the_same_tree_reveal_their_seeds(started):
    """Control of the test above."""
    network = started
    split = Split(node=0, bit=network.coordinator.state.results[0].usable.bits[0], left=-5, right=5)
    uploads = {name: told(network, name, split) for name in network.names}
    signatures = {name: upload.signature for name, upload in uploads.items()}
    for name, upload in uploads.items():
        (sent,) = network.lenders[name].take(AllUploaded(step=upload.step, signatures=signatures))
        assert isinstance(sent, Revealed)


def test_a_result_is_not_replaced_by_another(started):
    network = started
    lender, usable = network.lenders[network.names[0]], network.coordinator.state.results[0].usable
    other = Counted(usable=usable.model_copy(update={"bits": usable.bits[1:]}))
    ask = Ask(
        first=0,
        results=tuple(network.coordinator.state.results),
        step=network.coordinator.state.step,
        roster=network.names,
    )
    lender.take(ask)
    with pytest.raises(PartiesDisagree, match="other results than before"):
        lender.take(ask.model_copy(update={"results": (other,)}))


def test_splits_by_bits_that_are_not_usable_are_refused(started):
    network = started
    usable = set(network.coordinator.state.results[0].usable.bits)
    rare = next(bit for bit in range(PLAN.layout.n_bits) if bit not in usable)
    with pytest.raises(SplitsInvalid, match="not usable"):
        told(network, network.names[0], Split(node=0, bit=rare, left=-5, right=5))


def test_limit_chosen_splits_isolate_few_rows_and_no_lender_notices():
    """A coordinator that lies about the best split opens the sums of very few rows.

    Splits are not proved: a lender checks that they are allowed, not that they are the best.
    """
    data = loans(5, 400)
    honest = opened_by(PLAN, data)
    states, _ = together(data)
    bits = PLAN.layout.bits_of_states(
        states + np.array([code.first_state for code in PLAN.layout.codes])
    )[:, list(honest.usable.bits)]
    both = bits.T.astype(np.int64) @ bits
    both[both == 0] = len(states)
    first, second = np.unravel_index(np.argmin(both), both.shape)
    chosen = (
        Split(node=0, bit=honest.usable.bits[first], left=-5, right=5),
        Split(node=2, bit=honest.usable.bits[second], left=-5, right=5),
    )
    tree = honest.trees[0].model_copy(update={"root": 0, "splits": chosen})
    lie = type(honest)(PLAN, honest.usable, (tree,), honest.counts, (), honest.sums)
    opened = seen_of(lie, together(data))  # every lender's rows follow it without an error
    few = opened.sums[opened.places.index((0, 6))][1].sum() // len(opened.cells.columns) >> 28
    least = min(sums[1].sum() // len(honest.cells.columns) >> 28 for sums in honest.sums[:3])
    assert 1 <= few < PLAN.least_rows <= least


def test_the_least_rows_are_those_of_the_first_count():
    """A coordinator that lies about the usable bits isolates a rare state; lenders do not see it.

    The digest of the result binds all lenders to one lie, so that all or none are told it.
    """
    data = loans(4, 60)
    honest = choose_bits(PLAN, opened_by(PLAN, data).counts)
    lie = honest.model_copy(update={"bits": tuple(range(PLAN.layout.n_bits))})
    assert opened_by(PLAN, data, lie).cells.count > opened_by(PLAN, data).cells.count


# --- Lenders that the coordinator invents ---


def agent(pins):
    """Return an agent that has nothing but its pins and the lenders of its training."""
    found = LenderAgent.__new__(LenderAgent)
    found._own = Own(layout=None, records=None, key=None, pins=pins)
    names = ("lender_0", "sybil_1", "sybil_2")
    state = type("State", (), {"me": "lender_0"})
    found._membership = type("Members", (), {"lenders": names, "state": state})
    return found


def test_invented_lenders_are_refused_by_one_with_pins():
    with pytest.raises(PlanRefused, match="no key of sybil_2"):
        agent({"coordinator": b"", "sybil_1": b""})._require_pinned()


def test_control_without_pins_two_invented_lenders_leave_the_sums_of_one():
    agent({})._require_pinned()
    data = loans(3, 60)
    view = opened_by(PLAN, data)
    invented = [seen_of(view, data[name]).sums for name in ("lender_1", "lender_2")]
    assert (view.sums - sum(invented) == seen_of(view, data["lender_0"]).sums).all()
