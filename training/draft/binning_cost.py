"""The AUC that the drafted bins and categories cost, against the columns as they are.

Cross-validated: in every fold, XGBoost is fitted once on numbers and categories, and once on the
bits of the schema, in the shape of training's reference. A paired bootstrap over the rows gives
the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from features.encoding import Bits
from training.draft.columns import Drafted
from training.draft.kinds import Category, Number
from training.draft.relations import auc
from training.models import REFERENCE

FOLDS = 5
MOST_ROWS = 20_000
_STAGE = REFERENCE.stages[0]
_RESAMPLES = 200
_LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class BinningCost:
    """The AUC on held-out rows of both models, and the 95 % interval of raw minus binned."""

    rows: int
    raw: float
    binned: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"AUC in {FOLDS}-fold cross-validation ({self.rows} rows): raw columns {self.raw:.4f}, "
            f"the draft's bits {self.binned:.4f}; binning costs {self.raw - self.binned:+.4f} "
            f"(95 % interval {low:+.4f} to {high:+.4f})"
        )


def sampled(approved: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Return the rows to measure on, in rising order: all, or `MOST_ROWS` drawn ones."""
    rows = np.arange(len(approved))
    if len(rows) <= MOST_ROWS:
        return rows
    drawn = np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False)
    return np.sort(drawn).astype(np.int64)


def binning_cost(
    columns: Sequence[Drafted],
    rows: NDArray[np.int64],
    bits: Bits,
    approved: NDArray[np.bool_],
    seed: int,
) -> BinningCost | None:
    """Return the cost of binning on `rows`; `bits` (len(rows), n_bits) and `approved` are theirs.

    None if an outcome has fewer rows than there are folds.
    """
    if min(approved.sum(), (~approved).sum()) < FOLDS:
        return None
    raw = _raw_frame(columns, rows)
    scores = np.empty((2, len(rows)))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for training, held_out in folds.split(bits, approved):
        for i, matrix in enumerate((lambda rows: raw.iloc[rows], lambda rows: bits[rows])):
            own = xgboost.DMatrix(
                matrix(training), approved[training], enable_categorical=True, nthread=1
            )
            booster = xgboost.train(_parameters(seed), own, _STAGE.trees)
            unseen = xgboost.DMatrix(matrix(held_out), enable_categorical=True, nthread=1)
            scores[i, held_out] = booster.predict(unseen, output_margin=True)
    return BinningCost(
        len(rows), auc(scores[0], approved), auc(scores[1], approved), _interval(scores, approved)
    )


def _raw_frame(columns: Sequence[Drafted], rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the values before binning: numbers, and texts as pandas' categories."""
    series: dict[str, NDArray[np.float64] | pd.Categorical] = {}
    for column in columns:
        reading = column.reading
        if isinstance(reading, Number):
            series[column.name] = reading.values[rows]
        elif isinstance(reading, Category):
            texts = range(len(reading.texts))
            series[column.name] = pd.Categorical.from_codes(reading.positions[rows], texts)
        else:
            values = reading.positions[rows].astype(np.float64)
            series[column.name] = np.where(values < 0, np.nan, values)
    return pd.DataFrame(series)


def _parameters(seed: int) -> dict[str, Any]:
    """Return the parameters of both models, without the constraints that training adds."""
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": _STAGE.depth,
        "learning_rate": _STAGE.learning_rate,
        "base_score": 0.5,
        "nthread": 1,
        "seed": seed,
    }


def _interval(scores: NDArray[np.float64], approved: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two AUCs on the same rows."""
    draw = np.random.default_rng(0)
    differences = []
    for _ in range(_RESAMPLES):
        rows = draw.integers(0, len(approved), len(approved))
        differences.append(
            auc(scores[0, rows], approved[rows]) - auc(scores[1, rows], approved[rows])
        )
    low, high = np.quantile(differences, _LEVEL)
    return float(low), float(high)
