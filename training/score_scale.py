"""The score scale: points that double the odds at fixed distances, from calibrated log-odds.

points = offset + factor * ln(odds), with factor = double / ln 2: N. Siddiqi, Credit Risk Scorecards
(2006), chapter 6, "scaling".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from features.schema import Scale
from training.calibration import Calibration, Reals
from training.models import Labels

DEFAULTS = (0.5, 0.3, 0.2, 0.15, 0.1, 0.075, 0.05, 0.03, 0.02, 0.01)
"""Probabilities of default for which the table of cut-offs has a line."""


def points_of(log_odds: Reals, scale: Scale, calibration: Calibration) -> Reals:
    """Return the points of a booster's log-odds, shape (rows,)."""
    return _points(calibration.log_odds(np.asarray(log_odds, np.float64)), scale)


def _points(calibrated: Reals, scale: Scale) -> Reals:
    factor = scale.double / math.log(2)
    return scale.points + factor * (calibrated - math.log(scale.odds))


def cut_off_table(
    calibration: Calibration, scale: Scale | None, log_odds: Reals, y: Labels
) -> list[dict[str, Any]]:
    """Return one line for each probability of default in DEFAULTS, as JSON values.

    Each has the share of the rows (with `log_odds` and `y`, shape (rows,)) that it would approve,
    their bad rate, and its points if there is a scale.
    """
    lines: list[dict[str, Any]] = []
    calibrated = calibration.log_odds(log_odds)
    for default in DEFAULTS:
        limit = math.log((1 - default) / default)
        approved = calibrated >= limit
        line: dict[str, Any] = {
            "probability_of_default": default,
            "approved_share": float(approved.mean()),
            "bad_rate": float(1 - y[approved].mean()) if approved.any() else None,
        }
        if scale is not None:
            line["points"] = float(_points(np.array([limit]), scale)[0])
        lines.append(line)
    return lines


def deciles(values: Reals, y: Labels) -> list[dict[str, Any]]:
    """Return ten groups of rows by value, lowest first, with their range and bad rate."""
    order = np.argsort(values, kind="stable")
    return [
        {
            "from": float(values[group].min()),
            "to": float(values[group].max()),
            "rows": len(group),
            "bad_rate": float(1 - y[group].mean()),
        }
        for group in np.array_split(order, 10)
        if len(group)
    ]
