"""The check that all uploads are GGSW ciphertexts of bits, and that the bits are a valid record.

For every party the server computes one RLWE ciphertext from the party's upload and a challenge
(engines/levelled/challenge.py), deterministically and without any key:

    Σ_i C_i ⊠ (Z_i + ρ_i·(R_i - g) + ρ'_i·(R_p(i) - o_i·g))
      + Σ_groups σ_G·(Σ_(i in G) R_i - g)
      + Σ_i Σ_(j>0) r_ij·s·(B^j·body_ij - body_i0)

with g = 2^-β, R_i the most significant body row of bit i, which encrypts m_i·g, and the partners
p(i), offsets o_i and groups G of engines/levelled/relations.py. The multipliers come from the
challenge: ρ, ρ' and σ are uniform modulo B, r is ternary with CHECKED coefficients, and
Z_i = (A·u_i, B·u_i) with ternary u_i is an encryption of zero under the public key. Z_i needs no
noise, since it hides nothing; it makes the digits of the operand random, also if a party prepares
R_i. For a valid upload each term encrypts zero: C_i multiplies the phase of its operand, and
m(m - 1), m_i·(m_p - o) and Σm - 1 are 0. All parties open the first CHECKED coefficients as they
open a result. A party fails if one of them is not within ±2^-(CHECK_BITS+1) =: ±h of 0. Every party
has a ciphertext of its own, because a failed product is spread over all coefficients and would hide
who failed.

The multipliers enter before the decomposition, so that they cost almost no noise. Groups' sums are
added to the digits of their rows, so that they cost no transform.

What it detects. Probabilities are those of passing, over the challenge, for h = 2^-11.

- All rows belong to one integer polynomial m, with the powers m·B^-(j+1). If m modulo 2^12 is
  neither 0 nor 1: at most 2^-48. Proof: Z_(2^12)[X]/(X^N + 1) is a local ring, without idempotents
  but 0 and 1, so m(m - 1) is 2^e times a polynomial with an odd coefficient, e ≤ 11. In the 2-adic
  integers of this ring, 2 is π^N times a unit for π = X + 1, and that polynomial divides 2. Its
  product with ρ, uniform modulo 2^15, is therefore uniform over an ideal that contains 2^(e+1)
  times all polynomials: each opened coefficient has 2^(14-e) ≥ 8 equally likely values at equal
  distances, and passes with the larger of 2h = 2^-10 and 2^-(14-e) ≤ 1/8, whatever the noise. If m
  is constant, 2^(15-e): at most 2^-64, and for 7, 2 or -1 2^-160. For two 1s in a group, or none,
  and for a code with a hole: 2^-160.
- m is 0 or 1 modulo 2^12 but not modulo 2^15: 2^-16 if it is constant, 1/2 at worst. Such an m acts
  on scores of at most 12 bits as 0 or 1, or multiplies their noise by at least 2^12 and destroys
  them, which any party can do anyway. The same holds if m is a bit modulo 2^15, not modulo 2^30,
  which multiplies the operand's noise by 2^15 or more: 2^-41 for 1 + 2^15 if σ is 2^-49, 2^-16 for
  1 + 2^29.
- The rows do not belong to one m. A row with garbage, or rows for different bits, multiply the
  uniform digits of the operand, up to B/2: a coefficient passes with about 2h, all with 2^-160. A
  value that is not an integer, such as 1.5 or 1 + 2^-4, also multiplies the multiple of q by which
  the mask times S exceeds the body: 2^-25 for 1 + 2^-14, less for more. In the less significant
  rows, differences by one unit on the mask: 2^-11, since digits times S give a deviation of
  2^-10.8; by 4, 2^-40. On the body, by ROW_UNITS = 4 units: 3^-16, by the last sum. One or two
  units pass there; d units change a product by at most d·2^-16, d sixteenths of a step of a 12-bit
  score.
- Smaller deviations may pass. Those that pass more often than 2^-16 change a product by about 2h,
  four steps of a score of 12 bits, in the same unforeseeable way as they change the check; and the
  first body row's own value by 2^-9 (2^-19 to pass; 2^-10: 2^-6), so that a bit whose coefficient
  is c changes the score by c/512 steps more or less than it should. By its part of the opening, any
  party can change a score, or turn a sign, at will.

These figures treat the digits of A·u as uniform and independent of rows that were fixed before the
challenge, which is the assumption of Ring-LWE for (A, B), heuristically where rows depend on S.

What it reveals. The opened noise depends on the bits and secrets of all parties, not on the model.
So the parties' smudges cover it, without flooding by the server: `check_budget`, with 4.6 bits of
room for the 76 bits of the deployed schema's largest party and σ = 2^-49; leakage.py has the bound
on what this tells. Tolerance and ROW_UNITS are chosen for it: every bit of them is a bit of room.
If a check fails, up to CHECKED linear equations in S and the failing party's own plaintexts become
known, so the keys must be erased and nothing else opened. An upload made of another party's
ciphertexts would make the check a function of that party's bits: digests of uploads must be
committed to before the first upload.

Sources: Gentry, Sahai, Waters (CRYPTO 2013) and Chillotti, Gama, Georgieva, Izabachène, J.
Cryptology 33 (2020), for the external product; Schwartz, J. ACM 27 (1980), for checking many
relations by one random combination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.noise import REQUIRED_LOG2, NoiseBudget, NoiseModel
from engines.levelled.parameters import TERNARY_VARIANCE, Parameters
from engines.levelled.randomness import Expander, derive
from engines.levelled.relations import Relations
from engines.levelled.ring import Spectrum, decompose, forward, split_forward, split_inverse
from engines.levelled.words import Integers, Words
from features.encoding import Layout
from utils.errors import MalformedMessage, NoiseBudgetExceeded

CHECKED = 16
"""Coefficients of every party's check that are opened and must be 0."""
CHECK_BITS = 10
"""Bits to which an opened coefficient is rounded: it counts as 0 if it is within ±2^-11."""
ROW_UNITS = 4
"""Smallest difference between the body rows of a bit, in units of the least significant, that the
last sum is scaled to detect. It changes a product by at most a quarter of a 12-bit score's step."""

