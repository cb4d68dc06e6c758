"""Columns of a CSV file as distinct texts and their positions, a few columns at a time.

Distinct texts take several times the memory of parsed numbers, so that a wide file is read once
for every group of columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.csv_rows import read_header
from utils.errors import TrainingDataInvalid
from utils.strict_csv import CsvSource

COLUMNS_AT_ONCE = 12
MOST_ROWS = 5_000_000
MOST_COLUMNS = 4096


@dataclass(frozen=True, repr=False)
class TextColumn:
    """A column: its distinct `texts`, the position of each row's text, and the rows' lines.

    `positions` and `lines` have shape (rows,).
    """

    header: str
    texts: tuple[str, ...]
    positions: NDArray[np.int32]
    lines: NDArray[np.int64]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of rows of each text."""
        return np.bincount(self.positions, minlength=len(self.texts))

    def first_line(self, position: int) -> int:
        """Return the line of the first row that has the text."""
        return int(self.lines[int(np.argmax(self.positions == position))])

    def of_rows(self, rows: NDArray[np.bool_]) -> TextColumn:
        """Return the column of some rows."""
        return TextColumn(self.header, self.texts, self.positions[rows], self.lines[rows])


def headers_of(path: Path) -> list[str]:
    """Return the headers of a file; raises TrainingDataInvalid."""
    headers = read_header(path)
    if len(headers) > MOST_COLUMNS:
        raise TrainingDataInvalid(
            f"{path} has {len(headers)} columns; the limit is {MOST_COLUMNS}."
        )
    return headers


def read_text_columns(path: Path, wanted: list[int], width: int) -> Iterator[TextColumn]:
    """Yield the columns at the positions `wanted` of a file with `width` columns, in order.

    Raises TrainingDataInvalid for a row of another length, with its line, and beyond `MOST_ROWS`.
    """
    for start in range(0, len(wanted), COLUMNS_AT_ONCE):
        yield from _group(path, wanted[start : start + COLUMNS_AT_ONCE], width)


def _group(path: Path, wanted: list[int], width: int) -> list[TextColumn]:
    source = CsvSource(str(path), TrainingDataInvalid)
    found: list[dict[str, int]] = [{} for _ in wanted]
    positions = [array("i") for _ in wanted]
    lines = array("q")
    try:
        with path.open("rb") as file:
            rows = source.rows(file)
            _, headers = source.comma_header(rows)
            for line, fields in source.of_one_length(rows, width):
                if len(lines) == MOST_ROWS:
                    raise source.refusal(line, f"is beyond the limit of {MOST_ROWS} rows")
                lines.append(line)
                for texts, column, index in zip(found, positions, wanted, strict=True):
                    text = fields[index]
                    column.append(texts.setdefault(text, len(texts)))
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error
    of_rows = np.frombuffer(lines, np.int64)
    return [
        TextColumn(headers[index], tuple(texts), np.frombuffer(column, np.int32), of_rows)
        for texts, column, index in zip(found, positions, wanted, strict=True)
    ]
