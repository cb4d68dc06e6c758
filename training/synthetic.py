"""Synthetic credit applicants, because the real data sets may not be redistributed.

Only the marginals match the public "Credit Card Approval Prediction" data; the tables below list
them. Occupation shares (other than "none given") are merely plausible. The dependencies are the
obvious ones: pensioners are old and not employed; a household consists of the applicant, the
partner and the children; income rises with education; employment begins at age 18 or later.

The label is drawn from a logistic model of additive parts and a few strong interactions, each
between columns of two parties (see `_score`). More years of employment never make approval less
likely, all else being equal. No real decisions were used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.distributions import Floats, quantile, ranks, require_size, steps

Labels = NDArray[np.object_]

TARGET = "Denied"
WORKING_AGE = 18.0

# Percentile -> value; the ends (0 and 100) are assumptions.
INCOME_PERCENTILES = {
    0: 27_000, 1: 54_000, 5: 72_000, 25: 121_000, 50: 157_000, 75: 225_000, 95: 360_000,
    99: 540_000, 100: 1_350_000,
}  # fmt: skip
AGE_PERCENTILES = {
    0: 21.0, 1: 23.9, 5: 27.0, 25: 34.1, 50: 42.9, 75: 53.5, 95: 63.0, 99: 66.2, 100: 69.0,
}  # fmt: skip
YEARS_EMPLOYED_PERCENTILES = {  # of those who are employed
    0: 0.05, 5: 0.6, 25: 2.7, 50: 5.5, 75: 9.6, 95: 20.5, 99: 30.3, 100: 43.0,
}  # fmt: skip
ACCOUNT_AGE_PERCENTILES = {0: 0, 25: 12, 50: 25, 75: 40, 90: 51, 100: 61}  # months, then floored

# Age bands; then, for each category, its share and its relative weight in each band.
AGE_BANDS = (30.0, 43.0, 55.0)
EDUCATION = {
    "Secondary / secondary special": (0.683, (1.0, 1.0, 1.2, 1.4)),
    "Higher education": (0.266, (1.1, 1.2, 1.0, 0.8)),
    "Incomplete higher": (0.040, (5.0, 1.5, 0.7, 0.3)),
    "Lower secondary": (0.010, (0.6, 0.8, 1.0, 2.0)),
    "Academic degree": (0.001, (0.2, 1.0, 1.0, 1.0)),
}
FAMILY = {
    "Married": (0.688, (0.7, 1.0, 1.0, 1.0)),
    "Single / not married": (0.133, (2.6, 1.0, 0.6, 0.4)),
    "Civil marriage": (0.080, (1.3, 1.1, 0.9, 0.6)),
    "Separated": (0.057, (0.4, 1.0, 1.3, 1.0)),
    "Widow": (0.042, (0.02, 0.2, 1.0, 4.0)),
}
HOUSING = {
    "House / apartment": (0.892, (0.7, 1.0, 1.2, 1.4)),
    "With parents": (0.050, (3.0, 1.0, 0.3, 0.1)),
    "Municipal apartment": (0.031, (0.9, 1.0, 1.0, 1.0)),
    "Rented apartment": (0.016, (2.0, 1.2, 0.7, 0.4)),
    "Office apartment": (0.007, (1.0, 1.0, 1.0, 0.8)),
    "Co-op apartment": (0.004, (1.2, 1.0, 0.8, 0.6)),
}
# By age band, first without and then with a partner.
CHILDREN = {
    0: (0.696, (4.0, 1.1, 2.6, 25.0, 1.0, 0.42, 1.5, 20.0)),
    1: (0.200, (1.0,) * 8),
    2: (0.090, (0.3, 0.5, 0.5, 0.5, 0.7, 1.2, 0.9, 0.4)),
    3: (0.012, (0.1, 0.4, 0.4, 0.4, 0.6, 1.2, 0.9, 0.3)),
    4: (0.002, (0.1, 0.4, 0.4, 0.4, 0.6, 1.2, 0.9, 0.3)),
}
NOT_PENSIONER = {"Working": 0.6215, "Commercial associate": 0.2810, "State servant": 0.0975}
PENSIONER_BY_AGE = {40: 0.0, 46: 0.01, 50: 0.05, 54: 0.2, 57: 0.53, 60: 0.72, 64: 0.85, 69: 0.93}

# Share among those with an occupation, and its weight by low, middle and high education.
OCCUPATION = {
    "Laborers": (0.254, (1.4, 0.8, 0.4)),
    "Core staff": (0.141, (0.8, 1.1, 1.4)),
    "Sales staff": (0.135, (1.2, 1.1, 0.7)),
    "Managers": (0.120, (0.6, 1.2, 1.9)),
    "Drivers": (0.087, (1.4, 0.7, 0.35)),
    "High skill tech staff": (0.055, (0.8, 1.2, 1.4)),
    "Accountants": (0.049, (0.5, 0.9, 2.1)),
    "Medicine staff": (0.048, (1.0, 0.5, 1.0)),
    "Cooking staff": (0.026, (1.4, 0.7, 0.3)),
    "Security staff": (0.023, (1.3, 0.8, 0.5)),
    "Cleaning staff": (0.022, (1.5, 0.4, 0.2)),
    "Private service staff": (0.013, (0.9, 1.2, 1.2)),
    "Low-skill Laborers": (0.007, (1.6, 0.3, 0.1)),
    "Waiters/barmen staff": (0.007, (1.2, 1.4, 0.4)),
    "Secretaries": (0.006, (0.8, 1.2, 1.4)),
    "HR staff": (0.003, (0.4, 1.0, 2.3)),
    "Realty agents": (0.002, (0.7, 1.4, 1.6)),
    "IT staff": (0.002, (0.5, 1.6, 2.0)),
}
EDUCATION_LEVEL = {
    "Lower secondary": 0,
    "Secondary / secondary special": 0,
    "Incomplete higher": 1,
    "Higher education": 2,
    "Academic degree": 2,
}
EDUCATION_EFFECT = {  # on the log odds of approval
    "Lower secondary": -0.25,
    "Secondary / secondary special": 0.0,
    "Incomplete higher": 0.17,
    "Higher education": 0.35,
    "Academic degree": 0.35,
}
OCCUPATION_GIVEN = 0.832  # of applicants who are not pensioners: 69 % of all


def draw(rows: int, seed: int) -> pd.DataFrame:
    """Return `rows` applicants with all columns of the default schema, and `Denied` (1 or 0).

    The same rows and seed give the same frame. Synthetic data is not secret, so NumPy's generator
    is sufficient. Raises TrainingDataInvalid.
    """
    require_size(rows, seed)
    rng = np.random.default_rng(seed)
    frame = _applicants(rng, rows)
    approval = 1.0 / (1.0 + np.exp(-_score(frame)))
    frame[TARGET] = (rng.random(rows) >= approval).astype(np.int64)
    return frame


def _pick(
    rng: np.random.Generator,
    groups: NDArray[np.int64],
    group_shares: Floats,
    categories: Mapping[Any, tuple[float, Sequence[float]]],
) -> Labels:
    """Draw a category for every row, by its group's weights and with the given overall shares.

    Iterative proportional fitting finds the joint table with both marginals.
    """
    shares = np.array([share for share, _ in categories.values()])
    joint = np.array([lean for _, lean in categories.values()]).T * shares
    for _ in range(100):
        joint *= (group_shares / joint.sum(axis=1))[:, None]
        joint *= shares / shares.sum() / joint.sum(axis=0)
    limits = np.cumsum(joint / joint.sum(axis=1, keepdims=True), axis=1)
    chosen = (rng.random(len(groups))[:, None] >= limits[groups, :-1]).sum(axis=1)
    return np.array(list(categories), dtype=object)[chosen]


def _applicants(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    age = np.round(quantile(AGE_PERCENTILES, rng.random(rows)), 1)
    band = np.digitize(age, AGE_BANDS)
    band_shares = _age_band_shares()

    pensioner = rng.random(rows) < np.interp(
        age, list(PENSIONER_BY_AGE), list(PENSIONER_BY_AGE.values()), left=0.0
    )
    employed = rng.random(rows) < np.where(pensioner, 0.01, 0.997)
    income_type = rng.choice(list(NOT_PENSIONER), rows, p=list(NOT_PENSIONER.values()))
    income_type = np.where(pensioner, "Pensioner", income_type).astype(object)
    income_type[(age < 26.0) & (rng.random(rows) < 0.01)] = "Student"

    education = _pick(rng, band, band_shares, EDUCATION)
    level = pd.Series(education).map(EDUCATION_LEVEL).to_numpy(np.int64)
    occupation = _pick(rng, level, np.array([0.693, 0.040, 0.267]), OCCUPATION)
    occupation[pensioner | (rng.random(rows) >= OCCUPATION_GIVEN)] = None

    family = _pick(rng, band, band_shares, FAMILY)
    partner = np.isin(family, ["Married", "Civil marriage"])
    with_partner = np.array([0.62, 0.80, 0.81, 0.75])  # by band, as drawn from FAMILY
    shares = np.concatenate([band_shares * (1.0 - with_partner), band_shares * with_partner])
    children = _pick(rng, band + 4 * partner, shares, CHILDREN).astype(np.int64)

    income_latent = rng.normal(size=rows) + 0.45 * level - 0.3 * pensioner
    income_latent += -0.8 * (income_type == "Student") + 0.5 * (occupation == "Managers")
    income_latent += 0.25 * (income_type == "Commercial associate")
    income_rank = ranks(income_latent)
    income = np.exp(quantile({p: np.log(v) for p, v in INCOME_PERCENTILES.items()}, income_rank))

    return pd.DataFrame(
        {
            "Own_car": rng.random(rows) < 0.22 + 0.11 * partner + 0.15 * income_rank,
            "Own_property": rng.random(rows) < np.array([0.58, 0.65, 0.69, 0.74])[band],
            "Mobile_phone": rng.random(rows) < 0.97,
            "Num_children": children,
            "Household_size": 1 + children + partner,
            "Total_income": np.round(income, -2),
            "Age": age,
            "Income_type": income_type,
            "Education_type": education,
            "Family_status": family,
            "Occupation_type": occupation,
            "Housing_type": _pick(rng, band, band_shares, HOUSING),
            "Account_age": quantile(ACCOUNT_AGE_PERCENTILES, rng.random(rows)).astype(np.int64),
            "Employed": employed,
            "Years_employed": _years_employed(rng, age, employed),
        }
    )


def _age_band_shares() -> Floats:
    limits = np.interp(AGE_BANDS, list(AGE_PERCENTILES.values()), list(AGE_PERCENTILES))
    return np.diff(np.concatenate([[0.0], limits, [100.0]])) / 100.0


def _years_employed(rng: np.random.Generator, age: Floats, employed: NDArray[np.bool_]) -> Floats:
    """Return years in the current employment: they rise with age and start at working age."""
    result = np.zeros(len(age))
    limit = age[employed] - WORKING_AGE
    latent = rng.normal(size=len(limit)) + 0.035 * limit
    years = quantile(YEARS_EMPLOYED_PERCENTILES, ranks(latent))
    # Rows with too many years swap with rows where both values fit, to keep the marginal.
    for _ in range(50):
        for row in np.flatnonzero(years > limit):
            other = rng.integers(len(years))
            if years[other] <= limit[row] and years[row] <= limit[other]:
                years[[row, other]] = years[[other, row]]
    result[employed] = np.round(np.minimum(years, limit), 1)
    return result


def _score(frame: pd.DataFrame) -> Floats:
    """Return the log-odds of approval; every step is at a public cut point of the default schema.

    Five pairs of columns interact, each between two parties: a long employment compensates for a
    low income (applicant x agency) and for a young account (bank x agency); the account's age
    matters more for the young, for those without property (applicant x bank) and for the employed
    (bank x agency). There are few pairs because each one in a model costs encrypted table lookups.
    More years, a higher income or an older account never lower the score. Family, children,
    household, phone, housing and occupation have no effect of their own.
    """
    account = steps(frame["Account_age"], (12, 30), (-1.0, 0.0, 1.0))
    income = frame["Total_income"]
    years = frame["Years_employed"]
    short_employment = steps(years, (2, 5, 11), (1.0, 0.5, 0.2, 0.0))

    additive = (
        0.33
        + 0.20 * frame["Own_car"]
        + 1.45 * (frame["Income_type"] == "Pensioner")  # an income that needs no employment
        + frame["Education_type"].map(EDUCATION_EFFECT)
        + steps(income, (80e3, 120e3, 160e3, 200e3, 300e3), (-0.32, -0.16, 0, 0.16, 0.32, 0.4))
        + steps(years, (2, 5, 8, 11, 18), (0, 0.05, 0.1, 0.15, 0.2, 0.25))
    )
    between_parties = (
        -2.0 * (income < 160e3) * short_employment
        - 0.5 * (account < 0) * short_employment
        + 1.50 * (frame["Age"] < 40) * account
        + 0.50 * ~frame["Own_property"] * account
        + 0.35 * frame["Employed"] * account
    )
    return (additive + between_parties).to_numpy(np.float64)
