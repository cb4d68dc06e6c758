"""Polynomials modulo X^N + 1 with 64-bit coefficients: transforms, exact products, digits.

Polynomials are multiplied by their values at the N/2 roots ζ of X^N = -1 with ζ^(N/2) = i; the
other roots are the conjugates of these. After folding and twisting, this is a complex FFT of half
the length. Double precision has 53 bits of a product; `PreparedPoly` splits words into two halves
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
    """Return exp(iπk/N) for k < N/2."""
    twist: Spectrum = np.exp(1j * np.pi * np.arange(n // 2) / n)
    return twist


def forward(polynomials: NDArray[Any]) -> Spectrum:
    """Return the values at the roots, shape (..., N/2), of real polynomials, shape (..., N).

    Words are interpreted as centred, between -q/2 and q/2, and rounded to 53 bits.
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
    """Return the polynomials with these values, rounded to integers modulo 2^64, shape (..., N)."""
    numbers = _interpolated(values)
    # Subtracting multiples of 2^64 from a double beyond 2^64 is exact.
    numbers -= np.rint(numbers * (1 / _MODULUS)) * _MODULUS
    # 2^63 is the only remaining value that does not fit into an int64; modulo 2^64 it is -2^63.
    np.negative(numbers, out=numbers, where=numbers == _HALF)
    return _rounded(numbers)


def inverse_exact(values: Spectrum) -> Words:
    """Return the integer polynomials with these values, modulo 2^64, shape (..., N).

    The coefficients must be below 2^53. They are exact, and the same on every machine, if the
    transforms' error is below 1/2: about 2^-51 of the root mean square of random coefficients.
    """
    return _rounded(_interpolated(values))


def _interpolated(values: Spectrum) -> NDArray[np.float64]:
    half = values.shape[-1]
    folded = np.fft.ifft(values)
    folded *= _twist(2 * half).conj()
    numbers = np.empty((*values.shape[:-1], 2 * half))
    numbers[..., :half] = folded.real
    numbers[..., half:] = folded.imag
    return numbers


def _rounded(numbers: NDArray[np.float64]) -> Words:
    """Round numbers within ±2^63 to the nearest integers modulo 2^64, in place."""
    np.rint(numbers, out=numbers)
    return numbers.astype(np.int64).view(np.uint64)


class PreparedPoly:
    """A polynomial of words, transformed once, for exact products with small polynomials.

    The centred 32-bit halves of the words are multiplied separately. The coefficients of such a
    product are below N·2^31·‖small‖∞. If that is below 2^48, for N = 2048 with small coefficients
    up to 64, their error in double precision is below 0.1.
    """

    def __init__(self, words: Words) -> None:
        """`words` has shape (..., N), which must be compatible with the small polynomials'."""
        high, low = _halves(words)
        self._high = forward(high)
        self._low = forward(low)

    def times(self, small: Spectrum) -> Words:
        """Return the products modulo 2^64, shape (..., N), with transforms `small` (..., N/2)."""
        products = inverse_exact(self._high * small)
        products <<= _LIMB
        products += inverse_exact(self._low * small)
        return products


def _halves(words: Words) -> tuple[Integers, Integers]:
    """Return (high, low), both centred, with words = high·2^32 + low modulo 2^64."""
    low = words.astype(np.uint32).view(np.int32).astype(np.int64)
    high = (words.view(np.int64) - low) >> 32
    return high, low


def multiply_exact(words: Words, small: Integers) -> Words:
    """Return the products of words and small polynomials, shape (..., N), modulo 2^64 and X^N + 1.

    Exact if the small coefficients are within the bound that `PreparedPoly` states.
    """
    return PreparedPoly(words).times(forward(small))


def decompose(words: Words, base_log: int, levels: int) -> Integers:
    """Return signed digits, shape (..., levels, N), of words (..., N), most significant first.

    Σ_j digit_j·2^(64 - base_log·(j+1)) is the multiple of 2^(64 - base_log·levels) nearest to the
    word, modulo 2^64; digits are between -B/2 and B/2 - 1.
    """
    dropped = 64 - base_log * levels
    # Adding half a base at every level makes the digits unsigned; adding half a step rounds.
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


_SPLIT = 26
_UNUSED = np.uint64(64 - 2 * _SPLIT)


def split_forward(words: Words) -> Spectrum:
    """Return the transforms of the two halves of words (..., N), shape (..., 2, N/2), high first.

    The halves have 26 bits each; the last 12 bits of a word, below the noise, are dropped. A sum of
    16 products with polynomials of 15-bit coefficients is then exact, and so the same on every
    machine: for N = 2048 the errors in double precision stay below 0.2, with any words.
    """
    numbers = words.view(np.int64) >> np.int64(_UNUSED)
    halves = np.empty((*words.shape[:-1], 2, words.shape[-1]), np.int64)
    high, low = halves[..., 0, :], halves[..., 1, :]
    np.add(numbers, 1 << (_SPLIT - 1), out=high)
    high >>= _SPLIT
    np.left_shift(high, _SPLIT, out=low)
    np.subtract(numbers, low, out=low)
    return forward(halves)


def split_inverse(values: Spectrum) -> Words:
    """Return the words, shape (..., N), of sums of products with `split_forward` (..., 2, N/2)."""
    halves = _rounded(_interpolated(values))
    words = halves[..., 0, :] << np.uint64(_SPLIT)
    words += halves[..., 1, :]
    words <<= _UNUSED
    return words
