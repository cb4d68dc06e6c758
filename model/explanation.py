"""The explanation: one of four outcomes, derived from the scores of the explained column's bins.

It only ever advises more of the explained column, and only as a likelihood under this model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from features.encoding import Layout
from features.schema import Schema, number_text

CAVEAT = "This is a likelihood under this model, not a promise."


class Outcome(StrEnum):
    """The four possible outcomes of an explanation."""

    ALREADY_APPROVED = "already approved"
    TURNED = "more would turn the decision"
    NOT_TURNED = "other factors weigh more"
    AT_MOST = "already at the most"


@dataclass(frozen=True)
class Explanation:
    """An explanation; `scores` belong to the bins labelled `bins`.

    Bin indices count all bins of the column. `current_bin` is -1 if an assumption of the
    explanation (for example, being employed) does not hold.
    """

    outcome: Outcome
    text: str
    bins: tuple[str, ...]
    scores: tuple[float, ...]
    current_bin: int
    turning_bin: int | None


def current_bin(schema: Schema, record: Mapping[str, Any]) -> int:
    """Return the applicant's bin of the explained column, or -1; raises ValueOutOfDomain."""
    if _unmet(schema, record):
        return -1
    column = schema.explained_column
    state = Layout(schema).code(column.name).state(record.get(column.name))
    return state if state <= len(column.cuts) else -1  # a missing value lies below every bin


def explain_scores(
    schema: Schema, record: Mapping[str, Any], approved: bool, scores: Sequence[float]
) -> Explanation:
    """Explain to the applicant what the scores mean.

    `record` contains at least the explained column and the assumed ones; `scores` belong to the
    highest len(scores) bins. Raises ValueOutOfDomain.
    """
    labels = schema.explained_column.bin_labels()
    first = len(labels) - len(scores)
    current = current_bin(schema, record)
    above = range(max(current + 1, first), len(labels))
    turning = next((b for b in above if scores[b - first] >= 0), None)
    decision, phrase = schema.decision, schema.explanation.phrase
    if approved:
        outcome, turning = Outcome.ALREADY_APPROVED, None
        text = f"The application is already {decision.approved}; nothing needs to change."
    elif current == len(labels) - 1:
        outcome = Outcome.AT_MOST
        text = (
            f"The application already has the most {phrase} that the model distinguishes "
            f"({labels[-1]}); other factors decided."
        )
    elif turning is not None:
        outcome = Outcome.TURNED
        floor = number_text(schema.explained_column.bin_floor(turning))
        text = (
            f"With at least {floor} {phrase}{_assumption(schema, record)}, and all else equal, "
            f"the model would likely have {decision.approved} the application. {CAVEAT}"
        )
    else:
        outcome = Outcome.NOT_TURNED
        text = (
            f"Even the most {phrase} would likely not have changed this decision; other factors "
            f"weigh more. {CAVEAT}"
        )
    return Explanation(outcome, text, tuple(labels[first:]), tuple(scores), current, turning)


def _unmet(schema: Schema, record: Mapping[str, Any]) -> dict[str, bool]:
    """Return the assumptions that do not hold for the applicant; raises ValueOutOfDomain."""
    layout = Layout(schema)
    return {
        name: assumed
        for name, assumed in schema.explanation.assume.items()
        if layout.code(name).state(record.get(name)) != layout.code(name).state(assumed)
    }


def _assumption(schema: Schema, record: Mapping[str, Any]) -> str:
    """Return text in brackets that names the assumptions that do not hold, or nothing."""
    words = [
        f"{'' if assumed else 'not '}being {schema.column(name).label.lower()}"
        for name, assumed in _unmet(schema, record).items()
    ]
    return f" ({' and '.join(words)})" if words else ""
