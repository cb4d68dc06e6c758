"""Calibration: from a booster's log-odds to the observed probability of a good outcome.

Platt's method (J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999) fits a logistic
curve with his smoothed labels; isotonic regression (Zadrozny and Elkan, KDD 2002) any rising curve.
Both are fitted on rows that the booster was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from training.models import Labels, Weights
from utils.errors import TrainingDataInvalid

Reals = NDArray[np.float64]
Kind = Literal["platt", "isotonic"]


@dataclass(frozen=True)
class Platt:
    """Log-odds of a good outcome = slope * margin + intercept."""

    slope: float
    intercept: float

    def log_odds(self, margins: Reals) -> Reals:
        """Return the calibrated log-odds of a good outcome, shape (rows,)."""
        return self.slope * margins + self.intercept

    def good(self, margins: Reals) -> Reals:
        """Return the probability of a good outcome, shape (rows,)."""
        return np.asarray(expit(self.log_odds(margins)), np.float64)

    def margin_at(self, good: float) -> float:
        """Return the margin at which a good outcome has probability `good`."""
        return float((logit(good) - self.intercept) / self.slope)

    def after_shift(self, shift: float) -> Platt:
        """Return the calibration of a booster whose margins are lower by `shift`."""
        return Platt(self.slope, self.intercept + self.slope * shift)

    def document(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {"kind": "platt", "slope": self.slope, "intercept": self.intercept}


@dataclass(frozen=True)
class Isotonic:
    """The probability of a good outcome, linear between points (margin, good)."""

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]
    rows: int

    def good(self, margins: Reals) -> Reals:
        """Return the probability of a good outcome, shape (rows,)."""
        return np.interp(margins, self.margins, self.probabilities)

    def log_odds(self, margins: Reals) -> Reals:
        """Return the calibrated log-odds of a good outcome, shape (rows,).

        Probabilities stay as far from 0 and 1 as those of Laplace's rule for the fitted rows.
        """
        least = 1 / (self.rows + 2)
        return np.asarray(logit(np.clip(self.good(margins), least, 1 - least)), np.float64)

    def margin_at(self, good: float) -> float:
        """Return the lowest margin at which a good outcome has at least probability `good`.

        Raises TrainingDataInvalid if that is so everywhere or nowhere.
        """
        lowest, highest = self.probabilities[0], self.probabilities[-1]
        if not lowest < good <= highest:
            all_or_none = "every" if good <= lowest else "no"
            raise TrainingDataInvalid(
                f"With --calibration isotonic, {all_or_none} row has a default probability below "
                f"{1 - good:.4g}: they lie between {1 - highest:.4g} and {1 - lowest:.4g}. Choose "
                "another cut-off, or --calibration platt."
            )
        after = next(i for i, p in enumerate(self.probabilities) if p >= good)
        (x0, x1), (p0, p1) = (v[after - 1 : after + 1] for v in (self.margins, self.probabilities))
        return x0 + (good - p0) / (p1 - p0) * (x1 - x0)

    def after_shift(self, shift: float) -> Isotonic:
        """Return the calibration of a booster whose margins are lower by `shift`."""
        return Isotonic(tuple(m - shift for m in self.margins), self.probabilities, self.rows)

    def document(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {
            "kind": "isotonic",
            "margins": list(self.margins),
            "good": list(self.probabilities),
            "rows": self.rows,
        }


Calibration = Platt | Isotonic


def calibrate(kind: Kind, margins: Reals, y: Labels, weights: Weights | None = None) -> Calibration:
    """Fit a calibration to margins (rows,) and outcomes `y` (rows,) of rows not trained on.

    Raises TrainingDataInvalid if a higher margin does not go with fewer defaults.
    """
    own = np.ones(len(y)) if weights is None else weights
    calibration = _platt(margins, y, own) if kind == "platt" else _isotonic(margins, y, own)
    rising = (
        calibration.slope > 0
        if isinstance(calibration, Platt)
        else calibration.probabilities[-1] > calibration.probabilities[0]
    )
    if not rising:
        raise TrainingDataInvalid(
            "On rows that the model was not trained on, a higher score does not go with fewer "
            "defaults, so no probability of default can be given. Train with more rows or other "
            "columns, or without --approve-below and --cost-ratio."
        )
    return calibration


def _platt(margins: Reals, y: Labels, weights: Weights) -> Platt:
    good, bad = int((y == 1).sum()), int((y == 0).sum())
    towards_good = np.where(y == 1, (good + 1) / (good + 2), 1 / (bad + 2))
    # A row with a smoothed label counts as two rows, one of each outcome.
    model = LogisticRegression(C=np.inf)
    model.fit(
        np.concatenate([margins, margins])[:, None],
        np.repeat([1, 0], len(y)),
        np.concatenate([weights * towards_good, weights * (1 - towards_good)]),
    )
    return Platt(float(model.coef_[0, 0]), float(model.intercept_[0]))


def _isotonic(margins: Reals, y: Labels, weights: Weights) -> Isotonic:
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(margins, y, weights)
    return Isotonic(
        tuple(map(float, model.X_thresholds_)),
        tuple(map(float, model.y_thresholds_)),
        len(y),
    )


def from_document(document: dict[str, Any] | None) -> Calibration | None:
    """Return the calibration of metrics.json; None if it has none."""
    if document is None:
        return None
    if document["kind"] == "platt":
        return Platt(float(document["slope"]), float(document["intercept"]))
    return Isotonic(
        tuple(map(float, document["margins"])),
        tuple(map(float, document["good"])),
        int(document["rows"]),
    )
