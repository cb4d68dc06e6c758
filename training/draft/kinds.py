"""The kind of a column, from its distinct texts: number, yes or no, category, or left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from training.draft import readings
from training.draft.text_columns import TextColumn
from training.draft.vocabulary import Meaning

_MOSTLY = 0.5
"""From this share of numbers on, a column with other texts counts as a damaged number."""
_DISTINCT = 0.999
_FEWEST_FOR_IDENTIFIER = 50
_FREE_TEXT = 0.5
_LONG_CODE = 6
_MOST_CODES = 64
_MISSING = -1


@dataclass(frozen=True, repr=False)
class Number:
    """`values` (rows,), NaN where missing; `unit` is empty if the texts have none."""

    values: NDArray[np.float64]
    integer: bool
    unit: str
    why: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.isnan(self.values)


@dataclass(frozen=True, repr=False)
class YesNo:
    """`positions` (rows,): 1 yes, 0 no, -1 missing; the words as they are in the file."""

    positions: NDArray[np.int32]
    true_words: tuple[str, ...]
    false_words: tuple[str, ...]
    why: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.positions == _MISSING


@dataclass(frozen=True, repr=False)
class Category:
    """`positions` (rows,) in `texts`, -1 where missing."""

    positions: NDArray[np.int32]
    texts: tuple[str, ...]
    why: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.positions == _MISSING


@dataclass(frozen=True)
class LeftOut:
    """A column that is no input of the model."""

    why: str


Reading = Number | YesNo | Category | LeftOut


def read_kind(column: TextColumn, meaning: Meaning, fewest: int, reference: date | None) -> Reading:
    """Return the column by its kind; left out are empty and constant ones, identifiers and faults.

    `fewest` is the minimum number of rows of a value that a column is kept for.
    """
    counts = column.counts()
    given = [i for i, text in enumerate(column.texts) if counts[i] and not readings.missing(text)]
    rows = int(counts[given].sum()) if given else 0
    empty = int(counts.sum()) - rows
    if not given:
        return LeftOut("empty: no row has a value")
    texts = [column.texts[i] for i in given]
    names = {" ".join(text.split()).lower() for text in texts}
    if len(names) == 1 and empty < fewest:
        return LeftOut("constant: every row has the same value" + _besides(empty))
    if counts[given].max() > rows + empty - fewest and not empty >= fewest:
        return LeftOut(f"nearly constant: fewer than {fewest} rows have another value")
    words = readings.boolean_words(texts)
    if words is not None:
        return _yes_no(column, given, words)
    if _has_leading_zeros(texts):
        return _category(column, given, "codes with leading zeros")
    numbers = _numbers(column, given, texts)
    if isinstance(numbers, Number):
        return _number_or_code(column, given, texts, numbers, meaning)
    dates = _dates(column, given, texts, reference)
    if dates is not None:
        return dates
    if numbers is not None:
        return numbers
    if len(names) > _FREE_TEXT * rows and rows >= _FEWEST_FOR_IDENTIFIER:
        return LeftOut(f"identifier or free text: {len(names)} different texts in {rows} rows")
    return _category(column, given, "texts")


def _besides(empty: int) -> str:
    return f", besides {empty} without one" if empty else ""


def _mapped(column: TextColumn, given: list[int], values: list[int]) -> NDArray[np.int32]:
    """Return the value of each row, by that of its text; -1 where it is missing."""
    table = np.full(len(column.texts), _MISSING, np.int32)
    table[given] = values
    return table[column.positions]


def _yes_no(
    column: TextColumn, given: list[int], words: tuple[frozenset[str], frozenset[str]]
) -> YesNo:
    positions = _mapped(column, given, [int(column.texts[i] in words[0]) for i in given])
    return YesNo(positions, tuple(sorted(words[0])), tuple(sorted(words[1])), "yes or no")


def _category(column: TextColumn, given: list[int], why: str) -> Category:
    texts = tuple(column.texts[i] for i in given)
    return Category(_mapped(column, given, list(range(len(given)))), texts, why)


def _has_leading_zeros(texts: list[str]) -> bool:
    """Return True for codes such as 01067, whose zero a number would lose."""
    stripped = [text.strip() for text in texts]
    return any(t.isdigit() and len(t) > 1 and t[0] == "0" for t in stripped) and all(
        t.isdigit() and len(t) == len(stripped[0]) for t in stripped
    )


def _numbers(column: TextColumn, given: list[int], texts: list[str]) -> Number | LeftOut | None:
    """Return the numbers, the reason why a damaged column is left out, or None for texts."""
    parsed = readings.numbers(texts)
    wrong = [i for i, value in enumerate(parsed.values) if value is None]
    if not wrong:
        table = np.full(len(column.texts), np.nan)
        table[given] = [float(value) for value in parsed.values if value is not None]
        values = table[column.positions]
        finite = values[~np.isnan(values)]
        if np.isinf(finite).any():
            return LeftOut("has numbers beyond the range of a float; correct them")
        integer = bool((finite == np.floor(finite)).all())
        return Number(values, integer, parsed.unit, "whole numbers" if integer else "numbers")
    counts = column.counts()
    damaged = int(sum(counts[given[i]] for i in wrong))
    if damaged < _MOSTLY * sum(counts[i] for i in given) and len(texts) > _MOST_CODES:
        line = column.first_line(given[wrong[0]])
        return LeftOut(
            f"numbers, but {damaged} rows have other texts, first in line {line}; correct these or "
            "empty them"
        )
    return None


def _number_or_code(
    column: TextColumn, given: list[int], texts: list[str], number: Number, meaning: Meaning
) -> Reading:
    values = number.values[~number.missing]
    distinct = np.unique(values)
    if number.integer and not number.unit:
        why = _identifies(values, distinct, meaning)
        if why is not None:
            return LeftOut(why)
        if meaning.nominal and len(distinct) <= max(_MOST_CODES, len(values) // 10):
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


def _dates(
    column: TextColumn, given: list[int], texts: list[str], reference: date | None
) -> Number | None:
    months = readings.months_before(texts, reference)
    if months is None:
        return None
    table = np.full(len(column.texts), np.nan)
    table[given] = months.values
    values = table[column.positions]
    return Number(values, months.integer, "months", f"dates, as months before {months.reference}")
