"""Statements on the people that a model approves, and warnings if it looks the wrong way round.

A label that is read the wrong way round trains as well as the right one and approves the bad, so
the meaning of the label and the outcome of both groups are always printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from features.encoding import Bits, Layout
from features.labels import MEANS_APPROVAL
from features.schema import Decision, Schema
from model.monotone import directions, threshold_bits
from training.models import Labels

GOOD_WORDS = frozenset(
    {"good", "paid", "repaid", "repay", "ok", "okay", "fine", "success", "performing", "sound"}
    | {"approve", "approved", "approval", "accept", "accepted", "grant", "granted"}
    | {"creditworthy", "nondefault", "gut", "bon", "bueno"}
)
BAD_WORDS = frozenset(
    {"bad", "default", "defaulted", "defaulter", "delinquent", "delinquency", "dlq", "late"}
    | {"deny", "denied", "denial", "reject", "rejected", "decline", "declined", "failed"}
    | {"arrears", "overdue", "unpaid", "loss", "lost", "chargeoff", "writeoff", "npl", "fraud"}
    | {"bankrupt", "schlecht", "ausfall", "mauvais", "malo"}
)
ONE_SIDED = 0.95
_LEAST_CORRELATION = 0.05
_SIGNIFICANT = 0.001


def meaning_of_label(decision: Decision, target: str, y: Labels, notes: Sequence[str] = ()) -> str:
    """Return a sentence on the label column, its reading, and the share of both outcomes.

    Labels other than 0 and 1 are named by the `notes` of reading, and the schema's value is not
    theirs: `1 means approval` of 1 and 2 must not be followed by `1 means denied`.
    """
    share = float(np.mean(y))
    if any(note.startswith(f"{target}: ") and MEANS_APPROVAL in note for note in notes):
        return f"Label {target}: {share:.1%} of {len(y):,} rows are {decision.approved}."
    value = decision.approved_value
    other = {"0": "1", "1": "0"}.get(str(value), "any other value")
    return (
        f"Label {target}: {value} means {decision.approved} ({share:.1%} of {len(y):,} rows), "
        f"{other} means {decision.denied}."
    )


def outcomes(
    y: Labels, approved: NDArray[np.bool_], referred: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return the share of rows approved, and the bad rates of the approved and of the denied.

    With `referred` rows, of a model with a grey zone, also their share and their bad rate.
    """

    def bad_rate(own: NDArray[np.bool_]) -> float | None:
        return float(1 - y[own].mean()) if own.any() else None

    denied = ~approved if referred is None else ~(approved | referred)
    found = {
        "approved_share": float(approved.mean()),
        "bad_rate_approved": bad_rate(approved),
        "bad_rate_denied": bad_rate(denied),
    }
    if referred is not None:
        found |= {
            "referred_share": float(referred.mean()),
            "bad_rate_referred": bad_rate(referred),
        }
    return found


def outcomes_text(found: dict[str, Any], rows: int) -> str:
    """Return `outcomes` of the test rows in a sentence."""
    shares = f"{found['approved_share']:.1%} approved"
    rates = f"bad rate of the approved {_share(found['bad_rate_approved'])}"
    if "referred_share" in found:
        shares += f", {found['referred_share']:.1%} referred to a person"
        rates += f", of the referred {_share(found['bad_rate_referred'])}"
    return (
        f"Test rows ({rows:,}): {shares}; {rates}, of the denied "
        f"{_share(found['bad_rate_denied'])}."
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def label_warnings(decision: Decision, target: str, y: Labels) -> list[str]:
    """Return warnings if the label's name, its text or its share speak against its reading."""
    value = str(decision.approved_value)
    found = []
    words, text = _words(target), _words(value)
    if not words & BAD_WORDS and words & GOOD_WORDS and value == "0":
        found.append(f"The label is called {target}, but its value 0 is read as approved.")
    if not words & GOOD_WORDS and words & BAD_WORDS and value == "1":
        found.append(f"The label is called {target}, but its value 1 is read as approved.")
    if text & BAD_WORDS and not text & GOOD_WORDS:
        found.append(f"The label's text {value!r} is read as approved.")
    share = float(np.mean(y))
    if share < 0.5:
        found.append(f"Only {share:.1%} of the rows count as good.")
    advice = (
        "If the model would so approve the bad, set decision.approved_value in the schema to the "
        "label's other value."
    )
    return [f"{each} {advice}" for each in found]


def _words(text: str) -> set[str]:
    """Return the words of a name in lower case: `LoanStatus_good` has loan, status and good."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return {word.lower() for word in re.findall(r"[^\W\d_]+", parts)}


def direction_warnings(schema: Schema, layout: Layout, bits: Bits, y: Labels) -> list[str]:
    """Return a warning for each column whose direction the rows contradict.

    Compares the direction with Spearman's rank correlation of the column's bin and the outcome. A
    direction that the schema does not state, but has by default, is doubted at any contrary sign.
    """
    found = []
    explained = schema.explanation.column
    assumed = (
        "direction" not in schema.explanation.model_fields_set
        and schema.ordinal(explained).monotone == "free"
    )
    wanted = directions(schema) | ({explained: 1} if assumed else {})
    for name, sign in wanted.items():
        code = layout.code(name)
        own = bits[:, list(threshold_bits(code))]
        known = np.ones(len(y), bool)
        if code.column.optional:
            known = bits[:, code.first_bit + code.n_bits - 1] == 0
        bins = own[known].sum(axis=1, dtype=np.int64)
        if len(np.unique(bins)) < 2 or len(np.unique(y[known])) < 2:
            continue
        correlation, probability = spearmanr(bins, y[known])
        if name == explained and assumed and correlation < 0:
            found.append(
                f"The schema does not say whether more or less of {name} is better, so more is "
                "assumed, but in the data good outcomes become rarer as it grows (rank correlation "
                f"{correlation:+.2f}). Set explanation.direction to more or less."
            )
        elif probability < _SIGNIFICANT and sign * correlation < -_LEAST_CORRELATION:
            found.append(
                f"The schema says that {'more' if sign > 0 else 'less'} of {name} never lowers the "
                f"score, but in the data good outcomes become {'rarer' if sign > 0 else 'more'}"
                f"{'' if sign > 0 else ' frequent'} as it grows (rank correlation "
                f"{correlation:+.2f}). Correct its direction (monotone or explanation.direction), "
                "or decision.approved_value."
            )
    return found


def result_warnings(found: dict[str, Any]) -> list[str]:
    """Return warnings on `outcomes` of the test rows."""
    warnings = []
    good, bad = found["bad_rate_approved"], found["bad_rate_denied"]
    if good is not None and bad is not None and good >= bad:
        warnings.append(
            f"The approved defaulted as often as the denied or more often ({good:.1%} against "
            f"{bad:.1%} of the test rows). Check decision.approved_value and the label, or train "
            "with more rows."
        )
    share = found["approved_share"]
    if share > ONE_SIDED or share < 1 - ONE_SIDED:
        warnings.append(
            f"The model would approve {share:.1%} of the test rows. Choose a cut-off with "
            "--approve-below, --cost-ratio or --approval-rate."
        )
    return warnings
