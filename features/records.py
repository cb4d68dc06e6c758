"""Labelled records of a CSV file as states and outcomes, without pandas.

For a party that trains on its own rows. The file's form is that of utils/strict_csv.py; columns
that the schema does not name are ignored. Messages name lines and columns, and no value of a row.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.cells import cell_boolean, cell_value
from features.encoding import ColumnCode, Layout, allowed
from utils.errors import TrainingDataInvalid, ValueOutOfDomain
from utils.regular_files import read_regular
from utils.strict_csv import CsvSource, Row

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


def read_records(path: Path, layout: Layout, target: str | None = None) -> Records:
    """Read a CSV file with the schema's columns and its target, or another `target`.

    Raises TrainingDataInvalid if the file is not a regular one, is larger than `MOST_BYTES` or
    `MOST_ROWS`, has no rows, lacks a column, or, with the line, if a row has a wrong length, a
    value that the schema does not allow, or no outcome.
    """
    source = CsvSource(str(path), TrainingDataInvalid)
    return parse_records(_content(path), layout, target, source)


def parse_records(
    data: bytes, layout: Layout, target: str | None = None, source: CsvSource | None = None
) -> Records:
    """Do the same as `read_records` for the content of a file."""
    source = source or CsvSource("The data", TrainingDataInvalid)
    target = target or layout.schema.decision.target
    names = [code.column.name for code in layout.codes]
    if target in names:
        raise TrainingDataInvalid(f"{target} is a column of the schema. Choose another target.")
    rows = source.rows(io.BufferedReader(io.BytesIO(data)))
    header = source.comma_header(rows)
    positions = source.positions(header, [*names, target])
    return _read(source, source.of_one_length(rows, len(header[1])), positions, layout, target)


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


class _StateOfText(dict[str, int]):
    """The state of each text of a column; each text is parsed and checked once."""

    def __init__(self, code: ColumnCode) -> None:
        super().__init__()
        self._code = code

    def __missing__(self, text: str) -> int:
        try:
            state = self._code.state(cell_value(self._code.column, text))
        except (ValueError, ValueOutOfDomain):
            column = self._code.column
            found = "no value of" if not text.strip() else "a wrong value of"
            raise _CellRefused(f"has {found} {column.name}; give {allowed(column)}") from None
        self[text] = state
        return state


class _OutcomeOfText(dict[str, int]):
    """The outcome of each text of the target: 1 for approved."""

    def __init__(self, target: str, approved: bool) -> None:
        super().__init__()
        self._target, self._approved = target, approved

    def __missing__(self, text: str) -> int:
        try:
            outcome = int(cell_boolean(text) is self._approved)
        except ValueError:
            found = "no" if not text.strip() else "a wrong"
            raise _CellRefused(f"has {found} {self._target}; give 1 or 0, or yes or no") from None
        self[text] = outcome
        return outcome


class _CellRefused(Exception):
    """A field that cannot be used; its line is added by `_read`."""


def _read(
    source: CsvSource, rows: Iterator[Row], positions: list[int], layout: Layout, target: str
) -> Records:
    approved = bool(layout.schema.decision.approved_value)
    readers = [*map(_StateOfText, layout.codes), _OutcomeOfText(target, approved)]
    columns = [bytearray() for _ in readers]  # a column has at most 65 states
    steps = list(zip(positions, readers, columns, strict=True))
    for count, (line, fields) in enumerate(rows, start=1):
        if count > MOST_ROWS:
            raise source.refusal(
                line, f"is beyond the limit of {MOST_ROWS} rows for one holder; divide the file"
            )
        try:
            for position, reader, column in steps:
                column.append(reader[fields[position]])
        except _CellRefused as error:
            raise source.refusal(line, str(error)) from None
    if not columns[-1]:
        raise TrainingDataInvalid(f"{source.name} has a header but no rows.")
    parsed = [np.frombuffer(bytes(column), np.uint8) for column in columns]
    return Records(np.stack(parsed[:-1], axis=1), parsed[-1])
