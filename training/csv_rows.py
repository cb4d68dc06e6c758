"""Columns of a CSV file as a frame, read strictly (utils/strict_csv.py).

Each requested name occurs exactly once in the header; other columns may have any name, or none, and
are ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from utils.errors import TrainingDataInvalid
from utils.strict_csv import CsvSource, listed

__all__ = [
    "LINE",
    "listed",
    "read_columns",
    "read_content",
    "read_header",
    "require_columns",
    "source_of",
]

LINE = "line"
"""Name of the index of the frame: the line of the file where each row begins."""
MOST_BYTES = 2 << 30
_ROWS_AT_ONCE = 65_536  # text needs several times the memory of the parsed numbers


def read_header(path: Path) -> list[str]:
    """Return the names in the first row, in order; raises TrainingDataInvalid."""
    return source_of(path).table(read_content(path)).header[1]


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
    source = source_of(path)
    table = source.table(read_content(path))
    positions = source.positions(table.header, columns)
    parts: list[pd.DataFrame] = []
    lines: list[int] = []
    while part := list(islice(table.rows, _ROWS_AT_ONCE)):
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


def read_content(path: Path) -> bytes:
    """Return the bytes of a file or pipe, at most `MOST_BYTES`; raises TrainingDataInvalid."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(data) > MOST_BYTES:
        raise TrainingDataInvalid(
            f"{path} is larger than {MOST_BYTES >> 30} GiB, the limit for training; use fewer rows."
        )
    return data


def source_of(path: Path) -> CsvSource:
    """Return the file as errors name it."""
    return CsvSource(str(path), TrainingDataInvalid)
