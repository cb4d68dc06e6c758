"""A lender agrees only to plans within its own limits."""

import pytest

from features.schema import Schema
from federated.agents.limits import LenderLimits
from federated.plan import Plan
from federated.privacy.parameters import Privacy
from settings import ROOT
from utils.errors import PlanRefused

SCHEMA = Schema.load(ROOT / "features" / "german_credit.json")
OTHER = Schema.load(ROOT / "features" / "credit_card.json")
PLAN = Plan(schema=SCHEMA)


def test_a_plan_within_the_limits_is_accepted():
    LenderLimits().require(PLAN, SCHEMA)
    private = PLAN.model_copy(update={"privacy": Privacy(noise_multiplier=5)})
    LenderLimits(noise=True).require(private, SCHEMA)


@pytest.mark.parametrize(
    ("limits", "schema", "words"),
    [
        (LenderLimits(), OTHER, "another schema"),
        (LenderLimits(least_rows=11), SCHEMA, "at least 11"),
        (LenderLimits(most_trees=59), SCHEMA, "60 trees"),
        (LenderLimits(noise=True), SCHEMA, "adds no noise"),
    ],
)
def test_a_plan_outside_the_limits_is_refused(limits, schema, words):
    with pytest.raises(PlanRefused, match=words):
        limits.require(PLAN, schema)