_CHUNK = 4  # bits at a time, so that their polynomials fit into a core's cache


@dataclass(frozen=True)
class Multipliers:
    """The random polynomials of one party's check, all of small integers.

    `squares` and `partners` (bits, N) and `sums` (groups, N) are uniform modulo B; `zeros`
    (bits, N) are ternary, and so are `rows` (l - 1, bits, CHECKED), which are shorter.
    """

    squares: Integers
    partners: Integers
    sums: Integers
    zeros: Integers
    rows: Integers

    @classmethod
    def draw(
        cls, seed: bytes, party: str, relations: Relations, parameters: Parameters
    ) -> Multipliers:
        """Expand a challenge; the same on every machine."""
        randomness = Expander(derive(seed, "well formed", party))
        bits, n, width = relations.bits, parameters.n, parameters.base_log
        partners = randomness.centred((bits, n), width)
        partners[relations.partner < 0] = 0
        return cls(
            squares=randomness.centred((bits, n), width),
            partners=partners,
            sums=randomness.centred((relations.groups, n), width),
            zeros=randomness.ternary((bits, n)),
            rows=randomness.ternary((parameters.levels - 1, bits, CHECKED)),
        )


def check_ciphertext(
    key: PublicKey,
    uploads: Mapping[str, EncodedGgsw | Ggsw],
    layout: Layout,
    seed: bytes,
    parameters: Parameters,
) -> dict[str, tuple[Words, Words]]:
    """Return every party's check, mask and body (N,) each, in the schema's order.

    `uploads` are the ciphertexts of all bits of each party. All arithmetic is exact, so that every
    machine computes the same words, and whoever repeats the check can compare them. Raises
    MalformedMessage if an upload is missing or has another number of bits, and ValueError if the
    seed is not 32 bytes long.
    """
    checks = {}
    for party in layout.schema.party_names:
        relations = Relations.of(layout, party)
        if party not in uploads or uploads[party].bits != relations.bits:
            raise MalformedMessage(
                f"The check needs the ciphertexts of all {relations.bits} bits of {party}; "
                "encrypt and send them again."
            )
        multipliers = Multipliers.draw(seed, party, relations, parameters)
        checks[party] = combined(key, uploads[party], relations, multipliers, parameters)
    return checks


