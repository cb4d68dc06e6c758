"""Example applicants: those of a file that fit the schema, or else ones made from its first values.

Each example of the file states its outcome under one model, in which all engines agree on the
decision, its explanation and its reasons (tests/test_deployment_files.py). With any other model no
outcome is stated.

A drafted schema has medians and most frequent values as first values (training/draft), so that
these applicants are typical ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from features.encoding import ColumnCode, Layout
from features.schema import Party, Schema, shown_number
from utils.errors import FeatureError

EXAMPLES = Path(__file__).with_name("examples.json")


class Example(BaseModel):
    """One applicant: a value for every column of the schema, across all parties.

    `expect` is the outcome in words, or empty if it is not known.
    """

    label: str
    expect: str = ""
    record: dict[str, Any]

    @property
    def title(self) -> str:
        """The label, with the outcome if it is known."""
        return f"{self.label}: {self.expect}" if self.expect else self.label

    def of(self, party: Party) -> dict[str, Any]:
        """Return the part of the record that `party` holds."""
        return {column.name: self.record.get(column.name) for column in party.columns}


class ExampleFile(BaseModel):
    """Examples, with the version of the model for which their outcomes are true."""

    model_version: str
    examples: list[Example]


def load_examples(
    schema: Schema, model_version: str | None = None, path: Path = EXAMPLES
) -> list[Example]:
    """Return the examples in `path` that fit the schema, or three made from it if none does.

    `expect` is empty unless the file states the outcomes of the model `model_version`.
    """
    layout = Layout(schema)
    try:
        found = ExampleFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return _made(layout)
    fitting = [example for example in found.examples if _fits(example, layout)]
    if model_version != found.model_version:
        fitting = [example.model_copy(update={"expect": ""}) for example in fitting]
    return fitting or _made(layout)


def _made(layout: Layout) -> list[Example]:
    """Return the typical applicant, and it with the explained column in its first and last bin."""
    schema, varied = layout.schema, layout.schema.explained_column
    typical = {code.column.name: _first_value(code) for code in layout.codes}
    examples = [Example(label="Typical applicant", record=typical)]
    code = layout.code(varied.name)
    for state in (len(varied.cuts), 0):
        value = code.value(state)
        label = f"{varied.label} {shown_number(value)} {varied.unit}".strip()
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
