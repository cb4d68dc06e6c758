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
from ui.units import escape
from utils.errors import FeatureError, RecordContradictory

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
    unit = f" ({column.unit})" if column.unit else ""
    if column.form == "bins":
        floors = [column.bin_floor(i) for i in range(len(column.cuts) + 1)]
        bins = [*empty, *zip(column.bin_labels(), floors, strict=True)]
        return gr.Dropdown(bins, label=column.label + unit, **common)
    if column.optional:
        # Gradio's number field turns an empty initial value into 0, which is a different record.
        return gr.Textbox(label=column.label + unit, placeholder="not given", **common)
    # No minimum, maximum or precision: the schema's own error names the column and the allowed
    # values, which Gradio's does not, and silent rounding would change the record.
    step = 1.0 if column.integer else 0.1
    return gr.Number(label=column.label + unit, step=step, **common)


def shown_value(column: Column, value: Any) -> Any:
    """Return the field value that represents a record's value."""
    if value is None:
        return NOT_GIVEN
    if isinstance(column, OrdinalColumn) and column.form == "bins":
        reached = [cut for cut in column.cuts if float(value) >= cut]
        return column.bin_floor(len(reached))
    if isinstance(column, OrdinalColumn):
        number = int(value) if float(value).is_integer() else value
        return str(number) if column.optional else number
    return value


def record_of(party: Party, values: Sequence[Any]) -> dict[str, Any]:
    """Return a party's record from the values of its fields, in the schema's order."""
    return {
        column.name: _typed(column, value)
        for column, value in zip(party.columns, values, strict=True)
    }


def contradiction_of(
    layout: Layout, party: Party, values: Sequence[Any]
) -> RecordContradictory | None:
    """Return the refusal of a party's field values by a rule of the schema, or None.

    None too for a value that cannot be read, which is refused when it is sent.
    """
    try:
        layout.encode_party(party.name, record_of(party, values))
    except RecordContradictory as error:
        return error
    except FeatureError:
        return None
    return None


def contradiction_panel(error: RecordContradictory | None) -> str:
    """Return a refusal in the words of the rules, which marks the fields that it concerns."""
    if error is None:
        return ""
    fields = ", ".join(f"#field-{name}" for name in error.columns)
    return (
        f'<p class="ts-stale ts-told" role="alert">{escape(error.message)}</p>'
        f"<style>{fields} {{ outline: 2px solid var(--ts-warn); outline-offset: 4px; "
        "border-radius: 4px; }</style>"
    )


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
    return number if math.isfinite(number) else value
