"""The columns of a CSV file as texts, a few columns at a time.

Distinct texts take several times the memory of numbers, so that a wide file is read once for every
group of columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.cells import plain_name
from features.text_table import TextColumn, Wanted, read_table
from utils.errors import TrainingDataInvalid
from utils.regular_files import read_regular
from utils.strict_csv import CsvSource

COLUMNS_AT_ONCE = 12
MOST_BYTES = 2 << 30
MOST_ROWS = 5_000_000
MOST_COLUMNS = 4096


@dataclass(frozen=True, repr=False)
class CsvData:
    """The content of a file, its headers, its separator, and notes on its form."""

    source: CsvSource
    content: bytes
    headers: tuple[str, ...]
    separator: str
    notes: tuple[str, ...]


def open_csv(path: Path, target: str) -> CsvData:
    """Read a file; of several possible separators, prefers that by which `target` is a header.

    Raises TrainingDataInvalid if it cannot be read, is too large or has too many columns.
    """
    source = CsvSource(str(path), TrainingDataInvalid)
    try:
        found = read_regular(path, MOST_BYTES + 1)
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error
    if found is None:
        raise TrainingDataInvalid(f"{path} is not a file; name a CSV file.")
    content = found[0]
    if len(content) > MOST_BYTES:
        raise TrainingDataInvalid(f"{path} is larger than {MOST_BYTES >> 30} GiB; use a sample.")
    wanted = plain_name(target)
    table = source.table(content, lambda names: sum(plain_name(each) == wanted for each in names))
    headers = tuple(table.header[1])
    if len(headers) > MOST_COLUMNS:
        raise TrainingDataInvalid(f"{path} has {len(headers)} columns, more than {MOST_COLUMNS}.")
    return CsvData(source, content, headers, table.separator, table.notes)


def text_columns(
    data: CsvData, headers: list[str]
) -> Iterator[tuple[TextColumn, NDArray[np.int64]]]:
    """Yield each of the columns, and the line of every row.

    Each header occurs once in the file. Raises TrainingDataInvalid, with the line.
    """
    for start in range(0, len(headers), COLUMNS_AT_ONCE):
        group = headers[start : start + COLUMNS_AT_ONCE]
        table = read_table(
            data.source, data.content, [Wanted(each, (each,)) for each in group], MOST_ROWS
        )
        for header in group:
            yield table.columns.pop(header), table.lines
