"""Schema files: both shipped ones load, and the error for an invalid one names the fault."""

import copy
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import MAXIMUM_SCHEMA_BYTES, Schema, number_text
from tests.strategies import QUICK, schemas
from utils.errors import SchemaInvalid, UnknownColumn, UnknownParty

FOLDER = Path(__file__).resolve().parents[2] / "features"
SHIPPED = ["credit_card.json", "credit_card_fair_lending.json"]

BASE = {
    "name": "loan",
    "title": "Loans",
    "parties": [
        {
            "name": "person",
            "label": "Person",
            "columns": [
                {"name": "Rich", "kind": "boolean", "label": "Rich"},
                {
                    "name": "Age",
                    "kind": "ordinal",
                    "label": "Age",
                    "minimum": 18,
                    "maximum": 99,
                    "integer": True,
                    "cuts": [30, 40],
                    "default": 33,
                },
            ],
        },
        {
            "name": "bank",
            "label": "Bank",
            "columns": [
                {
                    "name": "Colour",
                    "kind": "categorical",
                    "label": "Colour",
                    "values": ["red", "blue"],
                    "default": "red",
                },
                {"name": "Good", "kind": "boolean", "label": "Good"},
            ],
        },
    ],
    "decision": {"target": "Bad"},
    "explanation": {"column": "Age", "assume": {"Rich": True}, "phrase": "years"},
}


def changed(path, value):
    """Return BASE with `value` at a path (for example, `parties.0.name`); None removes it."""
    document = copy.deepcopy(BASE)
    place = document
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_schema_loads_with_texts_for_the_page(name):
    schema = Schema.load(FOLDER / name)
    assert schema.party_names == ["applicant", "bank", "credit_agency"]
    assert schema.explained_column.name == "Years_employed"
    assert schema.explained_column.bin_labels() == [
        *("0 to under 2", "2 to under 5", "5 to under 8", "8 to under 11", "11 to under 18"),
        "18 and more",
    ]
    assert schema.explained_party == "credit_agency"
    assert schema.explanation.assume == {"Employed": True}
    assert all(column.label and column.help for column in schema.columns())


def test_the_fair_lending_schema_leaves_out_the_prohibited_bases():
    demo, fair = (Schema.load(FOLDER / name) for name in SHIPPED)
    prohibited = {"Age", "Family_status", "Num_children", "Household_size", "Mobile_phone"}
    assert {c.name for c in demo.columns()} - {c.name for c in fair.columns()} == prohibited
    assert "Pensioner" not in fair.column("Income_type").values
    assert demo.fingerprint() != fair.fingerprint()


def test_german_scorecard_has_its_seven_inputs_and_says_which_are_unlawful():
    schema = Schema.load(FOLDER / "german_credit.json")
    columns = {party.name: [column.name for column in party.columns] for party in schema.parties}
    assert columns == {
        "applicant": ["age", "sex", "job", "housing"],
        "lender": ["credit", "purpose", "duration"],
    }
    assert all(column.label and column.help for column in schema.columns())
    assert schema.decision.target == "credit_risk" and schema.decision.approved_value == 1
    assert set(schema.audit) == {"sex", "age"}
    assert schema.column("sex").optional and schema.column("sex").default is None
    # 12 CFR 1002.6(b)(2) allows age in a scoring system only if a high age never counts against.
    assert schema.explained_column.name == "age" and schema.explanation.monotone
    for law in ("Directive 2004/113/EC", "12 CFR 1002.6(b)(9)", "12 CFR 1002.6(b)(2)"):
        assert law in schema.description


