"""The label column of a file: the rows that have it, and the label that means approval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.cells import is_missing, plain_name, word, yes_or_no
from features.labels import BAD_WORDS, GOOD_WORDS, read_labels
from features.numbers import plain_number
from features.schema import Decision
from features.text_table import TextColumn
from training.draft.column_names import words
from utils.errors import TrainingDataInvalid

_BAD_IN_NAMES = BAD_WORDS | {
    *("loss", "fraud", "ausgefallen", "verzug", "delinquency", "serious", "dlqin", "delinq"),
    *("npl", "arrears", "bankrupt", "overdue", "denial", "badflag", "seriousdlqin"),
}
_GOOD_IN_NAMES = GOOD_WORDS | {"approval", "genehmigt", "zurueckgezahlt", "repayment", "goodbad"}
_LONGEST_LABEL = 80


@dataclass(frozen=True, repr=False)
class Outcome:
    """`given` (rows,) marks rows with a label; `approved` has one value for each of these."""

    given: NDArray[np.bool_]
    approved: NDArray[np.bool_]
    approved_value: int | str
    why: str


def read_outcome(column: TextColumn, approved: str | None) -> Outcome:
    """Return the outcomes; `approved` is the label that means approval, guessed where None.

    Raises TrainingDataInvalid unless there are two labels, of which one is approval.
    """
    counts = column.counts.tolist()
    labels = _labels(column, counts)
    if len(labels) == 2:
        value, why = _approving(column.header, labels, approved)
    else:
        value, why = 0, ""
    decision = Decision(target="target", approved_value=value)
    read = read_labels(column.header[:_LONGEST_LABEL], decision, column.texts, counts)
    if read.fault is not None or len(labels) != 2:
        reason = read.fault or f"all rows have the same {column.header[:_LONGEST_LABEL]}"
        raise TrainingDataInvalid(f"The label column cannot be used: {reason}.")
    outcome = np.array([-1 if each is None else each for each in read.approved])[column.codes]
    given = outcome >= 0
    return Outcome(given, outcome[given] == 1, value, why)


def _labels(column: TextColumn, counts: list[int]) -> dict[str, tuple[str, int]]:
    """Return each label by its form without case: a spelling, and its number of rows."""
    signs = {text.strip() for text in column.texts if text.strip()} == {"+", "-"}
    found: dict[str, tuple[str, int]] = {}
    for text, count in zip(column.texts, counts, strict=True):
        if text.strip() and (signs or not is_missing(text)):
            spelling, before = found.get(word(text), (text.strip(), 0))
            found[word(text)] = (spelling, before + count)
    return found


def _approving(
    header: str, labels: dict[str, tuple[str, int]], told: str | None
) -> tuple[int | str, str]:
    """Return the value of the schema for the label that means approval, and the reason."""
    if told is not None:
        if word(told) not in labels:
            shown = " and ".join(spelling[:40] for spelling, _ in labels.values())
            raise TrainingDataInvalid(f"--approved must be one of the two labels, {shown}.")
        return _value(labels[word(told)][0]), "by --approved"
    first, second = labels
    for label, other in ((first, second), (second, first)):
        key = plain_name(label) or label
        if key in GOOD_WORDS and (plain_name(other) or other) not in GOOD_WORDS:
            return _value(labels[label][0]), "by the word"
        if key in BAD_WORDS and (plain_name(other) or other) not in BAD_WORDS:
            return _value(labels[other][0]), f"as {labels[label][0][:40]!r} means a bad loan"
    one, zero = _one_and_zero(first, second)
    about = _judged(header)
    if about and one is not None and zero is not None:
        chosen = one if about > 0 else zero
        kind = "good" if about > 0 else "bad"
        return _value(labels[chosen][0]), f"{header[:40]} means a {kind} loan, by its name"
    rarer, usual = sorted(labels, key=lambda label: labels[label][1])
    return _value(labels[usual][0]), (
        f"ASSUMED, since {labels[rarer][0][:40]!r} is the rarer label; pass --approved if it is "
        "the other way round"
    )


def _one_and_zero(first: str, second: str) -> tuple[str | None, str | None]:
    """Return the label that counts as 1 (yes, or the larger number), and that as 0."""
    meant = {yes_or_no(first): first, yes_or_no(second): second}
    if set(meant) == {True, False}:
        return meant[True], meant[False]
    numbers = sorted((plain_number(x), x) for x in (first, second) if plain_number(x) is not None)
    return (numbers[1][1], numbers[0][1]) if len(numbers) == 2 else (None, None)


def _judged(header: str) -> int:
    """Return 1 if a header names good loans, -1 if bad ones, 0 if neither or both."""
    found = {*words(header), plain_name(header)}
    if found & {"not", "non", "no", "nicht", "kein"}:
        return 0
    return bool(found & _GOOD_IN_NAMES) - bool(found & _BAD_IN_NAMES)


def _value(label: str) -> int | str:
    number = plain_number(label)
    whole = number is not None and number.is_integer() and abs(number) <= 1000
    return int(number) if whole and number is not None else label[:_LONGEST_LABEL]
