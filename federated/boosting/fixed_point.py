"""Fixed-point numbers: gradients and hessians in 2^-30, leaves and margins in 2^-20.

Sums of integers do not depend on the order of the terms, unlike sums of floating-point numbers.
Lenders' vectors are these integers modulo 2^64.

Bounds: a gradient is at most 2^30 and a lender has at most 2^22 rows, so that sums over its rows
are at most 2^52 and exact in float64, which NumPy's bincount adds in. Over all lenders there are at
most 2^26 rows, so that a sum over the at most 66 states of a column is below 2^63.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.sigmoid import sigmoid

Vector = NDArray[np.uint64]
Integers = NDArray[np.int64]

GRADIENT_BITS = 30
LEAF_BITS = 20
LARGEST_GRADIENT = 1 << GRADIENT_BITS
LARGEST_HESSIAN = LARGEST_GRADIENT >> 2
MAXIMUM_LEAF = (16 << LEAF_BITS) - 1
"""Largest leaf in 2^-20: integers below 2^24 are exact in XGBoost's float32."""
MAXIMUM_LENDER_ROWS = 1 << 22
MAXIMUM_ROWS = 1 << 26


def gradients(margins: Integers, outcomes: NDArray[np.int8]) -> tuple[Integers, Integers]:
    """Return g = p - y and h = p(1 - p) in 2^-30, rounded half to even, each of shape (rows,).

    `margins` is in 2^-20; `outcomes` has 1 for approved. p is the sigmoid of the margin.
    """
    p = sigmoid(margins.astype(np.float64) * 2.0**-LEAF_BITS)
    scale = float(LARGEST_GRADIENT)
    return (
        np.rint((p - outcomes) * scale).astype(np.int64),
        np.rint(p * (1.0 - p) * scale).astype(np.int64),
    )


def real(sums: Integers) -> NDArray[np.float64]:
    """Return sums of gradients or hessians as real numbers."""
    return sums.astype(np.float64) * 2.0**-GRADIENT_BITS


def leaf(weight: float) -> int:
    """Return a leaf's weight in 2^-20, rounded half to even, clipped to the largest leaf."""
    rounded = float(np.rint(weight * 2.0**LEAF_BITS))
    return int(min(max(rounded, -MAXIMUM_LEAF), MAXIMUM_LEAF))
