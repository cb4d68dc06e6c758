"""Strict CSV reading: a row that does not match its header is an error, never reinterpreted.

- The text is UTF-8, with or without a byte order mark, or UTF-16 with one. Lines end with LF, CRLF
  or CR. `table` also reads Windows-1252, unless some lines are in UTF-8 and others are not.
- Fields are separated by commas. A field that contains a comma, a quote or a line break is in
  double quotes, with every quote in it doubled (RFC 4180). `table` finds other separators by the
  header, or by a first line `sep=;` as Excel writes it.
- The first row names the columns. Every row has as many fields as it. Empty lines are skipped.
  `table` also reads files of R's write.table, whose header lacks the column of row names.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from utils.errors import TrisealError

OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEPARATORS = {",": "commas", **OTHER_SEPARATORS, " ": "blanks"}
"""All separators, the first of equally possible ones first."""
LONGEST_LINE = 2 << 20
"""Most characters of a line: a header of one long line would be millions of names."""
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how surrogateescape decodes such bytes
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x81\x8d\x8f\x90\x9d]")
"""Bytes that are no characters of a text in Windows-1252."""
_EXCEL_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?[\r\n]+')
_IDENTIFIER = re.compile(r"(?i).*(\bid|id\b|_id|^key|name|number|^no\.?|^nr\.?)$")
_UTF8_ADVICE = "save the file as CSV in UTF-8 (export a spreadsheet, unpack an archive first)"

Row = tuple[int, list[str]]
"""The line where a row begins, and its fields."""


@dataclass(frozen=True)
class Table:
    """The header of a file, its separator, and its rows, which are read as they are iterated.

    `notes` are sentences on the form of the file that are not a matter of course.
    """

    header: Row
    separator: str
    rows: Iterator[Row]
    notes: tuple[str, ...] = ()


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
            raise self._not_utf16() from error

    def header(self, rows: Iterator[Row]) -> Row:
        """Return the first row; raises the source's error if there is none."""
        line, names = next(rows, (0, []))
        if not names:
            raise self.error(f"{self.name} cannot be read: it is empty.")
        return line, names

    def table(self, data: bytes, known: Callable[[Sequence[str]], int] | None = None) -> Table:
        """Return the header and the rows of a file, whose encoding and separator are found.

        Of several possible separators, the one is used by which the header has the most names that
        `known` counts, and then the most names. Raises the source's error, with the line.
        """
        encoding = self._encoding(data)
        notes = []
        if encoding == "cp1252":
            notes.append(
                "The file is not in UTF-8 and was read as Windows-1252; if letters are wrong, save "
                "it in UTF-8."
            )
        head = self._text(data, encoding).readline(64)
        declared = _EXCEL_SEPARATOR.fullmatch(head)

        def rows(separator: str) -> Iterator[Row]:
            lines = self._checked(self._text(data, encoding))
            if declared:
                next(lines)
            return self._parsed(lines, separator, 2 if declared else 1)

        separator = declared[1] if declared else self._separator(rows, known)
        parsed = rows(separator)
        header = self.header(parsed)
        if separator != ",":
            notes.append(f"Fields are separated by {SEPARATORS[separator]}.")
        first = next(parsed, None)
        body = chain([first] if first else [], parsed)
        checked: Iterator[Row]
        quoted = first is not None and self._quotes_first(data, encoding, first[0], separator)
        if first and _has_row_name(header[1], first[1], quoted):
            notes.append(
                "Every row has one field more than the header: the first field was read as the "
                "name of the row, as R's write.table writes it."
            )
            checked = self._without_row_names(body, len(header[1]), separator, quoted)
        else:
            checked = self.of_one_length(body, len(header[1]), separator)
        return Table(header, separator, checked, tuple(notes))

    def _quotes_first(self, data: bytes, encoding: str, line: int, separator: str) -> bool:
        """Return True if a line has its first field in quotes, and a number without quotes."""
        text = next(islice(self._text(data, encoding), line - 1, None), "")
        return text.startswith('"') and bool(re.search(re.escape(separator) + r"-?[0-9]", text))

    def _separator(
        self,
        rows: Callable[[str], Iterator[Row]],
        known: Callable[[Sequence[str]], int] | None,
    ) -> str:
        """Return the separator by which the header has the most known names, and most names."""
        best, most, refused = ",", (-1, 0), None
        for separator in SEPARATORS:
            if separator == " " and most[1] > 1:
                break  # blanks within names
            try:
                _, names = self.header(rows(separator))
            except self.error as error:  # quotes that do not end before this separator
                refused = refused or error
                continue
            if (rank := (known(names) if known else 0, len(names))) > most:
                best, most = separator, rank
        if refused is not None and most[1] <= 1:
            raise refused
        return best

    def _without_row_names(
        self, rows: Iterator[Row], length: int, separator: str, quoted: bool
    ) -> Iterator[Row]:
        """Yield the rows without their names; numbers count the rows, unless they are `quoted`.

        Raises the source's error if the names are not distinct, or if the additional field can
        come from unquoted thousands separators: in every row, a group of three digits at the same
        place, one of which begins with 0.
        """
        start = next(rows, None)
        if start is None:
            return
        names: set[str] = set()
        counted = None if quoted or not start[1][0].isdecimal() else int(start[1][0])
        groups, zeros = set(range(1, length)), False
        for line, fields in chain([start], rows):
            name = fields[0]
            wrong = counted is not None and name != str(counted + len(names))
            if wrong or len(fields) != length + 1 or name in names:
                self._require_length(start, length, separator)
            names.add(name)
            groups = {i for i in groups if _is_group(fields[i], fields[i + 1])}
            zeros = zeros or any(fields[i + 1].startswith("0") for i in groups)
            yield line, fields[1:]
        if groups and zeros:
            self._require_length(start, length, separator)

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

    def of_one_length(
        self, rows: Iterable[Row], length: int, separator: str = ","
    ) -> Iterator[Row]:
        """Yield the rows; raises the source's error for one without `length` fields."""
        for row in rows:
            self._require_length(row, length, separator)
            yield row

    def _require_length(self, row: Row, length: int, separator: str) -> None:
        line, fields = row
        if len(fields) == length:
            return
        if len(fields) < length:
            advice = "write a missing value as an empty field, and keep its separator"
        elif separator == ",":
            advice = (
                "write numbers without thousands separators (157000, not 157,000), and put any "
                "other field that contains a comma in double quotes; if the first field is the "
                "name of the row, name it in the header as well"
            )
        else:
            advice = "put any field that contains the separator in double quotes"
        raise self.refusal(line, f"has {len(fields)} fields, but the header has {length}; {advice}")

    def _encoding(self, data: bytes) -> str:
        """Return the encoding of a file; raises the source's error, with the line."""
        if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            try:
                data.decode(
                    "utf-16"
                )  # UTF-32 as well, which is then refused for its NUL characters
            except UnicodeError as error:
                raise self._not_utf16() from error
            return "utf-16"
        if data.isascii() or _is_utf8(data):
            return "utf-8-sig"
        # One encoding for the whole file: a damaged UTF-8 file is not read as another one.
        mixed = wrong = 0
        for number, line in enumerate(data.splitlines(), start=1):
            if _NOT_TEXT.search(line):
                if b"\0" in line:
                    break  # refused with its line when it is read
                raise self.refusal(number, f"is not in UTF-8; {_UTF8_ADVICE}")
            if not line.isascii():
                mixed, wrong = (number, wrong) if _is_utf8(line) else (mixed, wrong or number)
        if mixed and wrong:
            raise self.refusal(wrong, f"is not in UTF-8, although others are; {_UTF8_ADVICE}")
        return "cp1252"

    def _not_utf16(self) -> TrisealError:
        return self.error(
            f"{self.name} cannot be read: it starts like UTF-16 but is not valid; save it in UTF-8."
        )

    def _text(self, data: bytes, encoding: str) -> io.TextIOWrapper:
        # Every byte has a character, so that a NUL is refused with its line.
        errors = "strict" if encoding == "utf-16" else "replace"
        return io.TextIOWrapper(io.BytesIO(data), encoding, errors, newline="")

    def _parsed(self, lines: Iterable[str], separator: str, line: int = 1) -> Iterator[Row]:
        # R aligns its fields by any number of blanks.
        blanks = separator == " "
        reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=blanks)
        before = line - 1
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
            line = before + reader.line_num + 1

    def _checked(self, lines: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            if len(line) > LONGEST_LINE:
                raise self.refusal(
                    number,
                    f"has more than {LONGEST_LINE} characters; write each row in its own line",
                )
            if "\0" in line:
                raise self.refusal(
                    number, "contains a NUL character; save the file as text in UTF-8"
                )
            if not line.isascii() and _NOT_UTF8.search(line):
                raise self.refusal(
                    number,
                    f"is not in UTF-8; {_UTF8_ADVICE}",
                )
            yield line


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_group(before: str, digits: str) -> bool:
    """Return True if two fields can be a number that was divided at a thousands separator."""
    return len(digits) == 3 and digits.isdecimal() and before.isdecimal() and len(before) <= 3


def _has_row_name(header: Sequence[str], fields: Sequence[str], quoted: bool) -> bool:
    """Return True if the first row can begin with a row name that the header lacks.

    A number is one only if it counts the rows, from 0 or 1, or is in quotes beside numbers without,
    as R writes row names. Nothing is one where the header begins with an identifier, which the
    field then is.
    """
    if len(fields) != len(header) + 1 or len(header) < 2:
        return False
    name = fields[0]
    if name.isdecimal() and not quoted:
        return name in ("0", "1")
    if _IDENTIFIER.match(header[0]):
        return False
    return bool(name.strip()) and (quoted or not name[0].isdecimal())


def other_separator(names: Sequence[str]) -> str | None:
    """Return the separator by which a header that has no comma is apparently divided."""
    if len(names) != 1:
        return None
    return next((each for each in OTHER_SEPARATORS if each in names[0]), None)


def listed(names: Sequence[str], most: int) -> str:
    """Return the first `most` names, each truncated, for an error message."""
    return ", ".join(name[:60] for name in names[:most]) + (" …" if len(names) > most else "")
