"""The needed columns of a data file as texts, and as values of a schema's columns.

Each distinct text of a column is kept and read once; rows refer to it by a number. No pandas, so
that a lender's agent does without it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from features.cells import is_missing, plain_name
from features.columns import FileForm, ReadColumn, read_column
from features.labels import ReadLabels, read_labels
from features.numbers import decimal_marks
from features.schema import Column, Decision, OrdinalColumn
from utils.errors import TrisealError
from utils.strict_csv import CsvSource, Row

MOST_FAULTS = 10
"""Most faults that an error names."""
_ROWS_FOR_MARK = 1000


@dataclass(frozen=True, repr=False)
class TextColumn:
    """The distinct texts of a column, in order of appearance, and the text of each row.

    `codes` (rows,) has the position of each row's text in `texts`.
    """

    header: str
    texts: list[str]
    codes: NDArray[np.uint32]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """The number of rows of each text."""
        return np.bincount(self.codes, minlength=len(self.texts))

    def first_row(self, position: int) -> int:
        """Return the first row that has a text."""
        return int(np.flatnonzero(self.codes == position)[0])

    def of(self, rows: NDArray[np.bool_]) -> TextColumn:
        """Return the column with only the marked rows, and only the texts that they have."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return TextColumn(self.header, [self.texts[i] for i in used], codes.astype(np.uint32))


@dataclass(frozen=True, repr=False)
class TextTable:
    """Columns of a file by the name that was asked for, the line of each row, and notes."""

    source: CsvSource
    separator: str
    lines: NDArray[np.int64]
    columns: dict[str, TextColumn]
    notes: list[str]

    def of(self, rows: NDArray[np.bool_]) -> TextTable:
        """Return the table with only the marked rows."""
        kept = {name: column.of(rows) for name, column in self.columns.items()}
        return TextTable(self.source, self.separator, self.lines[rows], kept, self.notes)


@dataclass(frozen=True)
class Wanted:
    """A column to read: the name to return it by, and its possible headers, the best one first.

    A `shared` one may be read by another name as well.
    """

    name: str
    headers: tuple[str, ...]
    required: bool = True
    shared: bool = False


def wanted(column: Column, required: bool = True) -> Wanted:
    """Return the request for a column of a schema, by its source or else its name."""
    return Wanted(column.name, tuple(dict.fromkeys((column.header, column.name))), required)


def read_table(
    source: CsvSource, data: bytes, requests: Sequence[Wanted], most_rows: int | None = None
) -> TextTable:
    """Read columns of a CSV file (utils/strict_csv.py); others are ignored.

    A header is matched exactly or, if no column has exactly that name, without regard to case,
    accents, and the characters between words. Raises the source's error, with the line, if a
    column is absent or ambiguous, or a row is not as long as the header.
    """
    plain = {plain_name(header) for request in requests for header in request.headers}
    table = source.table(data, lambda names: sum(plain_name(name) in plain for name in names))
    notes = list(table.notes)
    positions = _positions(source, table.header, requests, notes)
    texts: list[dict[str, int]] = [{} for _ in positions]
    codes = [array("I") for _ in positions]
    lines = array("q")
    steps = list(zip(positions.values(), texts, codes, strict=True))
    for line, fields in table.rows:
        if most_rows is not None and len(lines) >= most_rows:
            raise source.refusal(
                line, f"is beyond the limit of {most_rows} rows for one holder; divide the file"
            )
        lines.append(line)
        for position, known, column in steps:
            text = fields[position]
            code = known.get(text)
            if code is None:
                code = known[text] = len(known)
            column.append(code)
    if not lines:
        raise source.error(f"{source.name} has a header but no rows.")
    _, names = table.header
    columns = {
        name: TextColumn(names[position], list(known), np.frombuffer(own, np.uint32))
        for (name, position), known, own in zip(positions.items(), texts, codes, strict=True)
    }
    return TextTable(source, table.separator, np.frombuffer(lines, np.int64), columns, notes)


