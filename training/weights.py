"""Weights of rows in training: by outcome, and by a column of the data."""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.models import Labels, Weights
from utils.errors import TrainingDataInvalid

LARGEST = 1e6
BALANCED = "balanced"


def class_weights(option: str, y: Labels) -> Weights:
    """Return weights (rows,) for `option`: "balanced", or the weight of a bad outcome as text.

    Balanced weights give both outcomes the same sum. Raises TrainingDataInvalid.
    """
    if option == BALANCED:
        counts = np.bincount(y, minlength=2)
        return np.asarray(len(y) / (2 * np.maximum(counts, 1))[y], np.float64)
    try:
        weight = float(option)
    except ValueError:
        weight = float("nan")
    if not 1 / LARGEST <= weight <= LARGEST:
        raise TrainingDataInvalid(
            f"--class-weight must be balanced, or a number above 0 such as 4, not {option[:20]!r}."
        )
    return np.where(y == 0, weight, 1.0)


def sample_weights(texts: pd.Series, name: str) -> Weights:
    """Return the weights (rows,) in a column of the data, scaled to a mean of 1.

    Raises TrainingDataInvalid unless every row has a number from 0 to LARGEST, not all of them 0.
    """
    weights = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    wrong = ~((weights >= 0) & (weights <= LARGEST))
    if wrong.any():
        raise TrainingDataInvalid(
            f"Column {name} cannot weigh the rows: {int(wrong.sum())} of {len(weights)} rows have "
            f"no number from 0 to {LARGEST:g} there. Correct them, or train without --weights."
        )
    if not weights.any():
        raise TrainingDataInvalid(f"Column {name} cannot weigh the rows: all weights are 0.")
    return np.asarray(weights / weights.mean(), np.float64)
