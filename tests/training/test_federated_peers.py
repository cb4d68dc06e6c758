"""XGBoost on pooled rows and bagging of whole trees, for comparison with joint training."""

import numpy as np
import pytest

from federated.plan import Plan
from model.booster import parse_booster
from training.federated_peers import (
    bagged,
    log_odds,
    on_all_rows,
    parameters,
    same_splits,
    trees_of,
)
from training.models import Rows


@pytest.fixture(scope="module")
def plan(schema):
    return Plan(schema=schema, trees=4, depth=2)


@pytest.fixture(scope="module")
def parts(credit_data):
    bits, y = credit_data[0]
    return [Rows(bits[start::3], y[start::3]) for start in range(3)]


def test_bagging_of_a_single_lender_is_boosting(plan, parts, credit_data):
    bits, _ = credit_data[1]
    alone, boosted = bagged(plan, parts[:1]), on_all_rows(plan, parts[:1])
    assert same_splits(alone, boosted, 4)[0] == same_splits(boosted, boosted, 4)[1] > 4
    assert np.allclose(log_odds(alone, bits), log_odds(boosted, bits), atol=1e-6)


def test_bagging_has_a_tree_of_each_lender_in_each_round(plan, parts, layout):
    model = bagged(plan, parts)
    assert len(trees_of(model)) == 12 == len(parse_booster(model, layout).trees)
    first = bagged(plan.model_copy(update={"trees": 1, "learning_rate": 0.9}), parts)
    for tree, part in zip(trees_of(first), parts, strict=True):
        own = plan.model_copy(update={"trees": 1, "learning_rate": 0.3})
        (expected,) = trees_of(on_all_rows(own, [part]))
        assert tree["split_indices"] == expected["split_indices"]
        assert np.allclose(tree["base_weights"], expected["base_weights"], rtol=1e-5)


def test_splits_are_compared_by_their_place(plan, parts):
    own, other = on_all_rows(plan, parts), on_all_rows(plan, parts[:1])
    same, count = same_splits(own, other, 4)
    assert 0 < same < count
    assert same_splits(own, other, 1)[1] < count


def test_parameters_are_those_of_the_plan(plan):
    own = parameters(plan.model_copy(update={"least_rows": 40, "gamma": 2.0}))
    assert (own["min_child_weight"], own["gamma"], own["max_depth"]) == (10.0, 2.0, 2)
    assert own["monotone_constraints"].count("1") == len(plan.monotone) > 0
