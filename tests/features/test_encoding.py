"""Encoding of records: the codes of every kind of column, and refusal of invalid values."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import Schema
from tests.strategies import QUICK, layouts, records, schemas, values
from utils.errors import UnknownColumn, UnknownParty, ValueOutOfDomain

NAN = float("nan")


@pytest.fixture(scope="module")
def kinds():
    """Return a layout with a required and an optional column of each kind."""
    columns = {
        "Flag": {"kind": "boolean"},
        "Size": {
            "kind": "ordinal",
            "minimum": 0,
            "maximum": 10_000_000,
            "cuts": [2, 5],
            "default": 3,
            "unit": "metres",
        },
        "Colour": {"kind": "categorical", "values": ["red", "green", "blue"], "default": "red"},
    }
    optional = {f"May_{k}": {**v, "optional": True, "default": None} for k, v in columns.items()}
    count = {"Count": columns["Size"] | {"integer": True, "maximum": 9}}
    parties = [
        {
            "name": name,
            "label": name,
            "columns": [{"name": k, "label": k} | v for k, v in own.items()],
        }
        for name, own in (("sure", columns | count), ("unsure", optional))
    ]
    return Layout(
        Schema.parse(
            {
                "name": "kinds",
                "title": "Kinds",
                "parties": parties,
                "decision": {"target": "Bad"},
                "explanation": {"column": "Size", "phrase": "metres"},
            }
        )
    )


def bits_of(layout, column, value):
    code = layout.code(column)
    return code.table[code.state(value)].tolist()


@pytest.mark.parametrize(
    ("column", "value", "bits"),
    [
        ("Flag", False, [0]),
        ("Flag", True, [1]),
        ("Flag", 1.0, [1]),
        ("Flag", np.bool_(True), [1]),
        ("Size", 0, [0, 0]),
        ("Size", 1.999, [0, 0]),
        ("Size", 2, [1, 0]),  # a cut belongs to the bin above it
        ("Size", np.float32(4.5), [1, 0]),
        ("Size", 5, [1, 1]),
        ("Size", 10_000_000, [1, 1]),
        ("Colour", "red", [1, 0, 0]),
        ("Colour", "blue", [0, 0, 1]),
        ("May_Flag", True, [1, 0]),
        ("May_Flag", None, [0, 1]),
        ("May_Size", 7, [1, 1, 0]),
        ("May_Size", NAN, [0, 0, 1]),
        ("May_Size", np.float32(NAN), [0, 0, 1]),
        ("May_Colour", "green", [0, 1, 0, 0]),
        ("May_Colour", "", [0, 0, 0, 1]),
        ("May_Colour", "  ", [0, 0, 0, 1]),
        ("May_Colour", pd.NA, [0, 0, 0, 1]),
    ],
)
def test_each_column_kind_has_the_expected_code(kinds, column, value, bits):
    assert bits_of(kinds, column, value) == bits


@pytest.mark.parametrize(
    ("column", "value", "allowed"),
    [
        ("Flag", "true", "true or false"),
        ("Flag", 2, "true or false"),
        ("Flag", None, "true or false"),
        ("Size", -0.001, "a number from 0 to 10,000,000 (metres)"),
        ("Size", 10_000_001, "a number from 0 to 10,000,000 (metres)"),
        ("Size", math.inf, "a number from 0"),
        ("Size", -math.inf, "a number from 0"),
        ("Size", 10**400, "a number from 0"),
        ("Size", NAN, "a number from 0"),
        ("Size", True, "a number from 0"),
        ("Size", np.bool_(True), "a number from 0"),
        ("Size", "5", "a number from 0"),
        ("Size", "1,500", "not a number (write it without commas): give a number from 0"),
        ("Size", [5], "a number from 0"),
        ("Size", 5j, "a number from 0"),
        ("Count", 2.5, "a whole number from 0 to 9 (metres)"),
        ("Colour", "Red", "one of red, green, blue"),
        ("Colour", "red ", "one of red, green, blue"),
        ("Colour", 1, "one of red, green, blue"),
        ("Colour", [], "one of red, green, blue"),
        ("Colour", None, "one of red, green, blue"),
        ("May_Size", -1, "or nothing"),
        ("May_Flag", "yes", "or nothing"),
        ("May_Colour", "pink", "one of red, green, blue, or nothing"),
    ],
)
def test_out_of_domain_error_names_column_value_and_domain(kinds, column, value, allowed):
    with pytest.raises(ValueOutOfDomain) as caught:
        kinds.code(column).state(value)
    message = caught.value.message
    assert message.startswith(f"{column} ")
    assert allowed in message
    if value is not None and value == value:
        assert str(value)[:80] in message


def test_a_long_value_is_shortened_in_the_message(kinds):
    with pytest.raises(ValueOutOfDomain) as caught:
        kinds.code("Colour").state("x" * 10_000)
    assert len(caught.value.message) < 200


def test_party_may_encode_only_its_own_columns(kinds):
    record = {"Flag": True, "Size": 3, "Colour": "red", "Count": 3}
    own = kinds.encode_party("sure", record)
    assert own.tolist() == [1, 1, 0, 1, 0, 0, 1, 0]
    with pytest.raises(UnknownColumn, match=r"May_Flag, Typo: not a column of sure.*Flag, Size"):
        kinds.encode_party("sure", record | {"Typo": 1, "May_Flag": True})
    with pytest.raises(ValueOutOfDomain, match="Size is missing"):
        kinds.encode_party("sure", {k: v for k, v in record.items() if k != "Size"})
    assert kinds.encode_party("unsure", {}).tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 1]


def test_an_unknown_party_or_column_is_a_typed_error(kinds):
    for call in (kinds.party_bits, kinds.party_states, kinds.party_codes):
        with pytest.raises(UnknownParty):
            call("doctor")
    with pytest.raises(UnknownParty):
        kinds.encode_party("doctor", {})
    with pytest.raises(UnknownColumn):
        kinds.code("Nothing")


def test_bits_have_readable_names(kinds):
    names = [kinds.bit_name(bit) for bit in range(kinds.n_bits)]
    assert names[:4] == ["Flag is true", "Size >= 2", "Size >= 5", "Colour is red"]
    assert names[-1] == "May_Colour is missing"


def test_a_frame_without_a_column_or_with_a_bad_value_is_refused(kinds):
    record = {c.name: 3 for c in kinds.schema.columns() if c.kind == "ordinal"}
    record |= {"Flag": True, "May_Flag": None, "Colour": "red", "May_Colour": None}
    frame = pd.DataFrame([record, record | {"Colour": "pink"}])
    with pytest.raises(ValueOutOfDomain, match="Colour cannot be 'pink'"):
        kinds.encode_frame(frame)
    with pytest.raises(UnknownColumn, match="The data has no column Size"):
        kinds.encode_frame(frame.drop(columns="Size"))
    assert kinds.encode_frame(frame[:1]).shape == (1, kinds.n_bits)


@QUICK
@given(st.data())
def test_frame_encoding_equals_row_by_row_encoding(data):
    layout = Layout(data.draw(schemas()))
    rows = data.draw(st.lists(records(layout.schema), min_size=1, max_size=5))
    frame = pd.DataFrame(rows, dtype=object)
    assert (layout.encode_frame(frame) == np.stack([layout.encode(row) for row in rows])).all()
    typed = frame.infer_objects()  # columns of numbers with NumPy's types
    assert (layout.encode_frame(typed) == layout.encode_frame(frame)).all()


@QUICK
@given(st.data())
def test_record_bits_are_the_concatenated_party_bits(data):
    layout = Layout(data.draw(schemas()))
    record = data.draw(records(layout.schema))
    whole = layout.encode(record)
    assert whole.dtype == np.uint8
    assert whole.shape == (layout.n_bits,)
    for party in layout.schema.parties:
        own = {c.name: record[c.name] for c in party.columns}
        assert (layout.encode_party(party.name, own) == whole[layout.party_bits(party.name)]).all()


@QUICK
@given(st.data())
def test_states_and_bits_are_equivalent(data):
    layout = Layout(data.draw(schemas()))
    record = data.draw(records(layout.schema))
    bits = layout.encode(record)
    states = layout.states(bits)
    assert (layout.bits_of_states(states) == bits).all()
    for code, state in zip(layout.codes, states, strict=True):
        assert state - code.first_state == code.state(record[code.column.name])
    stacked = np.stack([bits, bits])
    assert (layout.states(stacked) == states).all()
    for bit in range(layout.n_bits):
        assert bool(bits[bit]) == bool(layout.states_of_bit[bit] & set(states.tolist()))


@QUICK
@given(layouts())
def test_every_bit_and_state_belongs_to_one_column_of_one_party(layout):
    assert len(layout.code_of_bit) == layout.n_bits
    position = {"bits": 0, "states": 0}
    for code in layout.codes:
        assert (code.first_bit, code.first_state) == (position["bits"], position["states"])
        assert code.table.shape == (code.n_states, code.n_bits)
        assert len({tuple(row) for row in code.table}) == code.n_states  # states are distinct
        position = {
            "bits": position["bits"] + code.n_bits,
            "states": position["states"] + code.n_states,
        }
    assert position == {"bits": layout.n_bits, "states": layout.n_states}
    names = layout.schema.party_names
    slices = [layout.party_bits(name) for name in names]
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    assert slices[-1].stop == layout.n_bits
    states = [layout.party_states(name) for name in names]
    assert [s.start for s in states] == [0, *(s.stop for s in states[:-1])]
    assert states[-1].stop == layout.n_states


@QUICK
@given(layouts())
def test_the_states_of_two_bits_of_a_column_are_nested_or_disjoint(layout):
    for code in layout.codes:
        own = layout.states_of_bit[code.first_bit : code.first_bit + code.n_bits]
        for a in own:
            assert a
            for b in own:
                assert a <= b or b <= a or not a & b


@QUICK
@given(st.data())
def test_ordinal_code_counts_reached_cuts(data):
    layout = Layout(data.draw(schemas()))
    column = layout.schema.explained_column
    value = data.draw(values(column).filter(lambda v: isinstance(v, int | float) and v == v))
    thermometer = bits_of(layout, column.name, value)[: len(column.cuts)]
    assert thermometer == [int(value >= cut) for cut in column.cuts]


@QUICK
@given(layouts())
def test_value_of_a_state_encodes_to_that_state(layout):
    for code in layout.codes:
        assert [code.state(code.value(state)) for state in range(code.n_states)] == list(
            range(code.n_states)
        )


def test_layout_tables_are_read_only(kinds):
    with pytest.raises(ValueError, match="read-only"):
        kinds.codes[0].table[0, 0] = 1
