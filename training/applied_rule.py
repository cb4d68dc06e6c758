"""The decision rule applied to a trained booster, and the tables that training prints of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from features.schema import Scale
from training.approvals import outcomes
from training.calibration import Calibration, Kind, Reals, calibrate
from training.decision_rule import Rule, cut_off, grey_zone, with_cut_off
from training.models import Labels, Rows
from training.score_scale import cut_off_table, deciles, points_of
from utils.errors import TrainingDataInvalid


@dataclass(frozen=True)
class Ruled:
    """A booster with the cut-off folded in.

    `shift` is the cut-off in log-odds of the trained trees; `calibration` is that of this
    booster's margins, or None if they say nothing about defaults. `facts` and `cut_offs` are JSON
    values for metrics.json. `refer_below` is the width of the grey zone in log-odds, if there is
    one.
    """

    booster: bytes
    shift: float
    calibration: Calibration | None
    facts: dict[str, Any]
    cut_offs: list[dict[str, Any]]
    refer_below: float | None = None

    def text(self) -> str:
        """Return the rule and the table of other cut-offs."""
        facts = self.facts
        given = "margin 0" if facts["value"] is None else f"{facts['kind']} {facts['value']:g}"
        text = f"Decision rule: {given}; of rows not trained on, {facts['approved_share']:.1%} are"
        text += " approved"
        if facts["cut_off_probability"] is not None:
            text += f", with a probability of default (PD) below {facts['cut_off_probability']:.2%}"
        if facts["cut_off_points"] is not None:
            text += f", {facts['cut_off_points']:.0f} points or more"
        if self.refer_below is not None:
            text += (
                f"; {facts['referred_share']:.1%} are referred to a person, with scores up to "
                f"{self.refer_below:.2f} log-odds lower"
            )
            if facts["deny_from_probability"] is not None:
                text += f" (PD below {facts['deny_from_probability']:.2%})"
        if not self.cut_offs:
            return f"{text}."
        lines = [f"{text}. Other cut-offs:"]
        lines.append(f"{'PD below':>10} {'points':>7} {'approved':>9} {'bad':>7}")
        for line in self.cut_offs:
            points = f"{line['points']:.0f}" if "points" in line else "-"
            bad = "-" if line["bad_rate"] is None else f"{line['bad_rate']:.1%}"
            lines.append(
                f"{line['probability_of_default']:>10.1%} {points:>7} "
                f"{line['approved_share']:>9.1%} {bad:>7}"
            )
        return "\n".join(lines)


def apply_rule(
    rule: Rule,
    kind: Kind,
    scale: Scale | None,
    booster: bytes,
    margins: Reals,
    unseen: Rows,
    refer_below: float | None = None,
) -> Ruled:
    """Calibrate a booster on rows that it was not trained on, and fold the rule's cut-off into it.

    `margins` (rows,) are the log-odds of the rows `unseen`. `refer_below` is the schema's grey
    zone, which that of the rule replaces. Raises TrainingDataInvalid.
    """
    calibration: Calibration | None
    try:
        calibration = calibrate(kind, margins, unseen.y, unseen.population)
    except TrainingDataInvalid:
        if rule.most_default is not None:
            raise
        calibration = None
    zone = grey_zone(rule, calibration) or refer_below
    booster, shift = with_cut_off(booster, cut_off(rule, calibration, margins))
    margins = margins - shift
    cut_offs: list[dict[str, Any]] = []
    default = points = deny_from = None
    if calibration is not None:
        calibration = calibration.after_shift(shift)
        cut_offs = cut_off_table(calibration, scale, margins, unseen.y)
        default = float(1 - calibration.good(np.zeros(1))[0])
        if zone is not None:
            deny_from = float(1 - calibration.good(np.array([-zone]))[0])
        if scale is not None:
            points = float(points_of(np.zeros(1), scale, calibration)[0])
    facts = {
        "kind": rule.kind,
        "value": rule.value,
        "cut_off_probability": default,
        "cut_off_points": points,
        "shift_log_odds": shift,
    }
    referred = None
    if zone is not None:
        referred = (margins <= 0) & (margins > -zone)
        facts |= {"refer_below_log_odds": zone, "deny_from_probability": deny_from}
    facts |= outcomes(unseen.y, margins > 0, referred)
    return Ruled(booster, shift, calibration, facts, cut_offs, zone)


def score_table(ruled: Ruled, scale: Scale | None, margins: Reals, y: Labels) -> dict[str, Any]:
    """Return the deciles of rows by score, in points if there is a scale, as JSON values."""
    if scale is None or ruled.calibration is None:
        return {"unit": "log-odds above the cut-off", "deciles": deciles(margins, y)}
    return {"unit": "points", "deciles": deciles(points_of(margins, scale, ruled.calibration), y)}


def score_table_text(table: dict[str, Any]) -> str:
    """Return a `score_table` of the test rows as text."""
    digits = 0 if table["unit"] == "points" else 2
    lines = [f"Test rows by score ({table['unit']}), lowest first:"]
    lines += [
        f"{d['from']:>10.{digits}f} to {d['to']:>8.{digits}f} {d['rows']:>7,} rows, "
        f"{d['bad_rate']:>6.1%} bad"
        for d in table["deciles"]
    ]
    return "\n".join(lines)
