"""Groups have enough rows, and their outcomes equal fairlearn's and hand-computed ones."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, count, selection_rate, true_positive_rate
from hypothesis import given, settings
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import Schema
from training.report.fairness import LowestRatio, group_outcomes, outcomes_of, summaries
from training.report.groups import SMALLEST, Groups, audited_groups, missing_columns


def ordinal(name, cuts, maximum=100, **more):
    column = {"name": name, "label": name, "kind": "ordinal", "minimum": 0, "maximum": maximum}
    return column | {"cuts": cuts, "optional": True} | more


def categorical(name, values):
    return {"name": name, "label": name, "kind": "categorical", "values": values, "optional": True}


SCHEMA = Schema.parse(
    {
        "name": "tiny",
        "title": "Tiny",
        "parties": [
            {"name": "a", "label": "A", "columns": [categorical("home", ["own", "rent", "other"])]},
            {
                "name": "b",
                "label": "B",
                "columns": [
                    ordinal("income", [10, 20, 30, 40, 50, 60, 70]),
                    ordinal("Account_age", [5]),
                    ordinal("applicant_age", [20, 30, 45, 60, 70], unit="years"),
                ],
            },
        ],
        "decision": {"target": "bad"},
        "audit": ["home", "income", "applicant_age"],
        "audit_columns": [categorical("sex", ["f", "m"])],
    }
)
LAYOUT = Layout(SCHEMA)


def frame_of(rows, **columns):
    plain = {"home": "own", "income": 5.0, "Account_age": 1.0, "applicant_age": 33.0, "sex": "f"}
    return pd.DataFrame(plain | columns, index=range(rows))


def groups_of(frame, values=None):
    """Return the groups of rows by column; without `values`, by their bits alone."""
    found = audited_groups(LAYOUT, LAYOUT.encode_frame(frame), values)
    return {groups.column: groups for groups in found}


def test_outcomes_of_a_hand_computed_example():
    """60 owners, 48 approved; 50 tenants, 20 approved; 2 with missing values, both approved."""
    home = ["own"] * 60 + ["rent"] * 50 + [None] * 2
    y = np.array([1] * 45 + [0] * 15 + [1] * 30 + [0] * 20 + [0, 0], np.int8)
    scores = np.array([3] * 48 + [-1] * 12 + [3] * 20 + [-1] * 30 + [3] * 2)
    frame = frame_of(112, home=home)
    outcomes = group_outcomes(LAYOUT, LAYOUT.encode_frame(frame), y, scores, frame)
    own, rent, missing = outcomes["home"]
    assert (own["group"], own["rows"], own["few"], own["reference"]) == ("own", 60, False, True)
    assert own["approved_in_data"] == pytest.approx(0.75)
    assert own["approved_by_model"] == pytest.approx(0.8)
    assert (own["missed"], own["impact_ratio"]) == (0, 1)
    assert rent["approved_by_model"] == pytest.approx(0.4)
    assert rent["missed"] == pytest.approx(10 / 30)
    assert rent["impact_ratio"] == pytest.approx(0.5)
    assert rent["mean_difference"] == pytest.approx((0.6 - 2.2) / scores.std())
    assert rent["opportunity_difference"] == pytest.approx(20 / 30 - 1)
    low, high = rent["intervals"]["impact_ratio"]
    spread = np.sqrt(0.2 / 0.8 / 60 + 0.6 / 0.4 / 50)  # of the logarithm, by the delta method
    assert low == pytest.approx(0.5 * np.exp(-1.96 * spread), abs=0.04)
    assert high == pytest.approx(0.5 * np.exp(1.96 * spread), abs=0.05)
    assert (missing["group"], missing["rows"], missing["few"]) == ("missing", 2, True)
    assert missing["missed"] is missing["impact_ratio"] is None  # no good rows; too few rows
    (only,) = outcomes["income"]
    assert only["group"] == "all values" and only["reference"]


@pytest.fixture(scope="module")
def drawn():
    """Groups, outcomes and scores of 900 rows; the third group is approved less often."""
    generator = np.random.default_rng(2)
    members = generator.choice(4, 900, p=[0.5, 0.3, 0.18, 0.02])
    y = (generator.random(900) < 0.6).astype(np.int8)
    scores = generator.integers(-20, 30, 900) + 10 * y - 12 * (members == 2)
    return Groups("g", "G", ("a", "b", "c", "d"), members), y, scores


def test_outcomes_equal_those_of_fairlearn(drawn):
    groups, y, scores = drawn
    approved = (scores >= 0).astype(int)
    metrics = {"count": count, "rate": selection_rate, "tpr": true_positive_rate}
    arguments = {"y_true": y, "y_pred": approved, "sensitive_features": groups.members}
    expected = MetricFrame(metrics=metrics, **arguments).by_group
    entries = outcomes_of(groups, y, scores)
    assert [e["rows"] for e in entries] == expected["count"].tolist()
    assert [e["approved_by_model"] for e in entries] == pytest.approx(expected["rate"].tolist())
    assert [1 - e["missed"] for e in entries] == pytest.approx(expected["tpr"].tolist())
    large = expected["rate"][:3]
    assert [e["impact_ratio"] for e in entries[:3]] == pytest.approx((large / max(large)).tolist())
    assert entries[3]["few"] and entries[3]["impact_ratio"] is None
    lowest = min(e["impact_ratio"] for e in entries[:3])
    found = summaries([groups], y, approved == 1)["g"]
    assert found["demographic_parity_ratio"] == pytest.approx(lowest)
    assert LowestRatio([groups], approved == 1).value() == pytest.approx(lowest)


def test_intervals_repeat_and_narrow_with_more_rows(drawn):
    groups, y, scores = drawn
    groups = Groups("g", "G", ("a", "b", "c"), groups.members % 3)
    first = outcomes_of(groups, y, scores)
    assert first == outcomes_of(groups, y, scores)
    many = Groups("g", "G", groups.names, np.tile(groups.members, 9))
    more = outcomes_of(many, np.tile(y, 9), np.tile(scores, 9))
    for key in ("impact_ratio", "mean_difference", "opportunity_difference"):
        assert first[2][key] == pytest.approx(more[2][key])
        wide, narrow = (np.diff(e[2]["intervals"][key])[0] for e in (first, more))
        assert narrow == pytest.approx(wide / 3, rel=0.25)


def test_nothing_is_compared_if_nobody_is_approved(drawn):
    groups, y, scores = drawn
    entries = outcomes_of(groups, y, scores - 1000)
    assert all(e["approved_by_model"] == 0 and e["impact_ratio"] is None for e in entries)
    assert LowestRatio([groups], scores > 1000).estimate() is None


def test_ages_are_in_bands_that_start_at_62_for_the_elderly():
    ages = np.repeat([19, 24, 25, 39, 50, 61, 62, 90], 30)
    frame = frame_of(240, applicant_age=ages.astype(float))
    names = ("under 25 years", "25 to under 40 years", "40 to under 62 years", "62 years and over")
    banded = groups_of(frame, frame)["applicant_age"]
    assert banded.names == names and banded.sizes.tolist() == [60] * 4
    binned = groups_of(frame)["applicant_age"]  # without values: the nearest public cuts
    assert binned.names[-1] == "60 years and over" and binned.sizes[-1] == 90


def test_audit_only_columns_need_their_values():
    frame = frame_of(80, sex=["f"] * 35 + ["m"] * 40 + [None] * 5)
    sex = groups_of(frame, frame)["sex"]
    assert sex.names == ("f", "m", "missing") and sex.large.tolist() == [True, True, False]
    assert "sex" not in groups_of(frame) and missing_columns(SCHEMA, None) == ["sex"]
    assert missing_columns(SCHEMA, frame) == []


def test_rare_categories_are_joined():
    frame = frame_of(100, home=["own"] * 50 + ["rent"] * 20 + ["other"] * 25 + [None] * 5)
    home = groups_of(frame)["home"]
    assert home.names == ("own", "joined: rent, other, missing")
    assert home.sizes.tolist() == [50, 50]


@given(st.lists(st.none() | st.integers(0, 100), min_size=1, max_size=300), st.booleans())
@settings(max_examples=30, deadline=None)
def test_every_row_is_in_one_group_and_every_band_has_enough_rows(values, known):
    numbers = [np.nan if v is None else float(v) for v in values]
    frame = frame_of(len(values), income=numbers, applicant_age=numbers)
    found = groups_of(frame, frame if known else None)
    for name in ("income", "applicant_age"):
        groups = found[name]
        assert groups.sizes.sum() == len(values) and (groups.sizes > 0).all()
        bands = [s for n, s in zip(groups.names, groups.sizes, strict=True) if n != "missing"]
        assert len(bands) <= 1 or min(bands) >= SMALLEST
        assert ("missing" in groups.names) == (None in values)
