"""Synthetic loans with the columns of features/german_credit.json, for several regions.

All rows are invented. Only marginals and the direction of effects resemble the South German Credit
data (UCI data set 573; U. Grömping, 2019): percentiles of age and amount, shares of purposes, jobs
and housing, 70 % good loans; the tables below list them. The amount rises with duration, job level
and purpose, and the young live in free housing more often. Unlike in the data, the sex is missing
in few rows only, and has no effect of its own on the outcome.

The label is drawn from a logistic model of additive parts and two interactions between the parties:
long loans of the young, and large loans of the highly skilled. All else being equal, a higher age
never makes a good loan less likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.distributions import Floats, quantile, ranks, require_size, steps
from utils.errors import TrainingDataInvalid

TARGET = "credit_risk"
"""The label: 1 for a good loan, 0 for a bad one."""

# Percentile -> value.
AGE_PERCENTILES = {0: 19, 5: 22, 10: 23, 25: 27, 50: 33, 75: 42, 90: 52, 95: 60, 99: 67, 100: 75}
AMOUNT_PERCENTILES = {
    0: 250, 1: 430, 5: 710, 10: 930, 25: 1370, 50: 2320, 75: 3970, 90: 7180, 95: 9160, 99: 14200,
    100: 18400,
}  # fmt: skip
DURATION_PERCENTILES = {  # months, then rounded to a usual term
    0: 6, 9: 6, 18: 9, 36: 12, 43: 15, 55: 18, 59: 21, 77: 24, 83: 30, 91: 36, 97: 48, 100: 60,
}  # fmt: skip
TERMS = (6, 9, 10, 12, 15, 18, 21, 24, 30, 36, 42, 48, 60)

JOB = {
    "unskilled non-resident": 0.022,
    "unskilled resident": 0.200,
    "skilled": 0.630,
    "highly skilled": 0.148,
}
HOUSING = {"free": 0.179, "own": 0.107, "rent": 0.714}
SEX = {"female": 0.33, "male": 0.64, None: 0.03}
PURPOSE = {  # the data has no row of education
    "business": 0.030,
    "car (new)": 0.103,
    "car (used)": 0.180,
    "domestic appliances": 0.022,
    "education": 0.020,
    "furniture/equipment": 0.270,
    "others": 0.190,
    "radio/TV": 0.030,
    "repairs": 0.050,
    "retraining": 0.090,
    "vacation": 0.015,
}
PURPOSE_AMOUNT = {  # on the latent amount, in standard deviations
    "business": 1.2,
    "car (new)": 0.9,
    "retraining": 0.4,
    "furniture/equipment": -0.2,
    "radio/TV": -0.5,
    "vacation": -0.7,
}
PURPOSE_EFFECT = {  # on the log odds of a good loan
    "business": -0.4,
    "car (new)": 0.9,
    "domestic appliances": -0.2,
    "furniture/equipment": 0.5,
    "others": -0.4,
    "repairs": -0.6,
    "vacation": 0.4,
}
JOB_EFFECT = {"unskilled non-resident": -0.2, "unskilled resident": 0.1, "highly skilled": -0.2}
HOUSING_EFFECT = {"free": -0.35, "own": -0.25, "rent": 0.2}


@dataclass(frozen=True)
class Region:
    """The distributions of a region, as shifts of those of region 0.

    `age` and `amount` shift the latent ranks: positive for older applicants and larger amounts.
    `base` is added to the log odds of a good loan, for all loans alike.
    """

    age: float
    amount: float
    base: float
    purposes: Mapping[str, float]
    housing: Mapping[str, float]


def region_of(number: int) -> Region:
    """Return a region's distributions: region 0 has the tables above, each other its own shifts.

    Raises TrainingDataInvalid for a negative number.
    """
    if number < 0:
        raise TrainingDataInvalid(f"The region must be 0 or more, not {number}.")
    if number == 0:
        return Region(0.0, 0.0, 0.0, PURPOSE, HOUSING)
    rng = np.random.default_rng([573, number])
    # Never near 0, so that every region differs from region 0.
    age, amount, base = rng.choice([-1, 1], 3) * rng.uniform([0.2, 0.2, 0.3], [0.6, 0.6, 0.8])
    return Region(
        float(age), float(amount), float(base), _leaning(rng, PURPOSE), _leaning(rng, HOUSING)
    )


def draw(rows: int, seed: int, region: int = 0) -> pd.DataFrame:
    """Return `rows` loans of a region, with the schema's columns and `credit_risk` (1 or 0).

    The same arguments give the same frame. Synthetic data is not secret, so NumPy's generator is
    sufficient. Raises TrainingDataInvalid.
    """
    require_size(rows, seed)
    chosen = region_of(region)
    rng = np.random.default_rng([seed, region])
    frame = _loans(rng, rows, chosen)
    good = 1.0 / (1.0 + np.exp(-(_score(frame) + chosen.base)))
    frame[TARGET] = (rng.random(rows) < good).astype(np.int64)
    return frame


def _leaning(rng: np.random.Generator, shares: Mapping[str, float]) -> dict[str, float]:
    """Return the shares with each category more or less frequent; they add up to 1."""
    changed = np.array(list(shares.values())) * np.exp(rng.normal(0.0, 0.6, len(shares)))
    return dict(zip(shares, (changed / changed.sum()).tolist(), strict=True))


def _shifted(u: Floats, shift: float) -> Floats:
    """Return ranks in [0, 1) that lean to the upper end for a positive shift."""
    return u ** np.exp(-shift)


def _choice(
    rng: np.random.Generator, rows: int, shares: Mapping[Any, float]
) -> NDArray[np.object_]:
    share = np.array(list(shares.values()))
    return np.array(list(shares), dtype=object)[rng.choice(len(share), rows, p=share / share.sum())]


def _loans(rng: np.random.Generator, rows: int, region: Region) -> pd.DataFrame:
    age = quantile(AGE_PERCENTILES, _shifted(rng.random(rows), region.age)).astype(np.int64)
    purpose = pd.Series(_choice(rng, rows, region.purposes))
    level = rng.normal(size=rows)
    amount = rng.normal(size=rows) + 0.35 * level
    amount += purpose.map(PURPOSE_AMOUNT).fillna(0.0).to_numpy(np.float64)
    duration = 0.85 * amount + rng.normal(size=rows)
    job_limits = np.cumsum(list(JOB.values()))[:-1]
    months = quantile(DURATION_PERCENTILES, _shifted(ranks(duration), 0.5 * region.amount))
    log_amount = quantile(
        {p: np.log(v) for p, v in AMOUNT_PERCENTILES.items()},
        _shifted(ranks(amount), region.amount),
    )
    housing = _choice(rng, rows, region.housing)
    housing[(age < 24) & (rng.random(rows) < 0.25)] = "free"
    return pd.DataFrame(
        {
            "age": age,
            "sex": _choice(rng, rows, SEX),
            "job": np.array(list(JOB), dtype=object)[np.digitize(ranks(level), job_limits)],
            "housing": housing,
            "credit": np.round(np.exp(log_amount)).astype(np.int64),
            "purpose": purpose,
            "duration": _nearest_term(months),
        }
    )


def _nearest_term(months: Floats) -> NDArray[np.int64]:
    terms = np.array(TERMS)
    return terms[np.abs(months[:, None] - terms).argmin(axis=1)]


def _score(frame: pd.DataFrame) -> Floats:
    """Return the log odds of a good loan; every step is at a public cut point of the schema."""
    age, months, amount = frame["age"], frame["duration"], frame["credit"]
    additive = (
        0.68
        + steps(age, (25, 33, 45), (-0.55, -0.1, 0.3, 0.4))
        + steps(months, (9, 13, 18, 25, 37), (1.2, 0.5, 0.1, -0.1, -0.6, -0.9))
        + steps(amount, (1250, 4000, 8000), (-0.1, 0.3, -0.2, -0.7))
        + frame["purpose"].map(PURPOSE_EFFECT).fillna(0.0)
        + frame["job"].map(JOB_EFFECT).fillna(0.0)
        + frame["housing"].map(HOUSING_EFFECT)
    )
    between_parties = 0.9 * (frame["job"] == "highly skilled") * (amount >= 4000) - 0.7 * (
        age < 25
    ) * (months >= 18)
    return (additive + between_parties).to_numpy(np.float64)
