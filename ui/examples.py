"""Example applicants: those of a file that fit the schema, or else ones made from its first values.

A drafted schema has medians and most frequent values as first values (training/draft), so that
these applicants are typical ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from features.encoding import ColumnCode, Layout
from features.schema import Party, Schema, number_text
from utils.errors import FeatureError

EXAMPLES = Path(__file__).with_name("examples.json")


class Example(BaseModel):
    """One applicant: a value for every column of the schema, across all parties."""

    label: str
    expect: str = ""
    record: dict[str, Any]

    def of(self, party: Party) -> dict[str, Any]:
        """Return the part of the record that `party` holds."""
        return {column.name: self.record.get(column.name) for column in party.columns}


def load_examples(schema: Schema, path: Path = EXAMPLES) -> list[Example]:
    """Return the examples in `path` that fit the schema, or three made from it if none does."""
    layout = Layout(schema)
    try:
        found = TypeAdapter(list[Example]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        found = []
    return [example for example in found if _fits(example, layout)] or _made(layout)


def _made(layout: Layout) -> list[Example]:
    """Return the typical applicant, and it with the explained column in its first and last bin."""
    schema, varied = layout.schema, layout.schema.explained_column
    typical = {code.column.name: _first_value(code) for code in layout.codes}
    examples = [Example(label="Typical applicant", record=typical)]
    code = layout.code(varied.name)
    for state in (len(varied.cuts), 0):
        value = code.value(state)
        label = f"{varied.label} {number_text(value)} {varied.unit}".strip()
        record = typical | schema.explanation.assume | {varied.name: value}
        examples.append(Example(label=label, record=record))
    # The first values may break a rule of the schema.
    return [example for example in examples if _fits(example, layout)]


def _first_value(code: ColumnCode) -> Any:
    """Return the form's first value, or else that of the state in the middle."""
    column = code.column
    if column.default is not None or column.optional:
        return column.default
    return code.value(code.n_states // 2)


def _fits(example: Example, layout: Layout) -> bool:
    if set(example.record) != {column.name for column in layout.schema.columns()}:
        return False
    try:
        for party in layout.schema.parties:
            layout.encode_party(party.name, example.of(party))
    except FeatureError:
        return False
    return True
