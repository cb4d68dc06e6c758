"""The explanation: an outcome for each varied column, and advice only in the stated direction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.concrete_ml.features import remaining_rows
from features.encoding import Layout
from features.schema import Schema
from model.booster import Ensemble, Leaf, Tree
from model.explanation import CAVEAT, Outcome, current_bin, explain_scores
from model.program import decide_program, explain_program
from model.quantise import quantise
from model.reference import counterfactual_rows
from tests.strategies import QUICK, decide_programs, records, schemas
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
    document["explanation"] |= {"assume": {}, "alternatives": [], "pairs": []}
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


# Alternatives and pairs


def loans():
    """Return a schema with two alternatives of other parties, and a pair of these."""
    number = {"kind": "ordinal", "minimum": 0, "integer": True}
    ratio = {"minimum": 0, "maximum": 1, "integer": False, "cuts": [0.2, 0.4, 0.6]}
    return Schema.parse(
        {
            "name": "loans",
            "title": "Loans",
            "parties": [
                {
                    "name": "applicant",
                    "label": "Applicant",
                    "columns": [
                        number | {"name": "Years", "label": "Years", "maximum": 9, "cuts": [2, 5]},
                        number
                        | {"name": "Income", "label": "I", "maximum": 99, "cuts": [10, 20, 30]},
                    ],
                },
                {
                    "name": "bank",
                    "label": "Bank",
                    "columns": [
                        number
                        | {"name": "Cards", "label": "C", "maximum": 9, "cuts": [1, 2, 4]}
                        | {"optional": True},
                        {"name": "Ratio", "kind": "ordinal", "label": "R"} | ratio,
                    ],
                },
            ],
            "decision": {"target": "Bad"},
            "explanation": {
                "column": "Years",
                "phrase": "years",
                "alternatives": [
                    {"column": "Income", "steps": [10, 30], "phrase": "of income"},
                    {
                        "column": "Cards",
                        "direction": "less",
                        "steps": [1, 2, 4],
                        "phrase": "cards",
                    },
                    {
                        "column": "Ratio",
                        "direction": "less",
                        "steps": [0.2, 0.6],
                        "phrase": "of the income owed",
                    },
                ],
                "pairs": [["Income", "Cards"], ["Years", "Ratio"]],
            },
        }
    )


NO = {"Years": [-1] * 3, "Income": [-1] * 2, "Cards": [-1] * 3, "Ratio": [-1] * 2}
"""Scores of every step of `loans`, none of which turns the decision."""
IN_PAIRS = [-1] * (2 * 3 + 2 * 2)


def told(record, pairs=IN_PAIRS, **scores):
    single = [score for own in (NO | scores).values() for score in own]
    return explain_scores(loans(), record, False, [*single, *pairs])


APPLICANT = {"Years": 3, "Income": 12}
BANK = {"Cards": 3, "Ratio": 0.5}
"""Three cards are in the second of the tried bins `0`, `1`, `2 to under 4`."""


def by_column(said):
    return {varied.column: varied for varied in said.others}


def test_the_nearest_change_is_first_and_every_column_has_its_outcome():
    said = told(APPLICANT | BANK, Cards=[1, 1, -1], Ratio=[-1, 1], Income=[1, 1])
    assert [(v.column, v.outcome, v.distance) for v in said.others] == [
        ("Income", Outcome.TURNED, 1),  # 10 is held already, so 30 is the nearest step
        ("Cards", Outcome.TURNED, 1),
        ("Ratio", Outcome.NOT_TURNED, None),  # 0.6 is the present bin, not a change
    ]
    texts = {name: varied.text for name, varied in by_column(said).items()}
    assert texts["Income"] == (
        "With at least 30 of income, and all else equal, this model would likely have approved you."
    )
    assert texts["Cards"].startswith("With at most 1 cards, and all else equal")
    assert texts["Ratio"].startswith("Even 0 to under 0.2 of the income owed would likely not")
    assert said.outcome is Outcome.NOT_TURNED and said.pair is None
    assert said.texts == (said.text, *(varied.text for varied in said.others))


def test_a_value_that_other_steps_beyond_it_contradict_is_not_called_the_least():
    said = by_column(told(APPLICANT | BANK, Cards=[-1, 1, -1]))["Cards"]
    assert said.text.startswith("With 1 cards, and all else equal")
    said = explain_scores(loans(), APPLICANT | {"Years": 0}, False, [-1, 1, -1, *[-1] * 17])
    assert said.text.startswith("With 2 to under 5 years, and all else equal")
    assert said.text.endswith(CAVEAT)
    other = explain_scores(loans(), BANK, False, [-1, 1, -1, *[-1] * 17])
    assert other.text.startswith("With 2 to under 5 years, and all else equal")
    assert "the applicant holds the present number" in other.text


@pytest.mark.parametrize(
    ("ratio", "words"), [([1, 1], "less than 0.6"), ([1, -1], "less than 0.2")]
)
def test_less_of_a_fraction_ends_before_its_cut(ratio, words):
    said = by_column(told(APPLICANT | {"Cards": 3, "Ratio": 0.9}, Ratio=ratio))["Ratio"]
    assert said.text.startswith(f"With {words} of the income owed, and all else equal")


def test_a_column_at_its_end_gets_no_advice():
    said = by_column(told({"Years": 9, "Income": 30, "Cards": 0, "Ratio": 0.1}, Cards=[1, 1, 1]))
    assert {varied.outcome for varied in said.values()} == {Outcome.AT_MOST}
    assert said["Income"].text == (
        "The application already has at least 30 of income, the most that this explanation tries; "
        "other factors decided."
    )
    assert "already has at most 0 cards, the least that" in said["Cards"].text


def test_a_reader_learns_about_other_parties_columns_without_their_present_values():
    said = by_column(told(APPLICANT, Cards=[1, 1, 1], Ratio=[1, 1], Income=[1, 1]))
    assert said["Cards"].text == (
        "With at most 3 cards, and all else equal, this model would likely have approved you; the "
        "bank holds the present number."
    )
    assert said["Ratio"].text.startswith(
        "With less than 0.6 of the income owed, and all else equal"
    )
    assert said["Income"].text.startswith("With at least 30 of income")
    bank = told(BANK, Income=[1, 1], Years=[1, 1, 1])
    assert "would likely have approved the application" in by_column(bank)["Income"].text
    assert by_column(bank)["Income"].text.startswith(
        "With at least 10 of income, and all else equal"
    )
    assert bank.current_bin == -1 and bank.text.startswith("With at least 0 years")


def test_a_missing_value_makes_every_step_a_change():
    said = by_column(told(APPLICANT | {"Cards": None, "Ratio": 0.5}, Cards=[-1, -1, 1]))["Cards"]
    assert (said.outcome, said.turning, said.distance) == (Outcome.TURNED, 2, 1)


def test_the_nearest_pair_is_named_only_if_no_column_alone_turns_the_decision():
    income, years = [-1, -1, 1, 1, 1, -1], [-1, -1, 1, -1]
    said = told(APPLICANT | BANK, pairs=[*income, *years])
    # Of Income only 30 is a change, of Cards 1 and 0, of Years 5, and of Ratio 0.2.
    assert said.pair.columns == ("Income", "Cards") and said.pair.distance == 2
    assert said.pair.text == (
        "With at least 30 of income and at most 1 cards together, and all else equal, this model "
        "would likely have approved you; neither alone would likely have changed the decision."
    )
    assert said.texts[-1] == said.pair.text and CAVEAT in said.texts[0]
    assert told(APPLICANT | BANK, pairs=[*income, *years], Cards=[1, -1, -1]).pair is None
    assert told(APPLICANT | BANK).pair is None
    own = told(APPLICANT, pairs=[*income, *years]).pair
    assert own.text.endswith("have changed the decision; the bank holds the present number.")


def at_step(column, direction, step):
    """Return the value that a step tries: the cut, or the bin below it."""
    if direction == "more":
        return step
    return column.bin_floor(column.cuts.index(step))


@settings(QUICK, max_examples=30)
@given(st.data())
def test_every_change_that_is_advised_turns_the_model_itself(data):
    """Each is checked on the record with its new values, encoded and decided again."""
    schema = data.draw(schemas(varied=True, most_parties=3))
    layout = Layout(schema)
    decide = data.draw(decide_programs(layout))
    record = data.draw(records(schema))
    bits = layout.encode(record)
    scores = decide.scores(counterfactual_rows(bits, layout))[:, 0].tolist()
    said = explain_scores(schema, record, False, scores)
    rerun = decide.scores(remaining_rows(layout, bits))[:, 0].tolist()  # of one column alone
    again = explain_scores(schema, record, False, rerun)
    assert (again.turning_bin, again.text) == (said.turning_bin, said.text)
    by_name = {a.column: a for a in schema.explanation.alternatives}

    def decided(**change):
        return decide.scores(layout.encode(record | change)[None, :])[0, 0] >= 0

    def is_change(alternative, step):
        column, state = schema.column(alternative.column), layout.code(alternative.column).state
        new = at_step(column, alternative.direction, step)
        present = state(record[column.name])
        if present > len(column.cuts):
            return True
        return state(new) > present if alternative.direction == "more" else state(new) < present

    for varied in said.others:
        own = by_name[varied.column]
        column = schema.column(own.column)
        new = {step: at_step(column, own.direction, step) for step in own.steps}
        changes = [step for step in own.steps if is_change(own, step)]
        turning = [step for step in changes if decided(**{own.column: new[step]})]
        assert (varied.outcome is Outcome.TURNED) == bool(turning)
        assert (varied.outcome is Outcome.AT_MOST) == (not changes)
        if turning:
            nearest = turning[0] if own.direction == "more" else turning[-1]
            assert own.steps[varied.turning] == nearest
    turned = [varied for varied in said.others if varied.outcome is Outcome.TURNED]
    distances = [varied.distance for varied in said.others[: len(turned)]]
    assert distances == sorted(varied.distance for varied in turned)
    if said.turning_bin is not None or turned:
        assert said.pair is None
    if said.pair is not None and set(said.pair.columns) <= set(by_name):
        labels = {
            name: schema.column(name).bin_labels().index(label)
            for name, label in zip(said.pair.columns, said.pair.steps, strict=True)
        }
        assert decided(**{name: schema.column(name).bin_floor(i) for name, i in labels.items()})


def test_a_pair_turns_a_booster_that_no_single_column_turns():
    schema = loans()
    layout = Layout(schema)
    income = layout.code("Income").first_bit + 2  # at least 30
    cards = layout.code("Cards").first_bit + 1  # at least 2
    leaves = [
        Leaf(((income, richer), (cards, indebted)), 1.0 if richer and not indebted else -1.0, 1.0)
        for richer in (False, True)
        for indebted in (False, True)
    ]
    decide = decide_program(quantise(Ensemble((Tree(tuple(leaves)),), 0.0), layout, 8), layout)
    bits = layout.encode(APPLICANT | BANK)[None, :]
    assert decide.scores(bits)[0, 0] < 0
    scores = explain_program(decide, layout).scores(bits)[0]
    said = explain_scores(schema, APPLICANT, False, scores.tolist())
    assert said.turning_bin is None and {v.turning for v in said.others} == {None}
    assert said.pair.steps == ("30 and more", "1")
    assert said.pair.text.startswith("With at least 30 of income and at most 1 cards together")
