"""Example applicants, offered only if all their values fit the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from features.encoding import Layout
from features.schema import Party, Schema
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
    """Return the examples in `path` that fit the schema; none if the file cannot be read."""
    try:
        found = TypeAdapter(list[Example]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return []
    return [example for example in found if _fits(example, Layout(schema))]


def _fits(example: Example, layout: Layout) -> bool:
    if set(example.record) != {column.name for column in layout.schema.columns()}:
        return False
    try:
        for party in layout.schema.parties:
            layout.encode_party(party.name, example.of(party))
    except FeatureError:
        return False
    return True