def test_base_schema_is_valid():
    assert Schema.parse(BASE).column("Age").default == 33


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("parties.0.columns.1.cuts", [40, 30], "Age: the cuts must rise strictly"),
        ("parties.0.columns.1.cuts", [30, 30], "Age: the cuts must rise strictly"),
        ("parties.0.columns.1.cuts", [18, 30], "every cut must lie above minimum"),
        ("parties.0.columns.1.cuts", [30, 100], "every cut must lie above minimum"),
        ("parties.0.columns.1.cuts", [], "cuts: List should have at least 1 item"),
        ("parties.0.columns.1.cuts", list(range(19, 83)), "cuts: List should have at most 63"),
        ("parties.0.columns.1.cuts", [20, float("nan"), 30], "should be a finite number"),
        ("parties.0.columns.1.maximum", float("inf"), "should be a finite number"),
        ("parties.0.columns.1.default", 17, "Age: the default lies outside"),
        ("parties.0.columns.1.default", 20.5, "Age: minimum, cuts and default must be whole"),
        ("parties.0.columns.1.cuts", [20, 20.5], "Age: minimum, cuts and default must be whole"),
        ("parties.0.columns.1.kind", "text", "does not match any of the expected tags"),
        ("parties.0.columns.1.minimum", None, "minimum: Field required"),
        ("parties.0.columns.1.form", "slider", "form: Input should be 'number' or 'bins'"),
        ("parties.1.columns.0.values", ["red", "red"], "Colour: a value is listed twice"),
        ("parties.1.columns.0.values", ["red", " "], "values.1: String should match"),
        ("parties.1.columns.0.values", ["red"], "values: List should have at least 2"),
        ("parties.1.columns.0.values", [str(i) for i in range(65)], "List should have at most 64"),
        ("parties.1.columns.0.default", "green", "Colour: the default is not among the values"),
        ("parties.1.columns.0.other", "green", "Colour: other must be one of the values"),
        ("parties.1.columns.0.groups", {"green": ["lime"]}, "groups must name values"),
        ("parties.1.columns.0.groups", {"red": ["a", "a"]}, "each of them once"),
        ("parties.1.columns.0.name", "Age", "column named twice: Age"),
        ("parties.1.columns.0.name", "two words", "name: String should match pattern"),
        ("parties.1.columns.0.name", "Bad", "the target Bad must not be a column as well"),
        ("parties.1.columns", [], "columns: List should have at least 1 item"),
        ("parties.1.name", "person", "party named twice: person"),
        ("parties.1.name", "../bank", "name: String should match pattern"),
        ("parties.1.name", "bank\n", "name: String should match pattern"),
        ("parties.1.label", "x" * 81, "label: String should have at most 80"),
        ("parties.1", None, "parties: List should have at least 2 items"),
        ("decision.approved_value", " ", "String should match pattern"),
        ("decision.lender", "shop", "decision.lender must name a party"),
        ("explanation.steps", [29], "the steps of Age must be cuts"),
        ("explanation.pairs", [["Age", "Colour"]], "both columns of a pair must be varied ones"),
        (
            "explanation.alternatives",
            [{"column": "Age", "steps": [30], "phrase": "years"}],
            "a column is varied twice",
        ),
        ("reasons", [{"name": "r", "columns": ["Bad"], "text": "t"}], "must be an input"),
        ("audit_columns", [{"name": "Age", "kind": "boolean", "label": "A"}], "column named twice"),
        ("decision", None, "decision: Field required"),
        ("explanation.column", "Colour", "must name an ordinal column"),
        ("explanation.column", "Nothing", "must name an ordinal column"),
        ("explanation.assume", {"Good": True}, "Good must be a boolean column of party person"),
        ("explanation.assume", {"Age": True}, "Age must be a boolean column of party person"),
        ("audit", ["Size", "Age"], "audit lists unknown columns: Size"),
        ("explanation.assume", {"Rich": "maybe"}, "assume.Rich: Input should be a valid boolean"),
    ],
)
def test_invalid_schema_error_names_the_fault(path, value, fault):
    with pytest.raises(SchemaInvalid) as caught:
        Schema.parse(changed(path, value), "loan.json")
    assert caught.value.message.startswith("loan.json cannot be used")
    assert fault in caught.value.message


def test_a_schema_without_explanation_varies_the_first_ordinal_column():
    document = copy.deepcopy(BASE)
    del document["explanation"]
    explanation = Schema.parse(document).explanation
    assert (explanation.column, explanation.phrase, explanation.monotone) == (
        "Age",
        "of Age",
        False,
    )


def test_reasons_are_the_columns_unless_the_schema_lists_some():
    assert [r.columns for r in Schema.parse(BASE).stated_reasons] == [
        [column.name] for column in Schema.parse(BASE).columns()
    ]
    listed = [{"name": "who", "columns": ["Age"], "text": "Too young"}]
    assert [r.text for r in Schema.parse(changed("reasons", listed)).stated_reasons] == [
        "Too young"
    ]


def test_unused_new_fields_leave_the_fingerprint_of_older_schemas():
    document = Schema.parse(BASE).model_dump(mode="json")
    assert "reasons" not in document and "source" not in document["parties"][0]["columns"][0]
    changed_column = changed("parties.0.columns.1.clip", True)
    assert Schema.parse(changed_column).fingerprint() != Schema.parse(BASE).fingerprint()


