"""The synthetic applicants: marginals, dependences, and a label that needs interactions."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from xgboost import XGBClassifier

from features.encoding import Layout
from features.schema import CategoricalColumn, OrdinalColumn, Schema
from training.data import split
from training.synthetic import _score, draw
from utils.errors import TrainingDataInvalid

SCHEMA = Schema.load(Path(__file__).parents[2] / "features" / "credit_card.json")
COUPLES = ("Married", "Civil marriage")


@pytest.fixture(scope="module")
def applicants() -> pd.DataFrame:
    return draw(24_000, 20)


def shares(series: pd.Series) -> dict[object, float]:
    """Return the percentage of every value, with None for missing."""
    counts = series.astype(object).where(series.notna(), "none given").value_counts(normalize=True)
    return (100 * counts).to_dict()


def test_columns_are_those_of_the_schema_and_the_target(applicants: pd.DataFrame) -> None:
    names = [column.name for column in SCHEMA.columns()]
    assert sorted(applicants.columns) == sorted([*names, SCHEMA.decision.target])
    assert set(applicants["Denied"]) == {0, 1}
    assert applicants["Denied"].dtype == np.int64
    for name in ("Own_car", "Own_property", "Mobile_phone", "Employed"):
        assert applicants[name].dtype == bool


@pytest.mark.parametrize(
    ("column", "targets"),
    [
        (
            "Total_income",
            {1: 54e3, 5: 72e3, 25: 121e3, 50: 157e3, 75: 225e3, 95: 360e3, 99: 540e3},
        ),
        ("Age", {1: 23.9, 5: 27.0, 25: 34.1, 50: 42.9, 75: 53.5, 95: 63.0, 99: 66.2}),
        ("Years_employed", {5: 0.6, 25: 2.7, 50: 5.5, 75: 9.6, 95: 20.5, 99: 30.3}),
    ],
)
def test_percentiles_match_their_targets(
    applicants: pd.DataFrame, column: str, targets: dict[int, float]
) -> None:
    rows = applicants[applicants["Employed"]] if column == "Years_employed" else applicants
    measured = np.percentile(rows[column], list(targets))
    assert measured == pytest.approx(list(targets.values()), rel=0.03)


@pytest.mark.parametrize(
    ("column", "targets"),
    [
        ("Own_car", {True: 38}),
        ("Own_property", {True: 67}),
        ("Employed", {False: 17}),
        ("Num_children", {0: 69.6, 1: 20.0, 2: 9.0, 3: 1.2}),
        ("Household_size", {1: 19, 2: 54, 3: 17, 4: 8.6, 5: 1.1}),
        (
            "Income_type",
            {
                "Working": 51.6,
                "Commercial associate": 23.3,
                "Pensioner": 17.0,
                "State servant": 8.1,
                "Student": 0.05,
            },
        ),
        (
            "Education_type",
            {
                "Secondary / secondary special": 68.3,
                "Higher education": 26.6,
                "Incomplete higher": 4.0,
                "Lower secondary": 1.0,
                "Academic degree": 0.1,
            },
        ),
        (
            "Family_status",
            {
                "Married": 68.8,
                "Single / not married": 13.3,
                "Civil marriage": 8.0,
                "Separated": 5.7,
                "Widow": 4.2,
            },
        ),
        (
            "Housing_type",
            {
                "House / apartment": 89.3,
                "With parents": 5.0,
                "Municipal apartment": 3.1,
                "Rented apartment": 1.6,
                "Office apartment": 0.7,
                "Co-op apartment": 0.4,
            },
        ),
        ("Occupation_type", {"none given": 31}),
    ],
)
def test_shares_match_their_targets(
    applicants: pd.DataFrame, column: str, targets: dict[object, float]
) -> None:
    measured = shares(applicants[column])
    for value, target in targets.items():
        # Within 1.3 points for the frequent, and within the sampling error for the rare.
        assert measured[value] == pytest.approx(target, abs=min(1.3, 0.1 + 0.15 * target)), value


def test_pensioners_are_old_and_not_employed(applicants: pd.DataFrame) -> None:
    pensioner = applicants["Income_type"] == "Pensioner"
    assert applicants["Age"][pensioner].quantile(0.05) > 50
    assert applicants["Employed"][pensioner].mean() < 0.03
    assert applicants["Employed"][~pensioner].mean() > 0.98
    assert applicants["Occupation_type"][pensioner].isna().all()


def test_income_and_occupation_follow_education(applicants: pd.DataFrame) -> None:
    income = applicants.groupby("Education_type")["Total_income"].median()
    assert income["Higher education"] > 1.3 * income["Secondary / secondary special"]
    assert income["Secondary / secondary special"] > 0.99 * income["Lower secondary"]
    higher = applicants["Education_type"] == "Higher education"
    laborers = applicants["Occupation_type"] == "Laborers"
    assert laborers[higher].mean() < 0.6 * laborers[~higher].mean()
    assert applicants["Occupation_type"].value_counts().index[0] == "Laborers"


def test_years_employed_grow_with_age(applicants: pd.DataFrame) -> None:
    employed = applicants[applicants["Employed"]]
    by_age = employed.groupby(pd.cut(employed["Age"], [0, 30, 40, 50, 80]), observed=True)
    assert by_age["Years_employed"].mean().is_monotonic_increasing


def test_account_ages_thin_out_towards_sixty_months(applicants: pd.DataFrame) -> None:
    years = np.bincount(applicants["Account_age"] // 12, minlength=6)[:5]
    assert years.min() > 0.5 * years.max()
    assert years[0] > years[4]


def test_approval_rate_is_near_sixty_per_cent(applicants: pd.DataFrame) -> None:
    assert 58 <= 100 * (applicants["Denied"] == 0).mean() <= 62


def test_groups_have_similar_approval_rates(applicants: pd.DataFrame) -> None:
    approved = applicants["Denied"] == 0
    for groups in (
        pd.cut(applicants["Age"], [0, 25, 30, 40, 50, 60, 120]),
        applicants["Family_status"],
    ):
        rates = approved.groupby(groups, observed=True).mean()
        assert rates.max() - rates.min() < 0.12


def test_more_years_never_make_approval_less_likely(applicants: pd.DataFrame) -> None:
    rows = applicants.head(4000).assign(Employed=True)
    scores = np.array([_score(rows.assign(Years_employed=y)) for y in (0.0, 2, 5, 8, 11, 18)])
    assert (np.diff(scores, axis=0) > 0).all()
    # For some rows the effect is small, for others it changes the odds considerably.
    gain = scores[-1] - scores[0]
    assert gain.min() < 0.5
    assert (gain > 2.0).mean() > 0.3


def test_same_seed_gives_the_same_rows() -> None:
    pd.testing.assert_frame_equal(draw(300, 5), draw(300, 5))
    assert not draw(300, 5).equals(draw(300, 6))


@pytest.mark.parametrize(("rows", "seed"), [(0, 1), (-3, 1), (10, -1)])
def test_impossible_sizes_are_refused(rows: int, seed: int) -> None:
    with pytest.raises(TrainingDataInvalid, match=re.escape(f"not {rows} and {seed}")):
        draw(rows, seed)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 200), seed=st.integers(0, 2**32))
def test_rows_are_consistent_and_within_the_schema(rows: int, seed: int) -> None:
    frame = draw(rows, seed)
    assert len(frame) == rows
    partner = frame["Family_status"].isin(COUPLES)
    assert (frame["Household_size"] >= 1 + frame["Num_children"] + partner).all()
    assert (frame["Years_employed"] <= frame["Age"] - 18 + 1e-6).all()
    assert (frame["Years_employed"][~frame["Employed"]] == 0).all()
    for column in SCHEMA.columns():
        values = frame[column.name]
        if isinstance(column, OrdinalColumn):
            assert values.between(column.minimum, column.maximum).all(), column.name
        elif isinstance(column, CategoricalColumn):
            given_values = values.dropna() if column.optional else values
            assert set(given_values) <= set(column.values), column.name
    bits = Layout(SCHEMA).encode_frame(frame)  # raises for any value outside its domain
    assert bits.shape[0] == rows


def test_the_label_needs_interactions_but_only_pairs(applicants: pd.DataFrame) -> None:
    parts = split(applicants, (1 - applicants["Denied"]).to_numpy(np.int8), 20)
    layout = Layout(SCHEMA)
    train = layout.encode_frame(parts.train.frame)
    # Both held-out parts together, because the differences are small.
    held_out = layout.encode_frame(pd.concat([parts.validation.frame, parts.test.frame]))
    outcome = np.concatenate([parts.validation.y, parts.test.y])

    # One thread: several wait for each other for seconds if the cores are busy.
    def auc(trees: int, depth: int, rate: float) -> float:
        model = XGBClassifier(
            n_estimators=trees, max_depth=depth, learning_rate=rate, tree_method="hist", n_jobs=1
        )
        model.fit(train, parts.train.y)
        return float(roc_auc_score(outcome, model.predict_proba(held_out)[:, 1]))

    reference = auc(100, 3, 0.2)
    assert 0.79 <= reference <= 0.81
    assert reference - auc(250, 1, 0.3) >= 0.02
    assert reference - auc(100, 2, 0.2) <= 0.003
