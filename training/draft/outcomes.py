"""The label column of a file: the rows that have it, and the label that means approval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.draft import readings
from training.draft.column_names import words
from training.draft.text_columns import TextColumn
from utils.errors import TrainingDataInvalid

_BAD = frozenset(
    "bad default defaulted delinq delinquent delinquency charged chargeoff risk_flag denied refused "
    "rejected declined late loss fraud ausfall ausgefallen schlecht abgelehnt verzug "
    "seriousdlqin2yrs dlqin dlqin2yrs serious npl unpaid arrears bankrupt overdue".split()
)
_GOOD = frozenset(
    "good approved approve accepted paid repaid granted performing gut bewilligt genehmigt "
    "bezahlt zurueckgezahlt zuruckgezahlt current ok fully".split()
)


@dataclass(frozen=True, repr=False)
class Outcome:
    """`given` (rows,) marks rows with a label; `approved` has one value for each of these."""

    given: NDArray[np.bool_]
    approved: NDArray[np.bool_]
    approved_value: int | str
    why: str


def read_outcome(column: TextColumn, approved: str | None) -> Outcome:
    """Return the outcomes; `approved` is the label that means approval, guessed where None.

    Raises TrainingDataInvalid unless there are exactly two labels.
    """
    counts = column.counts()
    labels: dict[str, int] = {}
    keys = [_key(text) for text in column.texts]
    for key, count in zip(keys, counts, strict=True):
        if key is not None and count:
            labels[key] = labels.get(key, 0) + int(count)
    if len(labels) != 2:
        raise TrainingDataInvalid(
            f"{column.header} has {len(labels)} different labels; a decision needs two, such as 0 "
            "and 1 or good and bad. Choose another --target, or keep only finished loans."
        )
    if approved is not None:
        chosen = _key(approved)
        if chosen not in labels:
            raise TrainingDataInvalid(
                f"--approved must be one of the labels {', '.join(sorted(labels))}."
            )
        why = "by --approved"
    else:
        chosen, why = _approving(column.header, labels)
    given = np.array([key is not None for key in keys])[column.positions]
    good = np.array([key == chosen for key in keys])[column.positions][given]
    value = next(
        text.strip()
        for text, key, count in zip(column.texts, keys, counts, strict=True)
        if key == chosen and count
    )
    return Outcome(given, good, _value(value, labels), why)


def _key(text: str) -> str | None:
    """Return a label without differences of case, blanks and number form; None if missing."""
    plain = " ".join(text.split()).casefold()
    if readings.missing(text) and plain != "-":
        return None
    try:
        return f"{float(plain):.12g}"
    except ValueError:
        return plain or None


def _value(text: str, labels: dict[str, int]) -> int | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and abs(number) <= 1000 else text


def _approving(header: str, labels: dict[str, int]) -> tuple[str, str]:
    """Return the label that means approval, and the reason for the choice."""
    ordered = sorted(labels)
    judged = {label: _judge(words(label)) for label in ordered}
    for label in ordered:
        if judged[label] == 1 and judged[_other(ordered, label)] != 1:
            return label, f"the label {label!r} says so"
        if judged[label] == -1 and judged[_other(ordered, label)] != -1:
            return _other(ordered, label), f"the label {label!r} means a bad loan"
    yes = readings.boolean_words(ordered)
    about = _judge(words(header))
    if about and yes and len(yes[0]) == 1:
        [true] = yes[0]
        if about == 1:
            return true, f"{header} means a good loan by its name"
        return _other(ordered, true), f"{header} means a bad loan by its name"
    rarer = min(ordered, key=lambda label: labels[label])
    why = f"ASSUMED, as {rarer!r} is the rarer label; set --approved if it is the other way round"
    return _other(ordered, rarer), why


def _other(labels: Sequence[str], label: str) -> str:
    return next(each for each in labels if each != label)


def _judge(found: tuple[str, ...]) -> int:
    """Return 1 for words of a good loan, -1 for those of a bad one, 0 for neither or both."""
    joined = {*found, "".join(found)}
    if {"not", "non", "no", "nicht"} & set(found):
        return 0
    return bool(joined & _GOOD) - bool(joined & _BAD)