@pytest.mark.parametrize(
    "path",
    [
        "colour",
        "decision.colour",
        "explanation.colour",
        "parties.0.colour",
        "parties.0.columns.0.colour",
        "parties.0.columns.1.colour",
        "parties.1.columns.0.colour",
        "parties.0.columns.0.cuts",
    ],
)
def test_unknown_field_error_names_its_path(path):
    with pytest.raises(SchemaInvalid, match="Extra inputs are not permitted") as caught:
        Schema.parse(changed(path, [1]))
    assert path.rpartition(".")[2] in caught.value.message


def test_errors_are_short_however_long_the_schema_is():
    document = copy.deepcopy(BASE)
    for more in ({"W" * 900_000: 1}, {"parties": [*document["parties"], {"W" * 900_000: 1}]}):
        with pytest.raises(SchemaInvalid) as caught:
            Schema.parse(document | more)
        assert len(caught.value.message) < 3000


def test_numbers_of_parties_and_columns_are_limited():
    document = copy.deepcopy(BASE)
    flags = [{"name": f"F{i}", "kind": "boolean", "label": "F"} for i in range(129)]
    document["parties"] += [
        {"name": f"p{i}", "label": "P", "columns": [f]}
        for i, f in zip(range(6), flags, strict=False)
    ]
    assert len(Schema.parse(document).parties) == 8
    document["parties"].append({"name": "p6", "label": "P", "columns": flags[6:7]})
    with pytest.raises(SchemaInvalid, match="at most 8 items"):
        Schema.parse(document)
    with pytest.raises(SchemaInvalid, match="at most 128 items"):
        Schema.parse(changed("parties.1.columns", flags))


@pytest.mark.parametrize("document", [None, [], "schema", 3, {}])
def test_document_that_is_not_a_schema_is_refused(document):
    with pytest.raises(SchemaInvalid, match="cannot be used"):
        Schema.parse(document)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, bytes(range(256))])
def test_invalid_json_error_names_the_file(tmp_path, content):
    path = tmp_path / "schema.json"
    path.write_bytes(content)
    with pytest.raises(SchemaInvalid, match=r"schema\.json cannot be"):
        Schema.load(path)


def test_missing_file_error_names_the_file(tmp_path):
    with pytest.raises(SchemaInvalid, match=r"nowhere\.json cannot be read"):
        Schema.load(tmp_path / "nowhere.json")


def test_huge_file_is_refused_before_reading(tmp_path, monkeypatch):
    path = tmp_path / "schema.json"
    path.touch()
    os.truncate(path, MAXIMUM_SCHEMA_BYTES + 1)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(SchemaInvalid, match="larger than the limit for a schema"):
        Schema.load(path)


def test_unknown_name_error_lists_the_known_names():
    schema = Schema.parse(BASE)
    with pytest.raises(UnknownParty, match="the parties are person, bank"):
        schema.party("doctor")
    with pytest.raises(UnknownColumn, match="'Size'"):
        schema.column("Size")
    assert schema.party("bank").label == "Bank"


def test_bin_labels_group_thousands_for_people_only():
    document = changed("parties.0.columns.1.maximum", 10_000_000)
    document["parties"][0]["columns"][1]["integer"] = False
    document["parties"][0]["columns"][1]["cuts"] = [1000.5, 1_000_000, 2_000_001]
    document["parties"][0]["columns"][1]["default"] = 20
    column = Schema.parse(document).column("Age")
    assert column.bin_labels() == [
        *("18 to under 1,000.5", "1,000.5 to under 1,000,000", "1,000,000 to under 2,000,001"),
        "2,000,001 and more",
    ]
    assert column.bin_labels([2_000_001], number_text) == [
        *("18 to under 2000001", "2000001 and more"),
    ]
    assert [column.bin_floor(i) for i in range(4)] == [18, 1000.5, 1_000_000, 2_000_001]
    assert number_text(0.1 + 0.2) == "0.3"


def test_bin_labels_read_as_words_for_negative_numbers_and_single_ones():
    document = changed("parties.0.columns.1.minimum", -9)
    document["parties"][0]["columns"][1]["cuts"] = [-8, -7, 3]
    column = Schema.parse(document).column("Age")
    assert column.bin_labels() == ["-9", "-8", "-7 to under 3", "3 and more"]
    assert column.bin_labels([-7]) == ["-9 to under -7", "-7 and more"]


