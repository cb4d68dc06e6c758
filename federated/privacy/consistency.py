"""Histograms with noise, made to agree on the sum of all rows.

Every column of a histogram counts the same rows, so its cells add up to the same sum; with noise
they do not. The agreed sum is the mean of the columns' sums, each weighted by 1/(its cells), the
inverse of its variance, and each column spreads its difference evenly over its cells. That is the
least-squares estimate (Hay et al., VLDB 2010): the noise of a sum over n cells falls from n units
to 1/Σ(1/n) over all columns. It uses opened sums alone and spends no budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utils.errors import PrivacyInvalid

Integers = NDArray[np.int64]


def agreeing(histograms: Integers, sizes: Sequence[int]) -> Integers:
    """Return the histograms, shape (..., cells), with equal sums of all columns.

    `sizes` has the number of cells of each column. All arithmetic is on integers, so that every
    machine computes the same; remainders go to a column's first cells. Raises PrivacyInvalid if the
    sizes do not fit.
    """
    if not sizes or min(sizes) < 1 or sum(sizes) != histograms.shape[-1]:
        raise PrivacyInvalid("The histograms do not have the cells of these columns; restart.")
    first = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.int64)
    columns = np.add.reduceat(histograms, first, axis=-1).reshape(-1, len(sizes))
    unit = math.lcm(*sizes)
    weights = [unit // size for size in sizes]
    whole = sum(weights)
    agreed = [
        (2 * sum(w * s for w, s in zip(weights, row, strict=True)) + whole) // (2 * whole)
        for row in columns.tolist()
    ]
    missing = np.array(agreed, np.int64)[:, None] - columns
    each, rest = np.divmod(missing, np.array(sizes, np.int64))
    place = np.arange(histograms.shape[-1]) - np.repeat(first, sizes)
    added = np.repeat(each, sizes, axis=1) + (place < np.repeat(rest, sizes, axis=1))
    result: Integers = histograms + added.reshape(histograms.shape)
    return result
