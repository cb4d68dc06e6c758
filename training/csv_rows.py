"""Strict CSV reading: a row that does not match its header is an error, never reinterpreted.

- The text is UTF-8, with or without a byte order mark, or UTF-16 with one. Lines end with LF, CRLF
  or CR.
- Fields are separated by commas. A field that contains a comma, a quote or a line break is in
  double quotes, with every quote in it doubled (RFC 4180).
- The first row names the columns. Each requested name occurs exactly once; other columns may have
  any name, or none, and are ignored.
- Every row has as many fields as the header. Empty lines are skipped.
- Only an empty field is a missing value.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from utils.errors import TrainingDataInvalid

LINE = "line"
"""Name of the index of the frame: the line of the file where each row begins."""
_ROWS_AT_ONCE = 65_536  # text needs several times the memory of the parsed numbers
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how surrogateescape decodes such bytes

Row = tuple[int, list[str]]


def read_header(path: Path) -> list[str]:
    """Return the names in the first row, in order; raises TrainingDataInvalid."""
    rows = _rows(path)
    _, names = _header(path, rows)
    rows.close()
    return names


def require_columns(
    present: Sequence[str], names: Sequence[str], source: str, advice: str = "Check the header."
) -> None:
    """Raise TrainingDataInvalid if any of `names` is not among the columns `present`."""
    absent = [name for name in names if name not in present]
    if absent:
        # Names with surrounding spaces are quoted, so that the spaces are visible.
        shown = [name if name == name.strip() else repr(name) for name in present]
        raise TrainingDataInvalid(
            f"{source} has no column {listed(absent, 20)}; it has {listed(shown, 40)}. {advice}"
        )


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names, each truncated, for an error message."""
    return ", ".join(name[:60] for name in names[:most]) + (" …" if len(names) > most else "")


def read_columns(path: Path, columns: Sequence[str], text: Collection[str] = ()) -> pd.DataFrame:
    """Return `columns` of all rows, indexed by the line where each row begins.

    A column becomes numeric if all its fields are numbers, unless it is listed in `text`. A missing
    value is NaN in a numeric column and None in others. Raises TrainingDataInvalid with the line
    number.
    """
    rows = _rows(path)
    line, names = _header(path, rows)
    require_columns(names, columns, str(path))
    for name in columns:
        if names.count(name) > 1:
            raise _refusal(
                path, line, f"has {names.count(name)} columns called {name}; keep one of them"
            )
    positions = [names.index(name) for name in columns]
    parts: list[pd.DataFrame] = []
    lines: list[int] = []
    checked = _of_one_length(path, rows, len(names))
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


def _header(path: Path, rows: Iterator[Row]) -> Row:
    line, names = next(rows, (0, []))
    if not names:
        raise TrainingDataInvalid(f"{path} cannot be read: it is empty.")
    if len(names) == 1:
        for separator, plural in _OTHER_SEPARATORS.items():
            if separator in names[0]:
                raise _refusal(
                    path,
                    line,
                    f"separates its fields by {plural}; save the file with commas between fields "
                    "and with decimal points",
                )
    return line, names


def _of_one_length(path: Path, rows: Iterable[Row], length: int) -> Iterator[Row]:
    for line, fields in rows:
        if len(fields) > length:
            advice = (
                "write numbers without thousands separators (157000, not 157,000), and put any "
                "other field that contains a comma in double quotes"
            )
        else:
            advice = "write a missing value as an empty field, and keep its comma"
        if len(fields) != length:
            raise _refusal(
                path, line, f"has {len(fields)} fields, but the header has {length}; {advice}"
            )
        yield line, fields


def _rows(path: Path) -> Generator[Row, None, None]:
    """Yield the fields of every row, starting with the header, and the line where it begins."""
    try:
        with path.open("rb") as file:
            # UTF-32 is taken for UTF-16 here, and then refused for its NUL characters.
            start = file.peek(2)[:2]
            utf16 = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
            text = io.TextIOWrapper(file, encoding, errors, newline="")
            yield from _parsed(path, _checked(path, text))
    except UnicodeError as error:
        raise TrainingDataInvalid(
            f"{path} cannot be read: it starts like UTF-16 but is not valid; save it in UTF-8."
        ) from error
    except OSError as error:
        raise TrainingDataInvalid(f"{path} cannot be read: {error.strerror or error}.") from error


def _parsed(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _refusal(
                path,
                line,
                f"begins a row with unbalanced double quotes ({error}); close every quoted field, "
                "and double the quotes inside one",
            ) from error
        if fields is None:
            return
        if fields:
            yield line, fields
        line = reader.line_num + 1


def _checked(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise _refusal(path, number, "contains a NUL character; save the file as text in UTF-8")
        if not line.isascii() and _NOT_UTF8.search(line):
            raise _refusal(
                path,
                number,
                "is not in UTF-8; save the file as CSV in UTF-8 (export a spreadsheet, unpack an "
                "archive first)",
            )
        yield line


def _refusal(path: Path, line: int, reason: str) -> TrainingDataInvalid:
    return TrainingDataInvalid(f"{path} cannot be read: line {line} {reason}.")
