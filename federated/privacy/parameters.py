"""The parameters of a run's differential privacy.

The unit of privacy is one row: two data sets are neighbours if one lender has one row more in one
of them, and every other row is the same and on the same side of the validation split.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field

from federated.aggregation.group import LEAST_LENDERS, MOST_LENDERS
from utils.errors import PrivacyInvalid

LEAST_MULTIPLIER, MAXIMUM_MULTIPLIER = 0.1, 10_000.0


class Privacy(BaseModel):
    """How much noise the lenders add to every sum of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    noise_multiplier: float = Field(
        ge=LEAST_MULTIPLIER,
        le=MAXIMUM_MULTIPLIER,
        description="Standard deviation of the noise in a sum, divided by the sum's sensitivity.",
    )
    delta: float = Field(
        default=1e-6,
        ge=1e-15,
        le=1e-3,
        description="Probability of exceeding epsilon; it should be below 1 / (all rows).",
    )


def smallest_roster(lenders: int) -> int:
    """Return the fewest of `lenders` whose sum may be opened: two thirds, and at least 3.

    Raises PrivacyInvalid.
    """
    if not LEAST_LENDERS <= lenders <= MOST_LENDERS:
        raise PrivacyInvalid(f"A run has {LEAST_LENDERS} to {MOST_LENDERS} lenders, not {lenders}.")
    return max(LEAST_LENDERS, math.ceil(2 * lenders / 3))
