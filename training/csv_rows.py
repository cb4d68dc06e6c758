"""Columns of a CSV file as a frame, read strictly (utils/strict_csv.py).

Each requested name occurs exactly once in the header; other columns may have any name, or none, and
are ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from utils.errors import TrainingDataInvalid
from utils.strict_csv import CsvSource, Row, listed

__all__ = ["LINE", "listed", "read_columns", "read_header", "require_columns"]

LINE = "line"
"""Name of the index of the frame: the line of the file where each row begins."""
_ROWS_AT_ONCE = 65_536  # text needs several times the memory of the parsed numbers


def read_header(path: Path) -> list[str]:
    """Return the names in the first row, in order; raises TrainingDataInvalid."""
    source, rows = _source(path), _rows(path)
    _, names = source.comma_header(rows)
    rows.close()
    return names


def require_columns(
    present: Sequence[str], names: Sequence[str], source: str, advice: str = "Check the header."
) -> None:
    """Raise TrainingDataInvalid if any of `names` is not among the columns `present`."""
    CsvSource(source, TrainingDataInvalid).require(present, names, advice)


def read_columns(path: Path, columns: Sequence[str], text: Collection[str] = ()) -> pd.DataFrame:
    """Return `columns` of all rows, indexed by the line where each row begins.

    A column becomes numeric if all its fields are numbers, unless it is listed in `text`. A missing
    value is NaN in a numeric column and None in others. Raises TrainingDataInvalid with the line
    number.
    """
    source, rows = _source(path), _rows(path)
    header = source.comma_header(rows)
    positions = source.positions(header, columns)
    parts: list[pd.DataFrame] = []
    lines: list[int] = []
    checked = source.of_one_length(rows, len(header[1]))
    while part := list(islice(checked, _ROWS_AT_ONCE)):
        lines += [line for line, _ in part]
        parts.append(
            pd.DataFrame(
                {
                    name: _typed([fields[position] for _, fields in part], name in text)
                    for name, position in zip(columns, positions, strict=True)
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
    frame.index = pd.Index(lines, name=LINE)
    return frame


def _typed(fields: list[str], text: bool) -> pd.Series:
    given = pd.Series([field or None for field in fields], dtype=object)
    if text:
        return given
    try:
        numbers = pd.to_numeric(given)
    except (ValueError, TypeError):
        return given
    # A field such as `nan` is text, not a missing value.
    return given if (numbers.isna() & given.notna()).any() else numbers


def _source(path: Path) -> CsvSource:
    return CsvSource(str(path), TrainingDataInvalid)


def _rows(path: Path) -> Generator[Row, None, None]:
    """Yield the fields of every row, starting with the header, and the line where it begins."""
    try:
        with path.open("rb") as file:
            yield from _source(path).rows(file)
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error
