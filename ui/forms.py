"""Forms built from the schema: one field per column, and the record from the fields' values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from features.encoding import Layout
from features.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    OrdinalColumn,
    Party,
)
from utils.errors import FeatureError

NOT_GIVEN = ""
"""Value of an empty field; the encoding treats blank text as missing."""
_EMPTY_CHOICE = ("not given", NOT_GIVEN)


def build_field(column: Column) -> Component:
    """Build the field of a column, with the column's default as its initial value."""
    empty = [_EMPTY_CHOICE] if column.optional else []
    value = shown_value(column, column.default)
    common: dict[str, Any] = {
        "value": value,
        "info": column.help or None,
        "interactive": True,
        "min_width": 150,
        "elem_id": f"field-{column.name}",
    }
    if isinstance(column, BooleanColumn):
        if not column.optional:
            return gr.Checkbox(label=column.label, **common)
        choices: list[tuple[str, Any]] = [*empty, ("yes", True), ("no", False)]
        return gr.Dropdown(choices, label=column.label, **common)
    if isinstance(column, CategoricalColumn):
        named = [*empty, *((v, v) for v in column.values)]
        return gr.Dropdown(named, label=column.label, **common)
    if column.form == "bins":
        floors = [column.bin_floor(i) for i in range(len(column.cuts) + 1)]
        bins = [*empty, *zip(bin_words(column), floors, strict=True)]
        return gr.Dropdown(bins, label=column.label, **common)
    # Browsers return nothing for a letter in a number field, as if it were empty, and Gradio turns
    # an empty initial value of it into 0, which is a different record.
    in_label = column.unit.lower() in column.label.lower()
    unit = "" if in_label else f" ({column.unit})"
    placeholder = "not given" if column.optional else None
    return gr.Textbox(label=column.label + unit, max_lines=1, placeholder=placeholder, **common)


def bin_words(column: OrdinalColumn) -> list[str]:
    """Return the bins of a column with their unit: `2 to under 5 years`, `18 years and more`."""
    if not column.unit:
        return column.bin_labels()
    last = " and more"
    return [
        f"{label.removesuffix(last)} {column.unit}{last if label.endswith(last) else ''}"
        for label in column.bin_labels()
    ]


def shown_value(column: Column, value: Any) -> Any:
    """Return the field value that represents a record's value."""
    if value is None:
        return NOT_GIVEN
    if isinstance(column, OrdinalColumn) and column.form == "bins":
        reached = [cut for cut in column.cuts if float(value) >= cut]
        return column.bin_floor(len(reached))
    if isinstance(column, OrdinalColumn):
        return str(int(value) if float(value).is_integer() else value)
    return value


def record_of(party: Party, values: Sequence[Any]) -> dict[str, Any]:
    """Return a party's record from the values of its fields, in the schema's order."""
    return {
        column.name: _typed(column, value)
        for column, value in zip(party.columns, values, strict=True)
    }


def values_error(layout: Layout, party: Party, values: Sequence[Any]) -> FeatureError | None:
    """Return why a party's field values cannot be encrypted, or None if they can."""
    try:
        layout.encode_party(party.name, record_of(party, values))
    except FeatureError as error:
        return error
    return None


def shown_record(party: Party, record: Mapping[str, Any]) -> list[Any]:
    """Return the field values that represent a party's record, in the schema's order."""
    return [shown_value(column, record.get(column.name)) for column in party.columns]


def default_record(party: Party) -> dict[str, Any]:
    """Return the party's record of the schema's defaults."""
    return {column.name: column.default for column in party.columns}


def _typed(column: Column, value: Any) -> Any:
    """Convert the text of a number to a number; leave other text for the schema to reject."""
    if not isinstance(column, OrdinalColumn) or not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    return int(number) if number.is_integer() else number
