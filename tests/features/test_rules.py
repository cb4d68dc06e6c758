"""Rules of a schema: which records break them, and which rules a schema refuses."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.contradictions import as_counted, broken, broken_rules
from features.encoding import Layout
from features.records import parse_records
from features.schema import Schema
from tests.strategies import QUICK
from training.data_warnings import rule_warnings
from utils.errors import RecordContradictory, SchemaInvalid, ValueOutOfDomain

NUMBERS = ("Years", "Children", "People")


def ordinal(name, **more):
    return {
        **{"name": name, "kind": "ordinal", "label": name, "minimum": 0, "maximum": 20},
        **{"cuts": [1, 5], "integer": True},
        **more,
    }


BASE = {
    "name": "household",
    "title": "Households",
    "parties": [
        {
            "name": "person",
            "label": "Person",
            "columns": [
                {"name": "Employed", "kind": "boolean", "label": "In employment"},
                {"name": "Own_car", "kind": "boolean", "label": "Car", "optional": True},
                ordinal("Years", integer=False, label="Years employed"),
                ordinal("Children", clip=True),
                ordinal("People", optional=True, minimum=1, cuts=[2, 5]),
                {
                    "name": "Work",
                    "kind": "categorical",
                    "label": "Work",
                    "values": ["none", "office", "other"],
                    "other": "other",
                    "optional": True,
                },
            ],
        },
        {"name": "bank", "label": "Bank", "columns": [ordinal("Account")]},
    ],
    "decision": {"target": "Bad"},
    "explanation": {"column": "Years", "phrase": "years"},
}
JOB = {
    "name": "years_need_a_job",
    "never": [{"column": "Employed", "one_of": [False]}, {"column": "Years", "above": 0}],
    "text": "A person who is not employed has 0 years of employment.",
    "texts": {"de": "Wer nicht arbeitet, hat 0 Jahre Beschäftigung."},
}
HOUSEHOLD = {
    "name": "children_live_with_people",
    "never": [{"column": "Children", "at_least": {"column": "People"}}],
    "text": "A household has more people than children.",
}


def with_rules(*rules):
    return copy.deepcopy(BASE) | {"rules": list(rules)}


def record(**more):
    given = {"Employed": True, "Own_car": False, "Years": 3, "Children": 0, "People": 1}
    return given | {"Work": "office"} | more


number = st.integers(-2, 22) | st.sampled_from([0.5, 4.75])
bounds = number | st.fixed_dictionaries(
    {"column": st.sampled_from(NUMBERS)}, optional={"plus": st.integers(-3, 3)}
)
conditions = st.one_of(
    st.builds(
        lambda column, name, bound: {"column": column, name: bound},
        st.sampled_from(NUMBERS),
        st.sampled_from(["at_least", "above", "at_most", "below"]),
        bounds,
    ),
    st.builds(
        lambda column, values: {"column": column, "one_of": values},
        st.sampled_from(["Employed", "Own_car"]),
        st.lists(st.booleans(), min_size=1, max_size=2),
    ),
    st.builds(
        lambda values: {"column": "Work", "one_of": values},
        st.lists(st.sampled_from(["none", "office", "other"]), min_size=1, max_size=3),
    ),
)
records = st.fixed_dictionaries(
    {
        "Employed": st.booleans() | st.sampled_from([0, 1]),
        "Own_car": st.booleans() | st.none(),
        "Years": st.floats(0, 20) | st.integers(0, 20),
        "Children": st.integers(-5, 40) | st.just(10**400),
        "People": st.integers(1, 20) | st.none(),
        "Work": st.sampled_from(["none", "office", "other", "never listed", "", None]),
    }
)


def reading(rule, record):
    """A plain reading of a rule: True if the record breaks it."""
    values = dict(record)
    values["Children"] = min(max(values["Children"], 0), 20)
    if values["Work"] == "never listed":
        values["Work"] = "other"
    named = [c["column"] for c in rule["never"]]
    named += [b["column"] for c in rule["never"] for b in c.values() if isinstance(b, dict)]
    if any(values[name] in (None, "") for name in named):
        return False
    for condition in rule["never"]:
        value = values[condition["column"]]
        for name, bound in condition.items():
            if name == "column":
                continue
            if name == "one_of":
                if value not in bound:
                    return False
                continue
            if isinstance(bound, dict):
                bound = values[bound["column"]] + bound.get("plus", 0)
            if name == "at_least" and not value >= bound:
                return False
            if name == "above" and not value > bound:
                return False
            if name == "at_most" and not value <= bound:
                return False
            if name == "below" and not value < bound:
                return False
    return True


@QUICK
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(records, min_size=1, max_size=5))
def test_a_rule_is_broken_by_the_records_that_a_plain_reading_names(never, rows):
    rule = {"name": "drawn", "never": never, "text": "Not so."}
    schema = Schema.parse(with_rules(rule))
    expected = [reading(rule, row) for row in rows]
    for row, wrong in zip(rows, expected, strict=True):
        assert bool(broken_rules(schema, "person", row)) == wrong
        if wrong:
            with pytest.raises(RecordContradictory, match=r"^Not so\. "):
                Layout(schema).encode_party("person", row)
        else:
            Layout(schema).encode_party("person", row)
    columns = {
        name: as_counted(schema.column(name), [row[name] for row in rows])
        for name in schema.rules[0].columns
    }
    assert broken(schema.rules[0], columns).tolist() == expected


def test_the_refusal_says_the_words_of_every_broken_rule_and_the_labels_of_its_fields():
    layout = Layout(Schema.parse(with_rules(JOB, HOUSEHOLD)))
    with pytest.raises(RecordContradictory) as refused:
        layout.encode_party("person", record(Employed=False, Years=5, Children=5, People=1))
    assert refused.value.message == (
        "A person who is not employed has 0 years of employment. A household has more people than "
        "children. Correct In employment, Years employed, Children or People, then go on."
    )
    assert refused.value.columns == ("Employed", "Years", "Children", "People")
    layout.encode_party("person", record(Employed=False, Years=0, Children=5, People=6))
    layout.encode_party("person", record(Children=5, People=None))
    with pytest.raises(RecordContradictory):
        layout.encode(record(Employed=False, Account=1))


def test_a_value_that_is_not_allowed_is_refused_before_the_rules_are_read():
    layout = Layout(Schema.parse(with_rules(JOB)))
    with pytest.raises(ValueOutOfDomain, match="Years cannot be 'five'"):
        layout.encode_party("person", record(Employed=False, Years="five"))


def test_another_party_is_not_held_to_the_rule():
    schema = Schema.parse(with_rules(JOB))
    assert broken_rules(schema, "bank", {"Account": 3}) == []
    assert Layout(schema).encode_party("bank", {"Account": 3}).tolist() == [1, 0]


def test_rules_keep_to_one_party():
    rule = JOB | {"never": [*JOB["never"], {"column": "Account", "above": 3}]}
    with pytest.raises(SchemaInvalid) as refused:
        Schema.parse(with_rules(rule))
    assert "Employed of person and Years of person and Account of bank" in refused.value.message
    compared = {"column": "Years", "above": {"column": "Account", "plus": 1}}
    with pytest.raises(SchemaInvalid, match="Years of person and Account of bank"):
        Schema.parse(with_rules(JOB | {"never": [compared]}))


@pytest.mark.parametrize(
    ("never", "message"),
    [
        ([{"column": "Wealth", "above": 1}], "names Wealth, which is no input of the model"),
        ([{"column": "Bad", "above": 1}], "names Bad, which is no input of the model"),
        ([{"column": "Employed", "above": 1}], "Employed is not ordinal"),
        ([{"column": "Years", "one_of": ["3"]}], "Years is ordinal"),
        ([{"column": "Years", "above": {"column": "Work"}}], "Work is not ordinal"),
        ([{"column": "Work", "one_of": ["sea"]}], "Work is never 'sea'"),
        ([{"column": "Work", "one_of": [True]}], "Work is never True"),
        ([{"column": "Employed", "one_of": ["true"]}], "Employed is never 'true'"),
        ([{"column": "Employed", "one_of": [1]}], "valid boolean"),
        ([{"column": "Years", "above": "1"}], "valid number"),
        ([{"column": "Years", "above": True}], "valid number"),
        ([{"column": "Years", "above": float("inf")}], "finite number"),
        ([{"column": "Years", "above": 1, "below": 3}], "one comparison"),
        ([{"column": "Years"}], "one comparison"),
        ([{"column": "Work", "one_of": []}], "at least 1 item"),
        ([], "at least 1 item"),
        ([{"column": "Years", "above": 1}] * 9, "at most 8 items"),
        ([{"column": "Work", "one_of": ["none"] * 65}], "at most 64 items"),
        ([{"never": [{"column": "Years", "above": 1}]}], "Extra inputs"),
        (
            [{"column": "Years", "above": {"column": "Years", "plus": {"column": "People"}}}],
            "valid number",
        ),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_its_fault(never, message):
    with pytest.raises(SchemaInvalid, match=message):
        Schema.parse(with_rules(JOB | {"never": never}))


def test_too_many_rules_and_two_of_one_name_are_refused():
    with pytest.raises(SchemaInvalid, match="at most 32 items"):
        Schema.parse(with_rules(*(JOB | {"name": f"rule_{i}"} for i in range(33))))
    with pytest.raises(SchemaInvalid, match="named twice"):
        Schema.parse(with_rules(JOB, JOB))


def test_only_rules_that_are_there_change_the_document_and_the_fingerprint():
    plain, empty = Schema.parse(BASE), Schema.parse(with_rules())
    ruled = Schema.parse(with_rules(JOB, HOUSEHOLD))
    assert "rules" not in empty.model_dump(mode="json")
    assert plain.fingerprint() == empty.fingerprint() != ruled.fingerprint()
    document = ruled.model_dump(mode="json")
    assert document["rules"][0] == JOB
    assert document["rules"][1] == HOUSEHOLD | {
        "never": [{"column": "Children", "at_least": {"column": "People", "plus": 0.0}}]
    }
    assert Schema.parse(json.loads(json.dumps(document))).fingerprint() == ruled.fingerprint()


def test_rows_of_data_are_counted_and_encoded_all_the_same():
    schema = Schema.parse(with_rules(JOB, HOUSEHOLD))
    layout = Layout(schema)
    frame = pd.DataFrame(
        [record(), record(Employed=False), record(Employed=False, Years=0), record(People=None)]
    ).assign(Account=[1, 2, 3, 4])
    assert layout.encode_frame(frame).shape == (4, layout.n_bits)
    assert rule_warnings(schema, frame) == [
        "1 of 4 rows (25.00%) break the rule years_need_a_job (Employed, Years), by which a party "
        "refuses such a record: A person who is not employed has 0 years of employment."
    ]
    notes = []
    csv = frame.assign(Bad=[0, 1, 0, 1]).to_csv(index=False).encode()
    records = parse_records(csv, layout, notes=notes)
    assert len(records) == 4
    assert notes[-1:] == rule_warnings(schema, frame)
    assert rule_warnings(schema, frame.iloc[[0, 2, 3]]) == []
    assert np.array_equal(records.outcomes, [1, 0, 1, 0])
