"""The kind of a column, from its distinct texts: number, yes or no, category, or left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.cells import is_missing, word, yes_or_no
from features.columns import FileForm
from features.dates import looks_like_date, months_before
from features.numbers import AMBIGUOUS, MULTIPLIES, decimal_marks, plain_number, read_numbers
from features.schema import OrdinalColumn
from features.text_table import TextColumn
from training.draft.vocabulary import Meaning

MISSING = -1
"""The position of a missing value."""
_MOSTLY = 0.5
"""From this share of numbers on, a column with other texts counts as damaged."""
_DISTINCT = 0.999
_FEWEST_FOR_IDENTIFIER = 50
_FREE_TEXT = 0.5
_LONG_CODE = 6
_MOST_CODES = 64
_TEXTS_OF_FORM = 1000
"""So many texts show the units, decimal marks and dates of a column."""
_UNIT = re.compile(r"[0-9.,]\+?\s*(%|[^\W\d_]+)$")


@dataclass(frozen=True, repr=False)
class Number:
    """`values` (rows,), NaN where missing; `unit` is empty if the texts have none.

    `marks` are the decimal marks that the texts certainly have; `dates` if they are dates.
    """

    values: NDArray[np.float64]
    integer: bool
    unit: str
    why: str
    marks: frozenset[str] = frozenset()
    dates: bool = False

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.isnan(self.values)


@dataclass(frozen=True, repr=False)
class YesNo:
    """`positions` (rows,): 1 yes, 0 no, -1 missing."""

    positions: NDArray[np.int32]
    why: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.positions == MISSING


@dataclass(frozen=True, repr=False)
class Category:
    """`positions` (rows,) in `texts`, -1 where missing."""

    positions: NDArray[np.int32]
    texts: tuple[str, ...]
    why: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.positions == MISSING


@dataclass(frozen=True)
class LeftOut:
    """A column that is no input of the model; `ambiguous` if its decimal mark is not known."""

    why: str
    ambiguous: bool = False


Reading = Number | YesNo | Category | LeftOut


def read_kind(
    column: TextColumn, lines: NDArray[np.int64], meaning: Meaning, fewest: int, form: FileForm
) -> Reading:
    """Return the column by its kind; left out are empty and constant ones, identifiers and faults.

    `lines` (rows,) are named in the reason of a fault. `fewest` is the minimum number of rows of a
    value that a column is kept for.
    """
    given = [i for i, text in enumerate(column.texts) if not is_missing(text)]
    counts = column.counts
    rows, empty = int(counts[given].sum()), int(counts.sum() - counts[given].sum())
    if not given:
        return LeftOut("empty: no row has a value")
    texts = [column.texts[i] for i in given]
    spelt: Counter[str] = Counter()
    for i, text in zip(given, texts, strict=True):
        spelt[word(text)] += int(counts[i])
    commonest = max(spelt.values())
    if commonest > rows + empty - fewest:
        different = rows + empty - commonest
        return LeftOut(
            "constant: every row has the same value"
            if not different
            else f"nearly constant: only {different} rows have another value, or none"
        )
    meant = [yes_or_no(text) for text in texts]
    if None not in meant and (len(set(meant)) == 2 or len(spelt) == 1):
        return YesNo(_mapped(column, given, [int(bool(each)) for each in meant]), "yes or no")
    if _has_leading_zeros(texts):
        return _category(column, given, "codes with leading zeros")
    read = _dates(column, given, form) or _numbers(column, lines, given, form)
    if isinstance(read, Number) and read.integer and read.unit == "":
        return _whole_number(column, given, read, meaning)
    if read is not None:
        return read
    if len(spelt) > _FREE_TEXT * rows and rows >= _FEWEST_FOR_IDENTIFIER:
        return LeftOut(f"identifier or free text: {len(spelt)} different texts in {rows} rows")
    return _category(column, given, "texts")


def _mapped(column: TextColumn, given: list[int], values: list[int]) -> NDArray[np.int32]:
    """Return the value of each row, by that of its text; -1 where it is missing."""
    table = np.full(len(column.texts), MISSING, np.int32)
    table[given] = values
    return table[column.codes]


def _category(column: TextColumn, given: list[int], why: str) -> Category:
    texts = tuple(column.texts[i] for i in given)
    return Category(_mapped(column, given, list(range(len(given)))), texts, why)


def _has_leading_zeros(texts: list[str]) -> bool:
    """Return True for codes such as 01067, whose zero a number would lose."""
    codes = [text.strip() for text in texts]
    length = len(codes[0])
    return (
        length > 1
        and any(code.startswith("0") for code in codes)
        and all(code.isdecimal() and len(code) == length for code in codes)
    )


def _dates(column: TextColumn, given: list[int], form: FileForm) -> Number | LeftOut | None:
    """Return dates as months before the reference date, or None for other texts."""
    texts = [column.texts[i] for i in given]
    if not any(map(_is_date, texts[:_TEXTS_OF_FORM])):  # most columns end here
        return None
    if sum(map(_is_date, texts)) <= _MOSTLY * len(texts):
        return None
    months = months_before(texts, whole=True, reference=form.reference)
    if months.faults:
        return LeftOut(f"dates, but {len(months.faults)} different texts are not clear dates")
    values = _of_rows(column, given, months.values)
    why = f"dates, as months before {months.reference}"
    return Number(values, True, "months", why, dates=True)


def _is_date(text: str) -> bool:
    return looks_like_date(text) and plain_number(text) is None


def _numbers(
    column: TextColumn, lines: NDArray[np.int64], given: list[int], form: FileForm
) -> Number | LeftOut | None:
    """Return the numbers, the reason why a damaged column is left out, or None for texts."""
    texts = [column.texts[i] for i in given]
    read = read_numbers(_any_number(), texts, form.separator, form.mark)
    if AMBIGUOUS in read.faults.values():
        return LeftOut(f"numbers whose comma or point {AMBIGUOUS}", ambiguous=True)
    if not read.faults:
        values = _of_rows(column, given, read.values)
        if np.isinf(values).any():
            return LeftOut("has numbers that are too large; correct them")
        integer = bool((np.floor(values) == values)[~np.isnan(values)].all())
        marks = frozenset(decimal_marks(texts[:_TEXTS_OF_FORM]))
        kind = "whole numbers" if integer else "numbers"
        return Number(values, integer, _unit(texts), kind, marks)
    damaged = sum(int(column.counts[given[i]]) for i in read.faults)
    rows = int(column.counts[given].sum())
    multiplied = [given[i] for i, fault in read.faults.items() if fault == MULTIPLIES]
    if column.counts[multiplied].sum() > rows / 2:
        return LeftOut(f"numbers, but each {MULTIPLIES}")
    if damaged < _MOSTLY * rows and len(texts) > _MOST_CODES:
        line = min(int(lines[column.first_row(given[i])]) for i in read.faults)
        return LeftOut(
            f"numbers, but {damaged} rows have other texts, the first in line {line}; correct or "
            "empty them"
        )
    return None


def _any_number() -> OrdinalColumn:
    """Return a column of any numbers."""
    return OrdinalColumn(
        name="column", label="", kind="ordinal", minimum=-1e300, maximum=1e300, cuts=[0.0]
    )


def _of_rows(
    column: TextColumn, given: list[int], values: Sequence[float | None]
) -> NDArray[np.float64]:
    table = np.full(len(column.texts), np.nan)
    table[given] = [np.nan if value is None else value for value in values]
    return table[column.codes]


def _unit(texts: list[str]) -> str:
    """Return the unit of the first text that has one, of as many as show the form of a column."""
    found = (_UNIT.search(text.strip()) for text in texts[:_TEXTS_OF_FORM])
    return next((each[1] for each in found if each), "")


def _whole_number(
    column: TextColumn, given: list[int], number: Number, meaning: Meaning
) -> Number | Category | LeftOut:
    values = number.values[~number.missing]
    distinct = np.unique(values)
    why = _identifies(values, distinct, meaning)
    if why is not None:
        return LeftOut(why)
    if meaning.nominal and len(distinct) <= max(_MOST_CODES, _FREE_TEXT * len(values)):
        return _category(column, given, "whole numbers that are codes, by the name")
    return number


def _identifies(
    values: NDArray[np.float64], distinct: NDArray[np.float64], meaning: Meaning
) -> str | None:
    """Return the reason why whole numbers identify rows, or None."""
    if len(values) < _FEWEST_FOR_IDENTIFIER or len(distinct) < _DISTINCT * len(values):
        return None
    if meaning.identifier:
        return "identifier: different in every row, and by the name"
    steps = np.diff(values)
    if distinct[-1] - distinct[0] < 1.1 * len(values) or (steps > 0).all() or (steps < 0).all():
        return "identifier: numbers the rows"
    long = distinct[0] >= 10 ** (_LONG_CODE - 1)
    if long and len(str(int(distinct[0]))) == len(str(int(distinct[-1]))):
        return "identifier: a long number that differs in every row"
    return None
