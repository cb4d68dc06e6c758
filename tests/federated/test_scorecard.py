"""The Fineract scorecard's body as a record, and the response in its words."""

from __future__ import annotations

import math

import pytest

from features.encoding import Layout
from features.schema import Schema
from federated.scorecard import (
    FIELDS,
    JOBS,
    SCHEMA,
    prediction_of_decision,
    prediction_of_margin,
    record_of,
)
from settings import ROOT
from utils.errors import InvalidRequest

LAYOUT = Layout(Schema.load(ROOT / "features" / f"{SCHEMA}.json"))
BODY = {
    "age": 22,
    "sex": "female",
    "job": 2,
    "housing": "own",
    "credit": 5951,
    "duration": 48,
    "purpose": "radio/TV",
}


def with_field(name, value):
    return record_of(BODY | {name: value}, LAYOUT)


def test_a_body_that_breaks_a_rule_is_refused_in_the_words_of_the_rule() -> None:
    rule = {
        "name": "owners_are_grown_up",
        "never": [{"column": "housing", "one_of": ["own"]}, {"column": "age", "below": 20}],
        "text": "Nobody below 20 owns a home.",
    }
    document = LAYOUT.schema.model_dump(mode="json") | {"rules": [rule]}
    layout = Layout(Schema.parse(document))
    assert record_of(BODY, layout) == record_of(BODY, LAYOUT)
    with pytest.raises(InvalidRequest, match=r"housing, age: Nobody below 20 owns a home\."):
        record_of(BODY | {"age": 19}, layout)


def test_fields_are_the_schemas_columns() -> None:
    assert set(FIELDS) == {code.column.name for code in LAYOUT.codes}
    assert LAYOUT.code("job").state_labels == JOBS


def test_body_becomes_a_record_of_the_schema() -> None:
    record = record_of(BODY, LAYOUT)
    assert record == BODY | {"job": "skilled"}
    amount = {name: value for name, value in BODY.items() if name != "credit"}
    assert record_of(amount | {"credit_amount": 5951}, LAYOUT) == record


@pytest.mark.parametrize(
    ("name", "sent", "read"),
    [
        ("job", 0, "unskilled non-resident"),
        ("job", "3", "highly skilled"),
        ("job", "Unskilled and resident", "unskilled resident"),
        ("sex", "Male", "male"),
        ("sex", None, None),
        ("housing", " RENT ", "rent"),
        ("purpose", "radio/tv", "radio/TV"),
        ("purpose", "car", "car (used)"),
        ("purpose", "vacation/others", "others"),
        ("purpose", "furniture/equipment", "furniture/equipment"),
        ("purpose", "retraining", "retraining"),
    ],
)
def test_words_and_codes_of_the_scorecard_are_read(name, sent, read) -> None:
    assert with_field(name, sent)[name] == read


def test_each_category_is_read_as_itself() -> None:
    for name in ("sex", "job", "housing", "purpose"):
        for value in LAYOUT.code(name).column.values:
            assert with_field(name, value)[name] == value


def test_sex_may_be_absent() -> None:
    body = {name: value for name, value in BODY.items() if name != "sex"}
    assert record_of(body, LAYOUT)["sex"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", "22"),
        ("age", 17),
        ("age", True),
        ("age", 10**400),
        ("credit", math.nan),
        ("credit", math.inf),
        ("duration", 12.5),
        ("job", 4),
        ("job", True),
        ("job", -1),
        ("sex", "missing"),
        ("housing", ["own"]),
        ("housing", None),
        ("purpose", {"is": "car"}),
        ("purpose", "yacht 4711"),
    ],
)
def test_refused_value_is_named_by_its_field_only(name, value) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name}: give ") as refused:
        with_field(name, value)
    assert "4711" not in refused.value.message and refused.value.__cause__ is None


def test_absent_unknown_and_repeated_fields_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^duration: give a whole number"):
        record_of({name: BODY[name] for name in BODY if name != "duration"}, LAYOUT)
    with pytest.raises(InvalidRequest, match=r"^salary: not a field of the scorecard"):
        record_of(BODY | {"salary": 1}, LAYOUT)
    with pytest.raises(InvalidRequest, match=r"^credit is given twice"):
        record_of(BODY | {"credit_amount": 1}, LAYOUT)


@pytest.mark.parametrize(
    ("margin", "probability", "label", "color"),
    [
        (-1000.0, 0.0, "bad", "red"),
        (-1e-9, 0.5, "bad", "red"),
        (0.0, 0.5, "good", "orange"),
        (math.log(0.69 / 0.31), 0.69, "good", "orange"),
        (math.log(0.71 / 0.29), 0.71, "good", "green"),
        (1000.0, 1.0, "good", "green"),
    ],
)
def test_margin_becomes_probability_label_and_colour(margin, probability, label, color) -> None:
    found = prediction_of_margin(margin, 7)
    assert found.probability == pytest.approx(probability)
    assert found.model_dump(exclude={"probability"}) == {
        "label": label,
        "method": "federated",
        "color": color,
        "request_id": 7,
    }


@pytest.mark.parametrize(
    ("approved", "label", "color"), [(True, "good", "green"), (False, "bad", "red")]
)
def test_opened_sign_gives_no_probability(approved, label, color) -> None:
    found = prediction_of_decision(approved, 8)
    assert found.model_dump() == {
        "probability": None,
        "label": label,
        "method": "federated-encrypted",
        "color": color,
        "request_id": 8,
    }
