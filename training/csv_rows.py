"""Reading CSV files strictly: a row that does not fit its header is refused, never reinterpreted.

- The text is UTF-8, with or without a byte order mark, or UTF-16 with one. Lines end with LF, CRLF
  or CR.
- Fields are separated by commas. One that holds a comma, a quote or a line break is in double
  quotes, with every quote in it doubled (RFC 4180).
- The first row names the columns. A name that is asked for occurs once; other columns may have any
  name, or none, and are ignored.
- Every row has as many fields as the header. Lines with nothing in them are skipped.
- An empty field is a missing value; nothing else is.
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
"""Name of the index of what is read: the line of the file where each row begins."""
_ROWS_AT_ONCE = 65_536  # as text they take several times the space of the numbers they become
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
    """Raise TrainingDataInvalid where `source`, which has the columns `present`, lacks a name."""
    absent = [name for name in names if name not in present]
    if absent:
        # A name with a blank before or behind it is quoted, so that the blank is seen.
        shown = [name if name == name.strip() else repr(name) for name in present]
        raise TrainingDataInvalid(
            f"{source} has no column {listed(absent, 20)}; it has {listed(shown, 40)}. {advice}"
        )


def listed(names: Sequence[str], most: int) -> str:
    """Return the first names, each cut short, for an error message."""
    return ", ".join(name[:60] for name in names[:most]) + (" …" if len(names) > most else "")


def read_columns(path: Path, columns: Sequence[str], text: Collection[str] = ()) -> pd.DataFrame:
    """Return `columns` of all rows, indexed by the line where each row begins.

    A column becomes numbers where every field of it is one, unless it is in `text`; a missing
    value becomes NaN, in a column of text None. Raises TrainingDataInvalid with the line number.
    """
    rows = _rows(path)
    line, names = _header(path, rows)
    require_columns(names, columns, str(path))
    for name in columns:
        if names.count(name) > 1:
            raise _refusal(
                path, line, f"names the column {name} {names.count(name)} times; keep one of them"
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
    # A field such as `nan` is a word that somebody wrote, not a missing value.
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
                    f"separates its fields by {plural}; save the file with commas between the "
                    "fields, and a point in decimal numbers",
                )
    return line, names


def _of_one_length(path: Path, rows: Iterable[Row], length: int) -> Iterator[Row]:
    for line, fields in rows:
        if len(fields) > length:
            advice = (
                "write a number such as 157,000 without its comma, and any other field that has "
                "a comma in double quotes"
            )
        else:
            advice = "write a missing value as an empty field, with its comma"
        if len(fields) != length:
            raise _refusal(
                path, line, f"has {len(fields)} fields, but the header has {length}; {advice}"
            )
        yield line, fields


def _rows(path: Path) -> Generator[Row, None, None]:
    """Yield the fields of every row, the header's first, with the line where the row begins."""
    try:
        with path.open("rb") as file:
            # Of UTF-32, what this takes for UTF-16 has NUL characters, which are refused.
            start = file.peek(2)[:2]
            utf16 = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
            text = io.TextIOWrapper(file, encoding, errors, newline="")
            yield from _parsed(path, _checked(path, text))
    except UnicodeError as error:
        raise TrainingDataInvalid(
            f"{path} cannot be read: it begins as UTF-16, but is not; save it in UTF-8."
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
                f"begins a row whose double quotes do not match ({error}); close every quoted "
                "field, and double a quote within one",
            ) from error
        if fields is None:
            return
        if fields:
            yield line, fields
        line = reader.line_num + 1


def _checked(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise _refusal(path, number, "has a NUL character; save the file as text in UTF-8")
        if not line.isascii() and _NOT_UTF8.search(line):
            raise _refusal(
                path,
                number,
                "is not in UTF-8; save the file as CSV in UTF-8, and unpack it first where it is "
                "packed or a spreadsheet",
            )
        yield line


def _refusal(path: Path, line: int, reason: str) -> TrainingDataInvalid:
    return TrainingDataInvalid(f"{path} cannot be read: line {line} {reason}.")