@QUICK
@given(schemas())
def test_schema_round_trips_with_the_same_fingerprint(schema):
    again = Schema.parse(json.loads(schema.model_dump_json()))
    assert again == schema
    assert again.fingerprint() == schema.fingerprint()


@QUICK
@given(schemas(), st.data())
def test_any_change_of_content_changes_the_fingerprint(schema, data):
    document = schema.model_dump(mode="json")
    party = data.draw(st.sampled_from(document["parties"]))
    place = data.draw(st.sampled_from([document, party, *party["columns"]]))
    key = "title" if place is document else "label"
    place[key] += "!"
    assert Schema.parse(document).fingerprint() != schema.fingerprint()


def varied(**explanation):
    """Return BASE with a longer column, a second ordinal one, and this explanation."""
    document = changed("parties.0.columns.1.cuts", list(range(19, 59)))
    more = {"name": "Income", "label": "Income", "kind": "ordinal", "minimum": 0, "maximum": 99}
    document["parties"][1]["columns"].append(more | {"cuts": list(range(1, 21)), "default": 1})
    document["explanation"] |= explanation
    return document


def alternative(count, **own):
    return {"column": "Income", "steps": list(range(1, count + 1)), "phrase": "of income"} | own


def test_an_explanation_tries_all_bins_of_a_column_or_some_of_many():
    every = Schema.parse(BASE)
    assert every.explained_steps == [30, 40] and every.explained_outputs == 3
    many = Schema.parse(varied())
    steps = many.explained_steps
    assert len(steps) == 15 and (steps[0], steps[-1]) == (19, 58)
    assert {b - a for a, b in pairwise(steps)} == {2, 3}
    chosen = Schema.parse(varied(steps=[20, 30], alternatives=[alternative(4)]))
    assert chosen.explained_steps == [20, 30] and chosen.explained_outputs == 3 + 4
    both = varied(steps=[20, 30], alternatives=[alternative(4)], pairs=[["Age", "Income"]])
    assert Schema.parse(both).explained_outputs == 3 + 4 + 2 * 3


@pytest.mark.parametrize(
    ("explanation", "fault"),
    [
        ({"steps": [20.5]}, "the steps of Age must be cuts, in rising order"),
        ({"alternatives": [alternative(2, column="Age")]}, "a column is varied twice"),
        ({"alternatives": [alternative(2, column="Good")]}, "Good must be an ordinal column"),
        ({"alternatives": [alternative(2, steps=[2, 1])]}, "the steps of Income must be cuts"),
        ({"pairs": [["Age", "Income"]]}, "both columns of a pair must be varied ones"),
        (
            {"alternatives": [alternative(1)], "pairs": [["Age", "Income"], ["Income", "Age"]]},
            "a pair is named twice",
        ),
    ],
)
def test_what_an_explanation_varies_is_checked(explanation, fault):
    with pytest.raises(SchemaInvalid, match=fault):
        Schema.parse(varied(**explanation))


def test_an_explanation_of_too_many_scores_is_refused_with_their_number():
    document = varied()
    columns = document["parties"][1]["columns"]
    columns += [columns[-1] | {"name": f"More{i}"} for i in range(3)]
    names = ["Income", "More0", "More1"]
    own = [alternative(15, column=name) for name in names]
    document["explanation"]["alternatives"] = [*own[:2], alternative(2, column="More1")]
    assert Schema.parse(document).explained_outputs == 48
    document["explanation"]["alternatives"] = own
    with pytest.raises(SchemaInvalid, match=r"make 61 scores, more than 48; name fewer steps"):
        Schema.parse(document)


def test_fingerprint_is_unchanged_without_zero_is_missing():
    """Deployments refer to their schema by its fingerprint, so a new field must not change it."""
    shipped = Schema.load(FOLDER / "credit_card.json")
    manifest = json.loads((FOLDER.parent / "deployment_files" / "manifest.json").read_text())
    assert shipped.fingerprint() == manifest["schema_fingerprint"]
    dense, sparse = (Schema.parse(BASE | {"zero_is_missing": said}) for said in (False, True))
    assert dense.fingerprint() == Schema.parse(BASE).fingerprint() != sparse.fingerprint()
