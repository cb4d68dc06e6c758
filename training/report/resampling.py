"""The bootstrap over rows, drawn as counts of equal rows, in parts of bounded size.

Equal rows are one cell, so that a resample of all rows is one draw from a multinomial distribution
over the cells. B. Efron, "Bootstrap methods: another look at the jackknife" (Annals of Statistics
7, 1979).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 19
_MOST_COUNTS = 2_000_000
"""Counts that are in memory at once."""

Floats = NDArray[np.float64]


def resampled(
    counts: NDArray[np.int64],
    statistic: Callable[[Floats], Floats],
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Floats:
    """Return the statistic of every resample, shape (resamples, statistics).

    `counts` (cells,) has the number of rows of each cell. `statistic` maps counts of shape
    (resamples, cells) to statistics of shape (resamples, statistics). The same seed gives the same
    resamples.
    """
    generator = np.random.default_rng(seed)
    rows = int(counts.sum())
    part = max(1, _MOST_COUNTS // max(1, len(counts)))
    results = []
    for first in range(0, resamples, part):
        size = min(part, resamples - first)
        drawn = generator.multinomial(rows, counts / rows, size=size)
        with np.errstate(divide="ignore", invalid="ignore"):
            results.append(statistic(drawn.astype(np.float64)))
    return np.concatenate(results)