def _positions(
    source: CsvSource, header: Row, requests: Sequence[Wanted], notes: list[str]
) -> dict[str, int]:
    """Return the position of each requested column that the header has."""
    line, names = header
    plain = [plain_name(name) for name in names]
    found: dict[str, int] = {}
    absent = []
    for request in requests:
        own: list[int] = []
        for header_name in request.headers:
            own = own or [i for i, name in enumerate(names) if name == header_name]
        for header_name in request.headers:
            key = plain_name(header_name)
            own = own or [i for i, name in enumerate(plain) if key and name == key]
        if len(own) > 1:
            called = " and ".join(dict.fromkeys(names[i] for i in own))
            raise source.refusal(line, f"has {len(own)} columns called {called}; keep one of them")
        if own:
            found[request.name] = own[0]
            if names[own[0]] != request.headers[0]:
                notes.append(f"Column {request.headers[0]} was read from {names[own[0]]!r}.")
        elif request.required:
            absent.append(request.headers[0])
    if absent:
        source.require(
            names,
            absent,
            "Name the header of each column of the schema as its source, and the label column with "
            "--target.",
        )
    own_column = {r.name: found[r.name] for r in requests if r.name in found and not r.shared}
    twice = {i for i in own_column.values() if list(own_column.values()).count(i) > 1}
    if twice:
        columns = ", ".join(name for name, i in own_column.items() if i in twice)
        raise source.error(
            f"{source.name}: {columns} would be read from one column; give each its own source in "
            "the schema."
        )
    return found


def read_outcomes(
    table: TextTable, target: str, decision: Decision, *, show_values: bool = True
) -> NDArray[np.int8]:
    """Return 1 (approved), 0 (denied) or -1 (no label) of each row, and add notes to the table.

    Raises the source's error; without `show_values`, it has no text of a row.
    """
    column = table.columns[target]
    read: ReadLabels = read_labels(target, decision, column.texts, column.counts.tolist())
    if read.fault is not None:
        line = table.lines[column.first_row(read.position)]
        reason = read.fault
        if not show_values and column.texts[read.position].strip():
            reason = (
                f"{target} has a wrong label: give two labels, such as 1 and 0, or yes and no, or "
                "set decision.approved_value in the schema to the one that means approval"
            )
        raise table.source.error(f"{table.source.name} cannot be used: line {line}: {reason}.")
    table.notes.extend(read.notes)
    outcomes = np.array([-1 if each is None else each for each in read.approved], np.int8)
    return outcomes[column.codes]


def read_columns_of(
    table: TextTable,
    columns: Sequence[Column],
    *,
    form: FileForm | None = None,
    may_lack: frozenset[str] = frozenset(),
    show_values: bool = True,
) -> dict[str, ReadColumn]:
    """Return the values of the distinct texts of each column, and add notes to the table.

    Columns named in `may_lack` may lack values although they are not optional. Raises the source's
    error, which names up to `MOST_FAULTS` faults with their lines; without `show_values`, it has no
    text of a row.
    """
    form = form or FileForm()
    form = FileForm(table.separator, form.mark or _file_mark(table, columns), form.reference)
    found = {}
    for column in columns:
        own = table.columns[column.name]
        read = read_column(column, own.texts, own.counts.tolist(), form, column.name in may_lack)
        found[column.name] = read
        table.notes.extend(read.notes)
    faults = [
        (int(table.lines[own.first_row(i)]), int(own.counts[i]), read.column, own.texts[i], reason)
        for read in found.values()
        for own in (table.columns[read.column.name],)
        for i, reason in read.faults.items()
    ]
    if faults:
        raise _refusal(table.source, faults, show_values)
    return found


def _file_mark(table: TextTable, columns: Sequence[Column]) -> str | None:
    """Return the decimal mark of a file's numbers, or None if its columns do not show one."""
    if table.separator == ",":
        return None
    marks: set[str] = set()
    for column in columns:
        if isinstance(column, OrdinalColumn):
            texts = table.columns[column.name].texts[:_ROWS_FOR_MARK]
            marks |= decimal_marks([text for text in texts if not is_missing(text)])
    return marks.pop() if len(marks) == 1 else None


def _refusal(
    source: CsvSource, faults: list[tuple[int, int, Column, str, str]], show_values: bool
) -> TrisealError:
    faults = sorted(faults, key=lambda fault: fault[0])
    parts = []
    for line, rows, column, text, reason in faults[:MOST_FAULTS]:
        if not show_values and text.strip():
            reason = reason.replace(f"cannot be {text[:80]!r}", "has a wrong value", 1)
        more = "" if rows == 1 else f" (and in {rows - 1} more {'row' if rows == 2 else 'rows'})"
        named = "" if column.header == column.name else f" (column {column.header})"
        parts.append(f"line {line}: {reason}{named}{more}")
    left = len(faults) - MOST_FAULTS
    parts += [f"and {left} more wrong texts"] if left > 0 else []
    return source.error(f"{source.name} cannot be used: {'; '.join(parts)}.")