def combined(
    key: PublicKey,
    upload: EncodedGgsw | Ggsw,
    relations: Relations,
    by: Multipliers,
    parameters: Parameters,
) -> tuple[Words, Words]:
    """Return the sum of one party's terms, mask and body (N,) each."""
    levels, rows, n = parameters.levels, parameters.rows, parameters.n
    step = parameters.gadget(0)
    first = np.array([split_forward(np.array(upload.row(i, levels))) for i in range(upload.bits)])
    zero = split_forward(np.array([key.mask, key.body]))
    sums = np.concatenate([by.sums, np.zeros((1, n), np.int64)])  # the last for bits of no group
    total = np.zeros((2, n), np.uint64)
    short = np.zeros((levels - 1, 2, 2, 2, n // 2), np.complex128)
    for start in range(0, upload.bits, _CHUNK):
        own = slice(start, min(start + _CHUNK, upload.bits))
        values = first[own] * _spectra(by.squares[own])
        values += first[relations.partner[own]] * _spectra(by.partners[own])
        values += zero * _spectra(by.zeros[own])
        operands = split_inverse(values)
        ones = by.squares[own] + relations.offset[own, None] * by.partners[own]
        operands[:, 1] -= ones.view(np.uint64) * step
        digits = decompose(operands, parameters.base_log, levels).reshape(-1, rows, n)
        digits[:, levels] += sums[relations.group[own]]
        bodies = _row_spectra(upload, own, first, parameters)
        total += split_inverse(np.einsum("brphn,brn->phn", bodies, forward(digits)))
        for j in range(1, levels):
            value = forward(_padded(by.rows[j - 1, own], n))
            for which, row in enumerate((levels, levels + j)):
                short[j - 1, which] += np.einsum("bphn,bn->phn", bodies[:, row], value)
    total[1] -= by.sums.sum(axis=0).view(np.uint64) * step
    for j, (one, other) in enumerate(split_inverse(short), start=1):
        total += np.uint64(_row_scale(parameters)) * (np.uint64(parameters.base**j) * other - one)
    return total[0], total[1]


def _spectra(polynomials: Integers) -> Spectrum:
    """Transform polynomials (bits, N), shaped to multiply masks and bodies (bits, 2, 2, N/2)."""
    return forward(polynomials)[:, None, None]


def _row_spectra(
    upload: EncodedGgsw | Ggsw, own: slice, first: Spectrum, parameters: Parameters
) -> Spectrum:
    """Return the transforms of all rows of some bits, shape (bits, 2l, 2, 2, N/2).

    `first` are those of all bits' most significant body rows, which need no second transform.
    """
    levels, n = parameters.levels, parameters.n
    bits = range(own.start, own.stop)
    values = np.empty((len(bits), parameters.rows, 2, 2, n // 2), np.complex128)
    others = [row for row in range(parameters.rows) if row != levels]
    ciphertexts = Ggsw.joined([upload.one(bit) for bit in bits])
    values[:, others, 0] = split_forward(ciphertexts.masks[:, others])
    values[:, others, 1] = split_forward(ciphertexts.bodies[:, others])
    values[:, levels] = first[own]
    return values


def _padded(polynomials: Integers, n: int) -> Integers:
    """Return polynomials of fewer coefficients, shape (bits, CHECKED), with N coefficients."""
    padded = np.zeros((len(polynomials), n), np.int64)
    padded[:, : polynomials.shape[1]] = polynomials
    return padded


def _row_scale(parameters: Parameters) -> int:
    """Return s, which makes a difference of ROW_UNITS/B between rows 1.5 times the tolerance."""
    return 3 * parameters.base // ((4 << CHECK_BITS) * ROW_UNITS)


def verdict(opened: Mapping[str, Integers]) -> tuple[str, ...]:
    """Return the parties whose check failed, from its opened values, shape (CHECKED,) each.

    Values are those of `opening.opened` with `CHECK_BITS`. A check with any other number of values
    counts as failed.
    """
    return tuple(
        party for party, values in opened.items() if len(values) != CHECKED or values.any()
    )


def check_linear_squares(relations: Relations, parameters: Parameters) -> int:
    """Return the noise outside of the products' own digits, in units of one row's variance.

    Multipliers uniform modulo B have the variance B²/12 and N coefficients. They occur in every
    bit's square, in every product with a partner, and with the bits of the groups.
    """
    related = np.count_nonzero(relations.partner >= 0) + np.count_nonzero(relations.group >= 0)
    uniform = (relations.bits + related) * parameters.n * parameters.base**2 / 12
    differences = sum((1 << 2 * j * parameters.base_log) + 1 for j in range(1, parameters.levels))
    scale = _row_scale(parameters) ** 2
    short = relations.bits * CHECKED * TERNARY_VARIANCE * scale * differences
    return math.ceil(uniform + short)


def check_variance(relations: Relations, parameters: Parameters, parties: int) -> float:
    """Return the variance of a coefficient of one party's check, in units of the torus squared."""
    linear = check_linear_squares(relations, parameters)
    return NoiseModel(parameters, parties).program_variance(relations.bits, linear)


def check_budget(layout: Layout, parameters: Parameters) -> NoiseBudget:
    """Return the budget of the checks of all parties, by the party with the widest noise.

    `score_bits` is CHECK_BITS. The failure is a false alarm of any check, at most 2^-64; since it
    costs no more than a new application, covering noise is preferred to a smaller one. There is no
    flooding, since the noise does not depend on the model. Raises NoiseBudgetExceeded.
    """
    parties = layout.schema.party_names
    relations = [Relations.of(layout, party) for party in parties]
    widest = max(check_variance(own, parameters, len(parties)) for own in relations)
    outputs = CHECKED * len(parties)
    model = NoiseModel(parameters, len(parties))
    try:
        return model.divided(CHECK_BITS, widest, outputs, REQUIRED_LOG2, flooded=False)
    except NoiseBudgetExceeded:
        raise NoiseBudgetExceeded(
            f"The check that inputs are bits has noise of 2^{math.log2(widest) / 2:.1f} for "
            f"{max(own.bits for own in relations)} bits of one party, which leaves too little of "
            f"its tolerance of 2^-{CHECK_BITS + 1} for covering noise (profile "
            f"{parameters.profile}). Give the party fewer columns, or columns of fewer values."
        ) from None
