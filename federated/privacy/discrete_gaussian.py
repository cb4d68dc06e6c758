"""Exact samples of the discrete Gaussian, from a seed.

The discrete Gaussian of variance parameter s takes the integer x with probability proportional to
exp(-x²/2s). Rounded samples of a continuous Gaussian would not have the privacy that the
accountant computes: the gaps between floating-point numbers reveal the value below the noise
(Mironov, CCS 2012).

The method is the rejection sampler of Canonne, Kamath and Steinke (NeurIPS 2020, algorithms 1 to
3) with its two rejections joined. With a power of two t >= sqrt(s), u uniform below t and v
geometric with P(v >= k) = exp(-k), the proposal is |x| = u + t·v with a random sign, and it is
accepted with probability exp(-g), where g = x²/2s - v + s/2t² >= 0.

Each decision compares a uniform real number with the exponential of a rational one. The real
number's first 64 bits are compared in floating point, whose error is far below the margin; in the
rare case within the margin, further bits are drawn and compared exactly. So every sample is exact,
and the same on every machine.

Libraries: OpenDP has an exact sampler, but it cannot be seeded, and a lender must repeat its noise
after a restart. diffprivlib's accepts no cryptographic generator with a seed.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engines.levelled.randomness import Expander, derive
from utils.errors import PrivacyInvalid

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Flags = NDArray[np.bool_]

MAXIMUM_VARIANCE = Fraction(2**100)
MAXIMUM_SAMPLES = 1 << 20

_MARGIN = 2.0**-30
"""Comparisons closer than this are made exactly; the error of the floating-point ones is < 2^-37.

A word of at least 2^40 gives v <= 16, hence x/t < 18 and g < 650. Several errors of 2^-52 relative
to these are below 2^-37, and so is the effect on v of the real number's bits after the first 64.
"""
_LEAST_WORD = np.uint64(1 << 40)


def sample(seed: bytes, count: int, variance: Fraction) -> Integers:
    """Return `count` independent samples, shape (count,), with the parameter `variance`.

    A seed of 32 bytes gives the same samples always; it must be secret and used for one call only.
    The variance of the samples is `variance` to within 10^-6 of it from 2 on, and less below.
    Raises PrivacyInvalid if a size is out of bounds.
    """
    if not 0 <= count <= MAXIMUM_SAMPLES:
        raise PrivacyInvalid(f"{count} samples of noise are too many; use fewer columns or bins.")
    if not 0 < variance <= MAXIMUM_VARIANCE:
        raise PrivacyInvalid("The noise is too wide; choose a smaller noise multiplier.")
    proposals = _Proposals(seed, variance)
    found = np.empty(0, np.int64)
    while len(found) < count:
        left = count - len(found)
        found = np.concatenate((found, proposals.accepted(2 * left + left // 2 + 16)))
    return found[:count]


class _Proposals:
    """A stream of proposals; each uses three words, numbered so that further bits are its own."""

    def __init__(self, seed: bytes, variance: Fraction) -> None:
        self._seed, self._variance = seed, variance
        self._stream = Expander(derive(seed, "discrete Gaussian"))
        self._used = 0
        self._width_bits = _bits_above_root(variance)
        self._width = 1 << self._width_bits

    def accepted(self, count: int) -> Integers:
        """Return the accepted ones of the next `count` proposals, in their order."""
        first = self._used
        self._used += count
        signs, lengths, thresholds = self._stream.uniform_words((3, count))
        below = signs & np.uint64(self._width - 1)
        steps, unsure = _geometric(lengths)
        for i in np.flatnonzero(unsure):
            steps[i] = self._exact_geometric(int(lengths[i]), f"steps {first + i}")
        size = below.astype(np.int64) + (steps << self._width_bits)
        ratio = float(Fraction(self._width**2) / self._variance)  # 1 to 4
        scaled = below.astype(np.float64) / self._width + steps
        exponent = scaled * scaled * (ratio / 2) - steps + 1 / (2 * ratio)
        taken, close = _below_exponential(thresholds, exponent)
        for i in np.flatnonzero(close | unsure):
            exact = self._exponent(int(below[i]), int(steps[i]))
            taken[i] = self._exactly_below(int(thresholds[i]), exact, f"taken {first + i}")
        negative = (signs >> np.uint64(63)).astype(np.bool_)
        taken &= ~(negative & (size == 0))  # 0 would otherwise be drawn with either sign
        accepted: Integers = np.where(negative, -size, size)[taken]
        return accepted

    def _exponent(self, below: int, steps: int) -> Fraction:
        size = below + self._width * steps
        return (
            size**2 / (2 * self._variance) - steps + self._variance / Fraction(2 * self._width**2)
        )

    def _exact_geometric(self, word: int, label: str) -> int:
        steps = 0
        while self._exactly_below(word, Fraction(steps + 1), label):
            steps += 1
        return steps

    def _exactly_below(self, word: int, exponent: Fraction, label: str) -> bool:
        """Return whether the real number that begins with `word` is below exp(-exponent)."""
        if exponent == 0:
            return True
        more = Expander(derive(self._seed, "further bits", label))
        bits, number = 64, word
        while True:
            low, high = _exponential(exponent, bits + 64)
            if Fraction(number + 1, 1 << bits) <= low:
                return True
            if Fraction(number, 1 << bits) >= high:
                return False
            number = number << 64 | int(more.uniform_words(1)[0])
            bits += 64


def _bits_above_root(variance: Fraction) -> int:
    """Return the least b >= 0 with 4^b >= variance."""
    bits = 0
    while 4**bits < variance:
        bits += 1
    return bits


def _geometric(words: Words) -> tuple[Integers, Flags]:
    """Return floor(-ln r) of the real numbers r that begin with the words, and where to check."""
    logs = -np.log((words.astype(np.float64) + 0.5) * 2.0**-64)
    unsure = (np.abs(logs - np.rint(logs)) < _MARGIN) | (words < _LEAST_WORD)
    return np.floor(logs).astype(np.int64), unsure


def _below_exponential(words: Words, exponents: NDArray[np.float64]) -> tuple[Flags, Flags]:
    """Return where the real numbers are below exp(-exponent), and where to check."""
    gap = np.exp(-exponents) - (words.astype(np.float64) + 0.5) * 2.0**-64
    return gap > 0, np.abs(gap) < _MARGIN


def _exponential(exponent: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Return bounds around exp(-exponent), closer than 2^-bits relative to it.

    `decimal` rounds division and exponential correctly, so the relative error is at most
    (exponent + 1) · 10^(1 - digits).
    """
    digits = bits // 3 + 30 + len(str(int(exponent)))
    context = Context(prec=digits, Emin=-999_999, Emax=999_999)
    quotient = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    value = Fraction(context.exp(context.minus(quotient)))
    error = value / 10 ** (bits // 3 + 20)
    return value - error, value + error
