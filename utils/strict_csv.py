"""Strict CSV reading: a row that does not match its header is an error, never reinterpreted.

- The text is UTF-8, with or without a byte order mark, or UTF-16 with one. Lines end with LF, CRLF
  or CR.
- Fields are separated by commas. A field that contains a comma, a quote or a line break is in
  double quotes, with every quote in it doubled (RFC 4180).
- The first row names the columns. Every row has as many fields as it. Empty lines are skipped.
- Only an empty field is a missing value.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from utils.errors import TrisealError

OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how surrogateescape decodes such bytes

Row = tuple[int, list[str]]
"""The line where a row begins, and its fields."""


@dataclass(frozen=True)
class CsvSource:
    """A CSV file by the name that errors call it, with the class of those errors."""

    name: str
    error: type[TrisealError]

    def refusal(self, line: int, reason: str) -> TrisealError:
        """Return the error for a line."""
        return self.error(f"{self.name} cannot be read: line {line} {reason}.")

    def rows(self, file: io.BufferedReader, separator: str = ",") -> Generator[Row, None, None]:
        """Yield all rows, starting with the header; raises the source's error with the line."""
        # UTF-32 is taken for UTF-16 here, and then refused for its NUL characters.
        start = file.peek(2)[:2]
        utf16 = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
        text = io.TextIOWrapper(file, encoding, errors, newline="")
        try:
            yield from self._parsed(self._checked(text), separator)
        except UnicodeError as error:
            raise self.error(
                f"{self.name} cannot be read: it starts like UTF-16 but is not valid; save it in "
                "UTF-8."
            ) from error

    def header(self, rows: Iterator[Row]) -> Row:
        """Return the first row; raises the source's error if there is none."""
        line, names = next(rows, (0, []))
        if not names:
            raise self.error(f"{self.name} cannot be read: it is empty.")
        return line, names

    def comma_header(self, rows: Iterator[Row]) -> Row:
        """Return the first row of a file with commas; raises the source's error for another one."""
        line, names = self.header(rows)
        separator = other_separator(names)
        if separator is not None:
            raise self.refusal(
                line,
                f"separates its fields by {OTHER_SEPARATORS[separator]}; save the file with commas "
                "between fields and with decimal points",
            )
        return line, names

    def positions(self, header: Row, wanted: Sequence[str]) -> list[int]:
        """Return the position of each wanted name, which the header has exactly once.

        Raises the source's error.
        """
        line, names = header
        self.require(names, wanted)
        for name in wanted:
            if names.count(name) > 1:
                raise self.refusal(
                    line, f"has {names.count(name)} columns called {name}; keep one of them"
                )
        return [names.index(name) for name in wanted]

    def require(
        self, present: Sequence[str], names: Sequence[str], advice: str = "Check the header."
    ) -> None:
        """Raise the source's error if any of `names` is not among the columns `present`."""
        absent = [name for name in names if name not in present]
        if absent:
            # Names with surrounding spaces are quoted, so that the spaces are visible.
            shown = [name if name == name.strip() else repr(name) for name in present]
            raise self.error(
                f"{self.name} has no column {listed(absent, 20)}; it has {listed(shown, 40)}. "
                f"{advice}"
            )

    def of_one_length(self, rows: Iterable[Row], length: int) -> Iterator[Row]:
        """Yield the rows; raises the source's error for one without `length` fields."""
        for line, fields in rows:
            if len(fields) > length:
                advice = (
                    "write numbers without thousands separators (157000, not 157,000), and put any "
                    "other field that contains a comma in double quotes"
                )
            else:
                advice = "write a missing value as an empty field, and keep its comma"
            if len(fields) != length:
                raise self.refusal(
                    line, f"has {len(fields)} fields, but the header has {length}; {advice}"
                )
            yield line, fields

    def _parsed(self, lines: Iterable[str], separator: str) -> Iterator[Row]:
        reader = csv.reader(lines, strict=True, delimiter=separator)
        line = 1
        while True:
            try:
                fields = next(reader, None)
            except csv.Error as error:
                raise self.refusal(
                    line,
                    f"begins a row with unbalanced double quotes ({error}); close every quoted "
                    "field, and double the quotes inside one",
                ) from error
            if fields is None:
                return
            if fields:
                yield line, fields
            line = reader.line_num + 1

    def _checked(self, lines: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            if "\0" in line:
                raise self.refusal(
                    number, "contains a NUL character; save the file as text in UTF-8"
                )
            if not line.isascii() and _NOT_UTF8.search(line):
                raise self.refusal(
                    number,
                    "is not in UTF-8; save the file as CSV in UTF-8 (export a spreadsheet, unpack "
                    "an archive first)",
                )
            yield line


def other_separator(names: Sequence[str]) -> str | None:
    """Return the separator by which a header that has no comma is apparently divided."""
    if len(names) != 1:
        return None
    return next((each for each in OTHER_SEPARATORS if each in names[0]), None)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names, each truncated, for an error message."""
    return ", ".join(name[:60] for name in names[:most]) + (" …" if len(names) > most else "")
