"""Forms are built from any schema, and return the record that they show."""

import gradio as gr
import numpy as np
import pytest

from features.encoding import Layout
from features.schema import Schema
from settings import ROOT
from ui.forms import (
    NOT_GIVEN,
    build_field,
    default_record,
    record_of,
    shown_record,
    shown_value,
)
from utils.errors import ValueOutOfDomain


def test_every_column_has_the_field_of_its_kind(any_schema):
    kinds = {
        "Flag": gr.Checkbox,
        "Maybe": gr.Dropdown,
        "Colour": gr.Dropdown,
        "Mood": gr.Dropdown,
        "Amount": gr.Textbox,
        "Perhaps": gr.Textbox,
        "Grade": gr.Dropdown,
        "Level": gr.Dropdown,
    }
    for column in any_schema.columns():
        field = build_field(column)
        assert isinstance(field, kinds.get(column.name, gr.Checkbox))
        assert column.label in field.label


def test_bins_are_offered_by_label_and_give_their_floor(any_schema):
    field = build_field(any_schema.column("Level"))
    steps = ["0 to under 3 steps", "3 to under 6 steps", "6 steps and more"]
    assert field.choices == list(zip(steps, (0.0, 3.0, 6.0), strict=True))
    assert "steps" not in field.label
    assert field.value == 3.0  # the bin of the default 4
    optional = build_field(any_schema.column("Grade"))
    assert optional.choices[0] == ("not given", NOT_GIVEN) and optional.value == NOT_GIVEN


def test_optional_fields_may_stay_empty(any_schema):
    layout = Layout(any_schema)
    party = any_schema.party("second")
    values = shown_record(party, default_record(party))
    assert values[1:3] == [NOT_GIVEN, NOT_GIVEN]
    bits = layout.encode_party("second", record_of(party, values))
    missing = [layout.bit_name(i) for i in np.flatnonzero(bits) + layout.party_bits("second").start]
    assert "Perhaps is missing" in missing and "Grade is missing" in missing


@pytest.mark.parametrize("name", ["credit_card", "credit_card_fair_lending"])
def test_shown_values_encode_like_their_record(name):
    schema = Schema.load(ROOT / "features" / f"{name}.json")
    layout = Layout(schema)
    for party in schema.parties:
        record = default_record(party)
        back = record_of(party, shown_record(party, record))
        assert np.array_equal(
            layout.encode_party(party.name, back), layout.encode_party(party.name, record)
        )


@pytest.mark.parametrize("value", [0, 2, 2.999, 3, 5.5, 6, 9])
def test_value_is_shown_as_its_bin(any_schema, value):
    layout = Layout(any_schema)
    party = any_schema.party("second")
    record = default_record(party) | {"Level": value}
    back = record_of(party, shown_record(party, record))
    assert layout.code("Level").state(back["Level"]) == layout.code("Level").state(value)


@pytest.mark.parametrize(("typed", "bin_"), [("4", 0), (" 5 ", 1), ("1e1", 1), ("", 2), ("  ", 2)])
def test_optional_number_has_a_text_field(any_schema, typed, bin_):
    layout, party = Layout(any_schema), any_schema.party("second")
    values = shown_record(party, default_record(party))
    values[1] = typed
    assert layout.code("Perhaps").state(record_of(party, values)["Perhaps"]) == bin_


def _refusal_of(typed):
    is_number = typed.replace(".", "").isdecimal()
    return f"Perhaps cannot be '{typed}'" + (":" if is_number else ", which is not a number:")


@pytest.mark.parametrize("typed", ["many", "nan", "inf", "4.5", "11"])
def test_invalid_number_text_is_refused(any_schema, typed):
    party = any_schema.party("second")
    values = shown_record(party, default_record(party))
    values[1] = typed
    with pytest.raises(ValueOutOfDomain, match=_refusal_of(typed)):
        Layout(any_schema).encode_party("second", record_of(party, values))


def test_an_optional_number_shows_its_default_as_text(any_schema):
    column = any_schema.column("Perhaps")
    assert [shown_value(column, v) for v in (7, 2.5, None)] == ["7", "2.5", NOT_GIVEN]
