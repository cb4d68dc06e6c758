"""A lender's own limits, against which it checks a coordinator's plan before it agrees."""

from __future__ import annotations

from dataclasses import dataclass

from features.schema import Schema
from federated.plan import Plan
from model.booster import MAXIMUM_TREES
from utils.errors import PlanRefused

LEAST_ROWS = 10


@dataclass(frozen=True)
class LenderLimits:
    """Bounds of a plan: its fewest rows of a group, its most trees, and noise if required."""

    least_rows: int = LEAST_ROWS
    most_trees: int = MAXIMUM_TREES
    noise: bool = False

    def require(self, plan: Plan, schema: Schema) -> None:
        """Raise PlanRefused unless the plan is for this schema and within the limits."""
        if plan.schema_.fingerprint() != schema.fingerprint():
            raise PlanRefused(
                "The coordinator's plan is for another schema than this lender's. Compare the "
                "schema files, and join again with the same one."
            )
        if plan.least_rows < self.least_rows:
            raise PlanRefused(
                f"The plan allows groups of {plan.least_rows} rows, and this lender asks for at "
                f"least {self.least_rows}. Agree on one number, then join again."
            )
        if plan.trees > self.most_trees:
            raise PlanRefused(
                f"The plan has {plan.trees} trees, and this lender allows {self.most_trees}. Agree "
                "on one number, then join again."
            )
        if self.noise and plan.privacy is None:
            raise PlanRefused(
                "The plan adds no noise, which this lender requires. Ask the coordinator for a "
                "plan with differential privacy, or start without --require-noise."
            )
