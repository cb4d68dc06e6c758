"""The plan: what it refuses, and its digest."""

import json

import pytest

from contract.trainings import LARGEST_TRAINING_MESSAGE
from federated.aggregation.upload import LARGEST_UPLOAD
from federated.boosting.scores import LENGTH
from federated.plan import SCORE_NUMBERS, Plan
from federated.protocol.messages import Uploaded, encode
from tests.federated.boosting.data import plan_of
from utils.errors import PlanInvalid


def test_equal_plans_have_equal_digests():
    plan = plan_of(trees=5)
    document = json.loads(plan.model_dump_json())
    document["learning_rate"], document["reg_lambda"] = 0.3, 1
    assert Plan.parse(document).digest() == plan.digest() == plan_of(trees=5).digest()
    others = [plan_of(trees=6), plan_of(trees=5, seed=1), plan_of(False, trees=5)]
    assert len({plan.digest(), *(other.digest() for other in others)}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"trees": 301},
        {"depth": 5},
        {"depth": 0},
        {"learning_rate": 0},
        {"reg_lambda": float("nan")},
        {"gamma": float("inf")},
        {"least_rows": 0},
        {"validation_share": 0.6},
        {"early_stopping": 5, "validation_share": 0},
        {"privacy": {"noise_multiplier": 1, "delta": 1}},
        {"unknown": 1},
        {"schema": {}},
    ],
)
def test_plans_out_of_bounds_are_refused(change):
    document = json.loads(plan_of().model_dump_json())
    Plan.parse(document)
    with pytest.raises(PlanInvalid, match=next(iter(change))):
        Plan.parse(document | change)


def test_a_schema_for_imported_boosters_is_refused():
    document = json.loads(plan_of().model_dump_json())
    document["schema"]["zero_is_missing"] = True
    with pytest.raises(PlanInvalid, match="zero_is_missing"):
        Plan.parse(document)


def test_a_schema_whose_sums_fit_into_no_message_is_refused():
    document = json.loads(plan_of().model_dump_json())
    column = {
        "kind": "categorical",
        "label": "x",
        "default": "v0",
        "values": [f"v{i}" for i in range(64)],
    }
    wide = [{**column, "name": f"wide_{i}"} for i in range(50)]
    document["schema"]["parties"][-1]["columns"] += wide
    Plan.parse(document | {"depth": 3})
    with pytest.raises(PlanInvalid, match="lower the depth"):
        Plan.parse(document | {"depth": 4})


def test_the_largest_upload_fits_into_a_message():
    upload = Uploaded(upload=bytes(LARGEST_UPLOAD))
    assert len(encode(upload)) + 1000 < LARGEST_TRAINING_MESSAGE  # with its seal and signature
    assert SCORE_NUMBERS == LENGTH


def test_monotone_bits_are_the_cuts_of_the_explained_column():
    assert plan_of().monotone == frozenset(range(5))  # not its bit `is missing`
    assert plan_of(monotone=False).monotone == frozenset()


def test_a_node_with_the_least_hessian_has_the_least_rows():
    assert plan_of(least_rows=10).least_hessian == 2.5
    assert plan_of(least_rows=10, min_child_weight=4).least_hessian == 4
