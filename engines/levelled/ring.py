"""Polynomials modulo X^N + 1 with 64-bit coefficients: transforms, exact products, digits.

A product is taken at the N/2 roots ζ of X^N = -1 with ζ^(N/2) = i, which is a complex FFT of half
the length after folding and twisting: the other roots are conjugate to these. Double precision
carries 53 bits of a product. Where that is too little, `PreparedPoly` splits words into two halves
and is exact.

Sources: Bernstein, "Multidigit multiplication for mathematicians" (2001), for the twist; Klemsa,
"Fast and Error-Free Negacyclic Integer Convolution using Extended Fourier Transform" (2021), for
folding and error bounds.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.levelled.words import Integers, Words

Spectrum = NDArray[np.complex128]

_MODULUS = 2.0**64
_HALF = 2.0**63
_LIMB = np.uint64(32)


@cache
def _twist(n: int) -> Spectrum:
    """exp(iπk/N) for k < N/2."""
    twist: Spectrum = np.exp(1j * np.pi * np.arange(n // 2) / n)
    return twist


def forward(polynomials: NDArray[Any]) -> Spectrum:
    """Values at the roots, shape (..., N/2), of real polynomials, shape (..., N).

    Words are taken as centred: between -q/2 and q/2, rounded to 53 bits.
    """
    if polynomials.dtype == np.uint64:
        polynomials = polynomials.view(np.int64)
    n = polynomials.shape[-1]
    folded = np.empty((*polynomials.shape[:-1], n // 2), np.complex128)
    folded.real = polynomials[..., : n // 2]
    folded.imag = polynomials[..., n // 2 :]
    folded *= _twist(n)
    return np.fft.fft(folded)


def inverse(values: Spectrum) -> Words:
    """The polynomials with these values, rounded to integers and modulo 2^64, shape (..., N)."""
    numbers = _interpolated(values)
    # A double beyond 2^64 loses no bit when the multiples of 2^64 go.
    numbers -= np.rint(numbers * (1 / _MODULUS)) * _MODULUS
    # 2^63 is the one value left that an int64 has not; modulo 2^64 it is -2^63.
    np.negative(numbers, out=numbers, where=numbers == _HALF)
    return _rounded(numbers)


def _interpolated(values: Spectrum) -> NDArray[np.float64]:
    half = values.shape[-1]
    folded = np.fft.ifft(values)
    folded *= _twist(2 * half).conj()
    numbers = np.empty((*values.shape[:-1], 2 * half))
    numbers[..., :half] = folded.real
    numbers[..., half:] = folded.imag
    return numbers


def _rounded(numbers: NDArray[np.float64]) -> Words:
    """The nearest integers, of numbers within ±2^63, modulo 2^64."""
    np.rint(numbers, out=numbers)
    return numbers.astype(np.int64).view(np.uint64)


class PreparedPoly:
    """A polynomial of words, transformed once, for exact products with small polynomials.

    The words' centred 32-bit halves are multiplied apart. A coefficient of such a product is below
    N·2^31·‖small‖∞, and its error in double precision below a tenth as long as that is under 2^48:
    for N = 2048, small coefficients up to 64.
    """

    def __init__(self, words: Words) -> None:
        """`words` has shape (..., N), which has to fit that of the small polynomials."""
        high, low = _halves(words)
        self._high = forward(high)
        self._low = forward(low)

    def times(self, small: Spectrum) -> Words:
        """The products modulo 2^64, shape (..., N), with `forward(small)`, shape (..., N/2)."""
        products = _rounded(_interpolated(self._high * small))
        products <<= _LIMB
        products += _rounded(_interpolated(self._low * small))
        return products


def _halves(words: Words) -> tuple[Integers, Integers]:
    """(high, low), both centred, with words = high·2^32 + low modulo 2^64."""
    low = words.astype(np.uint32).view(np.int32).astype(np.int64)
    high = (words.view(np.int64) - low) >> 32
    return high, low


def multiply_exact(words: Words, small: Integers) -> Words:
    """The products modulo 2^64 and X^N + 1 of words and small polynomials, shape (..., N) each.

    Exact as long as the small coefficients stay within the bound that `PreparedPoly` states.
    """
    return PreparedPoly(words).times(forward(small))


def decompose(words: Words, base_log: int, levels: int) -> Integers:
    """Signed digits, shape (..., levels, N), of words (..., N); the most significant digit first.

    Σ_j digit_j·2^(64 - base_log·(j+1)) is the multiple of 2^(64 - base_log·levels) nearest to the
    word, modulo 2^64; digits are between -B/2 and B/2 - 1.
    """
    dropped = 64 - base_log * levels
    # Half a base added at every level makes the digits unsigned; half a step more rounds.
    centre = 1 << (base_log - 1)
    offset = (1 << dropped) >> 1
    offset += sum(centre << (64 - base_log * (level + 1)) for level in range(levels))
    shifted = words + np.uint64(offset)
    digits = np.empty((*words.shape[:-1], levels, words.shape[-1]), np.int64)
    for level in range(levels):
        shift = np.uint64(64 - base_log * (level + 1))
        digit = (shifted >> shift) & np.uint64((1 << base_log) - 1)
        digits[..., level, :] = digit.view(np.int64) - centre
    return digits
