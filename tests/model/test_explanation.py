"""The explanation: one of four outcomes, and advice only for bins above the applicant's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import Schema
from model.explanation import CAVEAT, Outcome, current_bin, explain_scores
from tests.strategies import QUICK, records, schemas
from utils.errors import ValueOutOfDomain

BINS = (
    "0 to under 2",
    "2 to under 5",
    "5 to under 8",
    "8 to under 11",
    "11 to under 18",
    "18 and more",
)


@pytest.fixture(scope="module")
def optional(schema):
    """Return the shipped schema with both of the agency's columns optional."""
    document = schema.model_dump(mode="json")
    for column in document["parties"][2]["columns"]:
        column["optional"] = True
    return Schema.parse(document)


def with_years(years, employed=True):
    return {"Employed": employed, "Years_employed": years}


def test_an_approved_application_needs_no_change(schema):
    said = explain_scores(schema, with_years(3), True, [-1, 2, 3, 4, 5, 6])
    assert said.outcome is Outcome.ALREADY_APPROVED
    assert said.turning_bin is None
    assert said.text == "The application is already approved; nothing needs to change."


def test_explanation_names_fewest_years_that_change_the_decision(schema):
    said = explain_scores(schema, with_years(3), False, [-9, -5, -1, 0, 3, 9])
    assert said.outcome is Outcome.TURNED
    assert (said.current_bin, said.turning_bin) == (1, 3)
    assert said.text.startswith("With at least 8 years of employment, and all else equal, ")
    assert "likely have approved" in said.text
    assert said.text.endswith(CAVEAT)
    assert said.bins == BINS
    assert said.scores == (-9, -5, -1, 0, 3, 9)


def test_only_higher_bins_are_advised(schema):
    """Fewer years would have been approved here, which is not given as advice."""
    said = explain_scores(schema, with_years(9), False, [5, 5, 5, -1, -2, -3])
    assert said.outcome is Outcome.NOT_TURNED
    assert said.turning_bin is None
    said = explain_scores(schema, with_years(3), False, [5, 5, -5, -1, 2, 3])
    assert said.turning_bin == 4


def test_other_factors_are_named_if_no_bin_changes_the_decision(schema):
    said = explain_scores(schema, with_years(0), False, [-9, -8, -7, -6, -5, -1])
    assert said.outcome is Outcome.NOT_TURNED
    assert said.text == (
        "Even the most years of employment would likely not have changed this decision; other "
        f"factors weigh more. {CAVEAT}"
    )


@pytest.mark.parametrize("years", [18, 80])
def test_last_bin_gets_no_advice(schema, years):
    said = explain_scores(schema, with_years(years), False, [1, 1, 1, 1, 1, -1])
    assert said.outcome is Outcome.AT_MOST
    assert said.turning_bin is None
    assert "already has the most years of employment" in said.text
    assert "(18 and more)" in said.text


def test_without_employment_all_bins_are_advised_and_it_is_named(schema):
    said = explain_scores(schema, with_years(0, employed=False), False, [-3, 1, 2, 3, 4, 5])
    assert (said.outcome, said.current_bin, said.turning_bin) == (Outcome.TURNED, -1, 1)
    assert said.text.startswith("With at least 2 years of employment (being employed), and all")
    said = explain_scores(schema, with_years(0, employed=False), False, [0, 1, 2, 3, 4, 5])
    assert said.turning_bin == 0
    assert said.text.startswith("With at least 0 years of employment (being employed), and all")


def test_years_do_not_count_without_employment(schema):
    said = explain_scores(schema, with_years(30, employed=False), False, [-1] * 6)
    assert said.outcome is Outcome.NOT_TURNED
    assert said.current_bin == -1


def test_missing_value_lies_below_every_bin(optional):
    said = explain_scores(optional, {"Employed": True}, False, [3, 4, 5, 6, 7, 8])
    assert (said.current_bin, said.turning_bin) == (-1, 0)
    assert "being employed" not in said.text
    assert said.text.startswith("With at least 0 years of employment, and all else equal")
    said = explain_scores(optional, with_years(9, employed=None), False, [-3, 4, 5, 6, 7, 8])
    assert said.current_bin == -1
    assert "2 years of employment (being employed)" in said.text


def test_negated_assumption_is_named(schema):
    document = schema.model_dump(mode="json")
    document["explanation"]["assume"] = {"Employed": False}
    other = Schema.parse(document)
    said = explain_scores(other, with_years(1), False, [-1, 2, 2, 2, 2, 2])
    assert said.current_bin == -1
    assert "2 years of employment (not being employed)" in said.text
    said = explain_scores(other, with_years(1, employed=False), False, [-1, 2, 2, 2, 2, 2])
    assert said.current_bin == 0
    assert "being employed" not in said.text


def test_rerun_scores_belong_to_the_highest_bins(schema):
    """Three scores belong to the three highest bins."""
    said = explain_scores(schema, with_years(6), False, [-2, -1, 4])
    assert said.bins == BINS[3:]
    assert (said.current_bin, said.turning_bin) == (2, 5)
    assert said.text.startswith("With at least 18 years")
    said = explain_scores(schema, with_years(6), False, [-2, -1, -4])
    assert said.outcome is Outcome.NOT_TURNED
    said = explain_scores(schema, with_years(40), False, [])
    assert (said.outcome, said.bins, said.scores) == (Outcome.AT_MOST, (), ())


def test_explanation_uses_the_schemas_words(schema):
    document = schema.model_dump(mode="json")
    document["decision"] |= {"approved": "granted"}
    document["explanation"] |= {"phrase": "months with the bank", "column": "Account_age"}
    document["explanation"]["assume"] = {}
    other = Schema.parse(document)
    said = explain_scores(other, {"Account_age": 4}, False, [-1] * 5 + [1] * 7)
    assert said.text.startswith("With at least 18 months with the bank, and all else equal")
    assert "have granted the application" in said.text


@pytest.mark.parametrize("record", [{}, with_years(None), with_years(-1), with_years(5, "yes")])
def test_a_record_out_of_its_domain_is_a_typed_error(schema, record):
    with pytest.raises(ValueOutOfDomain):
        current_bin(schema, record)


@QUICK
@given(st.data())
def test_outcome_follows_from_the_scores_for_any_schema(data):
    schema = data.draw(schemas())
    record = data.draw(records(schema))
    column = schema.explained_column
    own = current_bin(schema, record)
    bins = len(column.cuts) + 1
    scores = data.draw(st.lists(st.integers(-5, 5), min_size=bins, max_size=bins))
    said = explain_scores(schema, record, False, scores)
    above = [b for b in range(own + 1, bins) if scores[b] >= 0]
    assert said.turning_bin == (above[0] if above else None)
    assert (said.outcome is Outcome.TURNED) == bool(above)
    assert (said.outcome is Outcome.AT_MOST) == (own == bins - 1)
    value = record[column.name]
    if own >= 0:
        assert column.bin_floor(own) <= value
        assert own == bins - 1 or value < column.bin_floor(own + 1)
    fewer = scores[own + 1 :]  # an engine that reruns opens the bins above only
    again = explain_scores(schema, record, False, fewer)
    assert (again.outcome, again.turning_bin) == (said.outcome, said.turning_bin)
    assert again.text == said.text
