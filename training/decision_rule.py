"""The decision rule: the cut-off of the score, folded into the booster that training writes.

The saved booster's base score is moved by the cut-off, so that everything after training keeps the
one rule "log-odds of 0 or more mean approved".
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.booster_header import decode_booster, read_header
from training.calibration import Calibration, Reals
from training.library import with_base_score
from utils.errors import TrainingDataInvalid

FURTHEST = 10.0
"""Largest cut-off in log-odds; a base score beyond it is imprecise in single precision."""
RuleKind = Literal["margin", "approve-below", "cost-ratio", "approval-rate"]


@dataclass(frozen=True)
class Rule:
    """A rule and its value; `margin` 0 approves what is more likely good than bad in training.

    - `approve-below`: approved if the calibrated probability of default is below the value;
    - `cost-ratio`: approved if the expected gain of a good applicant exceeds the expected loss of a
      bad one, where the value is loss / gain;
    - `approval-rate`: the value is the share of validation rows to approve.

    With `deny_from`, approval below a probability of default comes with a grey zone: from the value
    to below `deny_from`, a person decides.
    """

    kind: RuleKind = "margin"
    value: float | None = None
    deny_from: float | None = None

    def __post_init__(self) -> None:
        if self.deny_from is not None and not 1e-4 <= (self.value or 0) < self.deny_from < 1:
            raise TrainingDataInvalid(
                "--refer-between takes two rising probabilities of default, for example 0.05 0.1: "
                "approve below the first, deny from the second on, and refer between."
            )
        if self.kind == "margin":
            return
        low, high = (1e-4, 1e4) if self.kind == "cost-ratio" else (1e-4, 1 - 1e-4)
        if self.value is None or not low <= self.value <= high:
            raise TrainingDataInvalid(
                f"--{self.kind} must be a number from {low:g} to {high:g}"
                + ("." if self.kind == "cost-ratio" else ", for example 0.05.")
            )

    @property
    def most_default(self) -> float | None:
        """The probability of default from which on an applicant is denied, if the rule sets it."""
        if self.value is None or self.kind == "approval-rate":
            return None
        return self.value if self.kind == "approve-below" else 1 / (1 + self.value)


def cut_off(rule: Rule, calibration: Calibration | None, margins: Reals) -> float:
    """Return the margin from which on a row is approved.

    `margins` (rows,) are of rows that the booster was not trained on. Raises TrainingDataInvalid
    if the rule asks for a probability and there is no calibration, or if it cannot be met.
    """
    if rule.kind == "margin" or rule.value is None:
        return 0.0
    if rule.most_default is None:
        found = margin_at_share(margins, rule.value)
    elif calibration is None:
        raise TrainingDataInvalid(
            f"--{rule.kind} needs calibrated probabilities, but on rows that the model was not "
            "trained on a higher score does not go with fewer defaults. Train with more rows or "
            "other columns, or use --approval-rate."
        )
    else:
        found = calibration.margin_at(1 - rule.most_default)
    if not abs(found) <= FURTHEST:
        raise TrainingDataInvalid(
            f"--{rule.kind} {rule.value:g} would need a cut-off of {found:.1f} log-odds, far from "
            "every row. Choose a value nearer to the rates that training prints."
        )
    return found


def grey_zone(rule: Rule, calibration: Calibration | None) -> float | None:
    """Return the width in log-odds of the rule's grey zone below the cut-off, or None.

    Raises TrainingDataInvalid if the probabilities have no scores of their own, or lie too far
    apart.
    """
    if rule.deny_from is None or rule.most_default is None or calibration is None:
        return None
    approve, deny = calibration.margin_at(1 - rule.most_default), rule.deny_from
    width = approve - calibration.margin_at(1 - deny)
    if not 0 < width <= 2 * FURTHEST:
        raise TrainingDataInvalid(
            f"--refer-between {rule.most_default:g} {deny:g} would refer scores of {width:.3g} "
            "log-odds below the cut-off. Choose probabilities nearer to the rates that training "
            "prints."
        )
    return width


def margin_at_share(margins: Reals, share: float) -> float:
    """Return a margin between two rows such that about `share` of the rows lie above it."""
    values, counts = np.unique(margins, return_counts=True)
    if len(values) < 2:
        raise TrainingDataInvalid(
            "All validation rows have the same score, so --approval-rate has no cut-off. Train "
            "with more rows or other columns."
        )
    above = 1 - np.cumsum(counts)[:-1] / len(margins)
    nearest = int(np.argmin(np.abs(above - share)))
    return float((values[nearest] + values[nearest + 1]) / 2)


def with_cut_off(booster: bytes, margin: float) -> tuple[bytes, float]:
    """Return the booster with log-odds lower by about `margin`, and by how much exactly.

    The base score is a probability in single precision, so the two differ in the last digits.
    """
    if not margin:
        return booster, 0.0
    document = decode_booster(booster)
    before = _log_odds(read_header(document).base_score)
    moved = with_base_score(document, 1 / (1 + math.exp(margin - before)))
    return moved, before - _log_odds(read_header(json.loads(moved)).base_score)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
