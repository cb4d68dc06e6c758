"""The texts of one column of a data file as values that the schema allows.

The texts of a column are read together: they show how its numbers are written, and whether 1 and 2
mean yes and no. A person's entry in a form is not read here; features.encoding takes it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from features.cells import is_missing, only, word, yes_or_no
from features.dates import looks_like_date, months_before
from features.encoding import allowed, in_domain
from features.numbers import NOT_A_NUMBER, plain_number, read_numbers
from features.schema import BooleanColumn, CategoricalColumn, Column, OrdinalColumn, shown_number

_MOST_WORDS = 5
_MOST_JUDGED = 200
"""Most texts by which a column is judged to have dates."""


@dataclass(frozen=True)
class FileForm:
    """The form of the file that bears on its numbers and dates.

    `mark` is the decimal mark if some column shows it, and `reference` the date before which
    months are counted, by default the newest of each column.
    """

    separator: str = ","
    mark: str | None = None
    reference: date | None = None


@dataclass
class ReadColumn:
    """The values of a column's distinct texts, in their order, and all that is to be said.

    `faults` maps the position of a text to the reason why it cannot be used; its value is None.
    """

    column: Column
    values: list[Any]
    faults: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_column(
    column: Column,
    texts: Sequence[str],
    rows: Sequence[int],
    form: FileForm | None = None,
    may_lack: bool = False,
) -> ReadColumn:
    """Return the values of a column's distinct `texts`, of which each occurs in so many `rows`.

    A missing value is None; it is a fault unless the column is optional or `may_lack` values.
    """
    form = form or FileForm()
    read = ReadColumn(column, [None] * len(texts))
    if isinstance(column, CategoricalColumn):
        given = _read_categories(column, texts, rows, read)
    else:
        given = [i for i, text in enumerate(texts) if not _is_absent(column, text)]
        own = [texts[i] for i in given]
        if isinstance(column, BooleanColumn):
            _read_booleans(column, own, given, read)
        else:
            _read_ordinals(column, own, given, rows, read, form)
    _report_missing(column, texts, rows, set(given), read, may_lack)
    return read


def _cannot(column: Column, text: str, why: str = "") -> str:
    cannot = f"{column.name} cannot be {text[:80]!r}"
    if ": " in why:  # it says what to do
        return f"{cannot}, which {why}"
    return f"{cannot}{f', which {why}' if why else ''}: give {allowed(column)}"


def _acceptance(column: OrdinalColumn, text: str, value: float) -> str:
    """Return the change that would make a number acceptable, for an error message."""
    if column.minimum <= value <= column.maximum:
        return ""
    if text.rstrip().endswith("%") and column.minimum <= value / 100 <= column.maximum:
        return ", as a fraction (0.13 for 13%), or set minimum and maximum in percent in the schema"
    return ", or set clip in the schema, which moves it to the nearest of the two ends"


def _is_absent(column: Column, text: str) -> bool:
    if isinstance(column, BooleanColumn) and word(text) in {
        word(each) for each in (*column.true_words, *column.false_words)
    }:
        return False
    return is_missing(text)


def _report_missing(
    column: Column,
    texts: Sequence[str],
    rows: Sequence[int],
    given: set[int],
    read: ReadColumn,
    may_lack: bool,
) -> None:
    """Note the words that were taken as missing, or add faults if the column needs values."""
    lacking = [i for i in range(len(texts)) if i not in given]
    if not lacking:
        return
    if not column.optional and not may_lack:
        if not given:
            reason = (
                f"{column.name} has no value in any row: name the right header as its source in "
                "the schema, set optional, or remove the column from the schema"
            )
            read.faults[lacking[0]] = reason
            return
        reason = f"{column.name} is missing: give {allowed(column)}, or set optional in the schema"
        read.faults |= dict.fromkeys(lacking, reason)
        return
    words = [i for i in lacking if texts[i].strip()]
    if words:
        shown = ", ".join(texts[i].strip() for i in words[:_MOST_WORDS])
        count = sum(rows[i] for i in words)
        read.notes.append(f"{column.name}: {shown} counts as missing ({_rows(count)}).")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


# --- yes and no


def _read_booleans(
    column: BooleanColumn, texts: Sequence[str], given: Sequence[int], read: ReadColumn
) -> None:
    meaning: dict[str, bool] = {word(text): True for text in column.true_words}
    meaning |= {word(text): False for text in column.false_words}
    words = {word(text) for text in texts}
    if not meaning and "2" in words and words <= {"1", "2"}:
        meaning = {"1": True, "2": False}
        read.notes.append(
            f"{column.name}: 1 is read as yes and 2 as no; if they mean the opposite, set "
            'true_words to ["2"] and false_words to ["1"] in the schema.'
        )
    for i, text in zip(given, texts, strict=True):
        value = meaning.get(word(text))
        if value is None:
            usual = yes_or_no(text)
            # The usual words of a side for which the schema lists own words do not count.
            listed = column.true_words if usual else column.false_words
            value = None if listed else usual
        if value is None:
            read.faults[i] = (
                f"{column.name} cannot be {text[:80]!r}: give yes or no, or list the column's "
                "words as true_words and false_words in the schema"
            )
        read.values[i] = value


# --- numbers


def _read_ordinals(
    column: OrdinalColumn,
    texts: Sequence[str],
    given: Sequence[int],
    rows: Sequence[int],
    read: ReadColumn,
    form: FileForm,
) -> None:
    some = texts[:_MOST_JUDGED]
    if sum(_is_date(column, text) for text in some) > len(some) / 2:
        months = months_before(texts, column.integer, form.reference)
        values, faults = months.values, months.faults
        read.notes.append(
            f"{column.name}: dates are read as months before {months.reference}"
            + ("." if form.reference else ", the newest date of the column.")
        )
    else:
        numbers = read_numbers(column, texts, form.separator, form.mark)
        values, faults = numbers.values, numbers.faults
        read.notes += [f"{column.name}: {note}." for note in numbers.notes]
    parsed = np.array([np.nan if value is None else value for value in values], float)
    fits = in_domain(column, parsed)
    for position, (i, value, fitting) in enumerate(zip(given, values, fits.tolist(), strict=True)):
        if fitting:
            read.values[i] = value
        elif position in faults or value is None:
            read.faults[i] = _cannot(column, texts[position], faults.get(position, NOT_A_NUMBER))
        else:
            remedy = _acceptance(column, texts[position], value)
            read.faults[i] = _cannot(column, texts[position]) + remedy
    if column.clip:
        outside = fits & ((parsed < column.minimum) | (parsed > column.maximum))
        beyond = sum(rows[given[position]] for position in np.flatnonzero(outside).tolist())
        if beyond:
            ends = f"{shown_number(column.minimum)} or {shown_number(column.maximum)}"
            read.notes.append(
                f"{column.name}: a value beyond the range counts as {ends} ({_rows(beyond)})."
            )


def _is_date(column: OrdinalColumn, text: str) -> bool:
    """Return True if a text can only be a date, given the column's range."""
    number = plain_number(text)
    return looks_like_date(text) and (number is None or number > column.maximum)


