"""The validation report of a compiled model on one data set, as JSON values.

It measures the integer program that is deployed; the float model gives the margins of which
probabilities are made, and the share of equal decisions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from features.schema import Schema
from model.program import Program
from model.referral import referred_rows
from training.calibration import Calibration
from training.library import LibraryModel
from training.report.estimates import Estimate, auc, share
from training.report.fairness import outcomes_of, summaries
from training.report.groups import audited_groups, missing_columns
from training.report.quality import brier, calibration_bins, default_probabilities, separation
from training.report.stability import stability

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1

Outcomes = NDArray[np.int8]


@dataclass(frozen=True)
class LabelledRows:
    """Rows that a report measures.

    `bits` (rows, n_bits); `y` (rows,) with 1 = approved; `frame` has their values, if known.
    """

    bits: Bits
    y: Outcomes
    source: str
    frame: pd.DataFrame | None = None


@dataclass(frozen=True)
class Results:
    """The results of a model on rows: integer `scores` (rows,) and float `margins` (rows,).

    `referred` (rows,) marks the rows in the grey zone, if the model has one.
    """

    scores: NDArray[np.int64]
    margins: NDArray[np.float64]
    referred: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, decide: Program, booster: bytes, schema: Schema, bits: Bits) -> Results:
        """Return the results of a program and its booster on bits (rows, n_bits)."""
        margins = LibraryModel(booster, schema).log_odds(bits)
        scores = decide.scores(bits)
        return cls(scores[:, 0], margins, referred_rows(scores))


def metrics_of_validation(
    layout: Layout,
    rows: LabelledRows,
    training: tuple[Bits, Outcomes] | None,
    decide: Program,
    booster: bytes,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Return `validation` and `groups` for the metrics of a training, as JSON values.

    `rows` were not trained on; `training` has the bits and labels of those that were, if known.
    """
    results = partial(Results.of, decide, booster, layout.schema)
    known = None if training is None else (*training, results(training[0]))
    report = validation(layout, rows, results(rows.bits), known, calibration)
    groups = report.pop("groups")
    return {"validation": report, "groups": groups}


def validation(
    layout: Layout,
    rows: LabelledRows,
    results: Results,
    training: tuple[Bits, Outcomes, Results] | None,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Return the report; `training` has the rows of training, without which there is no PSI.

    `calibration` is that of training's metrics, if it has one. Raises ValueOutOfDomain for a value
    of an audit-only column that the schema does not allow.
    """
    y, approved = rows.y, results.scores >= 0
    defaults, source = default_probabilities(results.margins, calibration)
    groups = audited_groups(layout, rows.bits, rows.frame)
    measured = {
        **{
            name: _json(found)
            for name, found in separation(y, results.scores.astype(np.float64)).items()
        },
        "brier": _json(brier(y, 1 - defaults)),
        "brier_of_the_mean": float(np.mean(y) * (1 - np.mean(y))),
    }
    report: dict[str, Any] = {
        "format": FORMAT,
        "rows": {
            "source": rows.source,
            "count": len(y),
            "good": int((y == 1).sum()),
            "bad": int((y == 0).sum()),
        },
        "quality": measured,
        "decisions": _decisions(y, approved, results.margins > 0, results.referred),
        "calibration": {"source": source, "bins": calibration_bins(y, defaults)},
        "stability": None,
        "groups": {own.column: outcomes_of(own, y, results.scores) for own in groups},
        "group_summaries": summaries(groups, y, approved),
        "not_audited": missing_columns(layout.schema, rows.frame),
    }
    if training is not None:
        bits, labels, trained = training
        report["stability"] = {
            "training_rows": len(labels),
            "training_auc": _json(auc(labels, trained.scores)),
            "columns": stability(layout, bits, rows.bits, trained.scores, results.scores),
        }
    return report


def _decisions(
    y: Outcomes,
    approved: NDArray[np.bool_],
    by_float: NDArray[np.bool_],
    referred: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    bad = y == 0
    denied = ~approved if referred is None else ~(approved | referred)
    found = {
        "approved": _share(approved),
        "bad_rate": _share(bad),
        "bad_rate_of_approved": _share(bad[approved]),
        "bad_rate_of_denied": _share(bad[denied]),
        "agreement_with_float_model": _share(approved == by_float),
    }
    if referred is not None:
        found |= {"referred": _share(referred), "bad_rate_of_referred": _share(bad[referred])}
    return found


def _share(chosen: NDArray[np.bool_]) -> dict[str, float] | None:
    return _json(share(int(chosen.sum()), len(chosen)))


def _json(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else asdict(estimate)
