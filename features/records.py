"""Labelled records of a CSV file as states and outcomes, without pandas.

For a party that trains on its own rows. The file's form is that of utils/strict_csv.py, and texts
are read as in training (features/columns.py, features/labels.py); columns that the schema does not
name are ignored. Messages name lines and columns, and no value of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.contradictions import as_counted, rule_notes
from features.encoding import Layout
from features.schema import OrdinalColumn
from features.text_table import Wanted, read_columns_of, read_outcomes, read_table, wanted
from utils.errors import TrainingDataInvalid
from utils.regular_files import read_regular
from utils.strict_csv import CsvSource

MOST_BYTES = 256 << 20
MOST_ROWS = 1_000_000


@dataclass(frozen=True, repr=False)
class Records:
    """Rows of one holder, in the order of the file.

    `states` (rows, columns) has the state of each column, counted within the column;
    `outcomes` (rows,) has 1 for approved and 0 for denied.
    """

    states: NDArray[np.uint8]
    outcomes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.outcomes)


def read_records(
    path: Path, layout: Layout, target: str | None = None, notes: list[str] | None = None
) -> Records:
    """Read a CSV file with the schema's columns and its target, or another `target`.

    Rows without an outcome are left out. Sentences on how the file was read are appended to
    `notes`. Raises TrainingDataInvalid if the file is not a regular one, is larger than
    `MOST_BYTES` or `MOST_ROWS`, has no rows, lacks a column, or, with the lines, if rows have a
    wrong length or a value that the schema does not allow.
    """
    source = CsvSource(str(path), TrainingDataInvalid)
    return parse_records(_content(path), layout, target, source, notes)


def parse_records(
    data: bytes,
    layout: Layout,
    target: str | None = None,
    source: CsvSource | None = None,
    notes: list[str] | None = None,
) -> Records:
    """Do the same as `read_records` for the content of a file."""
    source = source or CsvSource("The data", TrainingDataInvalid)
    schema = layout.schema
    target = target or schema.decision.target
    if target in [name for column in schema.columns() for name in (column.name, column.header)]:
        raise TrainingDataInvalid(f"{target} is a column of the schema. Choose another target.")
    requests = [*map(wanted, schema.columns()), Wanted(target, (target,))]
    table = read_table(source, data, requests, MOST_ROWS)
    outcomes = read_outcomes(table, target, schema.decision, show_values=False)
    labelled = outcomes >= 0
    table = table.of(labelled) if not labelled.all() else table
    columns = read_columns_of(table, list(schema.columns()), show_values=False)
    states = []
    for code in layout.codes:
        read, own = columns[code.column.name], table.columns[code.column.name]
        values: list[Any] = read.values
        if isinstance(code.column, OrdinalColumn):
            values = [np.nan if value is None else value for value in values]
        states.append(code.states(values).astype(np.uint8)[own.codes])
    if notes is not None:
        notes.extend(table.notes)
        named = {name for rule in schema.rules for name in rule.columns}
        counted = {
            name: as_counted(schema.column(name), columns[name].values)[table.columns[name].codes]
            for name in named
        }
        notes.extend(rule_notes(schema, counted))
    return Records(np.stack(states, axis=1), outcomes[labelled].astype(np.uint8))


def _content(path: Path) -> bytes:
    try:
        found = read_regular(path, MOST_BYTES + 1)
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error
    if found is None:
        raise TrainingDataInvalid(f"{path} is not a file; name a CSV file.")
    if len(found[0]) > MOST_BYTES:
        raise TrainingDataInvalid(
            f"{path} is larger than {MOST_BYTES >> 20} MiB, the limit for one holder; divide it."
        )
    return found[0]