# --- categories


def _read_categories(
    column: CategoricalColumn, texts: Sequence[str], rows: Sequence[int], read: ReadColumn
) -> list[int]:
    """Read a column of categories; returns the positions of the texts that are not missing."""
    listed = {value: value for value in column.values}
    listed |= {text: value for value, texts_ in column.groups.items() for text in texts_}
    spelt: dict[str, set[str]] = {}
    for text, own in listed.items():
        spelt.setdefault(word(text), set()).add(own)
    given: list[int] = []
    others: list[int] = []
    respelt = 0
    for i, text in enumerate(texts):
        value: str | None = listed.get(text) or listed.get(text.strip())
        if value is None:
            value = only(spelt.get(word(text), ()))
            respelt += rows[i] if value is not None else 0
        # A column that takes other texts but no missing value takes ? and the like as other ones.
        taken = bool(text.strip()) and column.other is not None and not column.optional
        if value is None and is_missing(text) and not taken:
            continue
        given.append(i)
        if value is None and column.other is not None:
            value = column.other
            others.append(i)
        if value is None:
            read.faults[i] = (
                f"{_cannot(column, text)}, or set other or groups in the schema, which take texts "
                "that are not listed"
            )
        read.values[i] = value
    if respelt:
        read.notes.append(
            f"{column.name}: the case of letters, blanks and quotes around a text, and the .0 of a "
            f"number are left out to match the listed values ({_rows(respelt)})."
        )
    if others:
        shown = ", ".join(texts[i].strip()[:40] for i in others[:_MOST_WORDS])
        more = " …" if len(others) > _MOST_WORDS else ""
        count = sum(rows[i] for i in others)
        read.notes.append(
            f"{column.name}: {shown}{more} counts as {column.other} ({_rows(count)})."
        )
    return given
