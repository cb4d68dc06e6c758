"""Parts that the sources of synthetic data share: sizes, percentiles, ranks, step functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import TrainingDataInvalid

Floats = NDArray[np.float64]


def require_size(rows: int, seed: int) -> None:
    """Raise TrainingDataInvalid unless there is a row to draw and a seed of 0 or more."""
    if rows < 1 or seed < 0:
        raise TrainingDataInvalid(
            f"Synthetic data needs at least 1 row and a seed of 0 or more, not {rows} and {seed}."
        )


def quantile(percentiles: Mapping[int, Any], u: Floats) -> Floats:
    """Return the value at rank `u` in [0, 1), interpolated between the percentiles."""
    points = np.array(list(percentiles)) / 100.0
    return np.interp(u, points, np.array(list(percentiles.values()), dtype=np.float64))


def ranks(latent: Floats) -> Floats:
    """Return ranks in (0, 1), which give any latent score exactly the requested marginal."""
    return (np.argsort(np.argsort(latent)) + 0.5) / max(len(latent), 1)


def steps(values: Any, cuts: Sequence[float], heights: Sequence[float]) -> Floats:
    """Return a step function; `heights` has one entry more than `cuts`."""
    return np.asarray(heights, dtype=np.float64)[np.digitize(values, cuts)]
