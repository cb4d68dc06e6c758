"""The logistic function with the same bits on every machine.

`exp` of the C library, and that of NumPy, which has several versions for different processors, may
differ in the last bit. A difference in one row would change a sum and could change a tree. Here,
only +, -, *, / and scaling by powers of two are used, which IEEE 754 rounds in one way; NumPy
applies each of them on its own, so that no multiplication is fused with an addition.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST = 64.0
"""Bound of the argument: e^-64 is far below half a unit of the fixed-point numbers (2^-31)."""

_PER_LN2 = 1.4426950408889634
# ln 2 in two parts, as in fdlibm (e_exp.c): the first has 33 bits, so that its product with a small
# integer is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# For |r| <= ln(2)/2, the first term left out of the Taylor series is below 5e-18.
_TERMS = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))


def exp(x: Floats) -> Floats:
    """Return e^x for -64 <= x <= 0, within two units in the last place."""
    exponent = np.rint(x * _PER_LN2)
    rest = (x - exponent * _LN2_HIGH) - exponent * _LN2_LOW
    total = np.full_like(rest, _TERMS[0])
    for term in _TERMS[1:]:
        total *= rest
        total += term
    return np.asarray(np.ldexp(total, exponent.astype(np.int32)), np.float64)


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e^-x); `x` is clipped to ±64."""
    power = exp(-np.minimum(np.abs(x), LARGEST))
    return np.asarray(np.where(x >= 0, 1.0, power) / (1.0 + power), np.float64)
