"""The security of a profile's keys and encryptions: the least figure of several attacks on LWE.

`python -m engines.levelled.security` prints it. Two attacks are estimated here by formulas; figures
of further ones are cited from runs of the lattice estimator. None is a proof, all ignore memory,
and better attacks may be found.

Two colluding parties still face LWE in the third party's secret: N samples B_p = A·S_p + E_p, or 2N
samples for the u of an encryption, with a ternary secret and noise of the full σ. Rounding words
for sending only adds noise, and masks are encrypted under the same keys with the same σ, so that
their parameters, of another gadget, are exactly as secure.

Primal attack (uSVP). BKZ with block size β on a lattice of dimension d = m + n + 1, with the
secret's columns scaled by σ/σ_s to balance the short vector, finds it if

    σ·√β  ≤  δ^(2β - d) · (q^m · (σ/σ_s)^n)^(1/d),   δ = ((πβ)^(1/β)·β / 2πe)^(1/(2(β-1))).

Dual attack. BKZ finds short vectors (v, w) with vᵀA = w mod q, of length ℓ = δ^d·(q·σ_s/σ)^(n/d)
in dimension d = m + n with w scaled by σ_s/σ. Each distinguishes samples from uniform words with
advantage ε = 4·exp(-2π²·(ℓσ/q)²); a sieve gives 2^(0.2075β) of them, and 1/ε² are needed.

The cost is 8d calls of a sieve with 2^(0.292β + 16.4) operations: log2 = 0.292β + 16.4 + log2(8d).
The first term alone is the core-SVP figure.

Sources: Albrecht, Player, Scott, "On the concrete hardness of Learning with Errors", J. Math.
Cryptology 9 (2015), the lattice estimator's paper, for cost and δ; Alkim, Ducas, Pöppelmann,
Schwabe, "Post-quantum key exchange - a new hope", USENIX Security 2016 (ADPS16), section 6, for
both attacks; Bai, Galbraith, ACISP 2014, for the scaling; Becker, Ducas, Gama, Laarhoven, SODA 2016
(BDGL16), for the exponent 0.292; MATZOV, "Report on the Security of LWE", 2022, for cited figures;
Albrecht et al., "Homomorphic Encryption Security Standard", 2018, table 1, for the standard's
largest modulus.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.levelled.parameters import (
    MODULUS_BITS,
    PROFILES,
    TERNARY_VARIANCE,
    Parameters,
    mask_parameters,
)

_SMALLEST_BLOCK = 60  # the formula for δ does not hold below
_SAMPLE_POLYNOMIALS = 2
_SIEVE_EXPONENT = 0.292
_SIEVE_VECTORS = 0.2075  # log2 of the vectors that a sieve gives, for each unit of block size
_SIEVE_CONSTANT = 16.4

STANDARD_SIGMA = 3.19
"""The noise's standard deviation, of integers, for which the standard states its largest moduli."""
STANDARD_MODULUS_BITS: Mapping[int, int] = {1024: 27, 2048: 54, 4096: 109, 8192: 218}
"""log2 of the largest modulus by N for 128 bits, ternary secrets and classical attacks."""


@dataclass(frozen=True)
class Estimate:
    """The cheapest attack of a kind: its block size, number of samples and log2 of operations."""

    block_size: int
    samples: int
    operations_log2: float
    core_svp_log2: float


@dataclass(frozen=True)
class Cited:
    """log2 of the operations of an attack, from a run of the lattice estimator."""

    attack: str
    cost_model: str
    operations_log2: float


LATTICE_ESTIMATOR = "lattice estimator, git 27a581bb"
CITED: Mapping[tuple[int, int], tuple[Cited, ...]] = {
    (2048, -51): (
        Cited("primal uSVP", "BDGL16", 133.3),
        Cited("primal uSVP", "MATZOV", 130.6),
        Cited("BDD", "MATZOV", 129.6),
        Cited("primal hybrid", "MATZOV", 129.6),
        Cited("dual hybrid", "MATZOV", 129.8),
    ),
    (2048, -49): (Cited("the least of all attacks", "any cost model", 135.1),),
}
"""Figures of LATTICE_ESTIMATOR by N and log2 σ, for q = 2^64 and uniform ternary secrets."""


def primal_usvp(parameters: Parameters) -> Estimate:
    """Find the smallest block size for which the attack succeeds with some number of samples.

    Raises ValueError if it is below the formula's range, so that there is no security at all.
    """
    n, sigma_log = parameters.n, MODULUS_BITS + parameters.sigma_log
    scale_log = sigma_log - math.log2(TERNARY_VARIANCE) / 2
    samples = np.arange(1, _SAMPLE_POLYNOMIALS * n + 1)
    dimensions = samples + n + 1
    volume_log = (MODULUS_BITS * samples + scale_log * n) / dimensions

    def works(block: int) -> NDArray[np.bool_]:
        found = sigma_log + math.log2(block) / 2
        return found <= (2 * block - dimensions) * _delta_log2(block) + volume_log

    low, high = _SMALLEST_BLOCK - 1, 2 * n
    if works(_SMALLEST_BLOCK).any():
        raise ValueError("the security of these parameters is too low for the formula")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle).any() else (middle, high)
    fewest = int(np.flatnonzero(works(high))[0])
    return Estimate(
        block_size=high,
        samples=int(samples[fewest]),
        operations_log2=_reduction_log2(high, int(dimensions[fewest])),
        core_svp_log2=_SIEVE_EXPONENT * high,
    )


def dual(parameters: Parameters) -> Estimate:
    """Find the block size and number of samples of the cheapest dual attack."""
    n, sigma_log = parameters.n, MODULUS_BITS + parameters.sigma_log
    scale_log = math.log2(TERNARY_VARIANCE) / 2 - sigma_log
    samples = np.arange(1, _SAMPLE_POLYNOMIALS * n + 1)
    dimensions = samples + n
    volume_log = (MODULUS_BITS + scale_log) * n / dimensions
    best = None
    for block in range(_SMALLEST_BLOCK, 2 * n):
        if best and _SIEVE_EXPONENT * block > best.operations_log2:
            break
        length_log = dimensions * _delta_log2(block) + volume_log
        m = int(np.argmin(length_log))
        ratio = 2.0 ** min(length_log[m] + sigma_log - MODULUS_BITS, 20.0)
        advantage_log = min(2 - 2 * math.pi**2 * ratio**2 / math.log(2), 0.0)
        repeated_log = max(-2 * advantage_log - _SIEVE_VECTORS * block, 0.0)
        cost = repeated_log + _reduction_log2(block, int(dimensions[m]))
        if best is None or cost < best.operations_log2:
            core = repeated_log + _SIEVE_EXPONENT * block
            best = Estimate(block, int(samples[m]), cost, core)
    if best is None:
        raise ValueError("the ring of these parameters is too small for the formula")
    return best


def cited(parameters: Parameters) -> tuple[Cited, ...]:
    """Return the cited figures for the LWE problem of these parameters; empty if there are none."""
    return CITED.get((parameters.n, parameters.sigma_log), ())


def least_log2(parameters: Parameters) -> tuple[float, str]:
    """Return log2 of the operations of the cheapest attack that is computed or cited, and which."""
    costs = [
        (primal_usvp(parameters).operations_log2, "primal uSVP, computed"),
        (dual(parameters).operations_log2, "dual, computed"),
        *((own.operations_log2, f"{own.attack}, {own.cost_model}") for own in cited(parameters)),
    ]
    return min(costs)


def standard_modulus_log2(parameters: Parameters) -> float:
    """Return log2 of the modulus that has the same ratio to the standard's noise as q to σ."""
    return math.log2(STANDARD_SIGMA) - parameters.sigma_log


def _reduction_log2(block: int, dimension: int) -> float:
    """Return log2 of the operations of BKZ with this block size in this dimension."""
    return _SIEVE_EXPONENT * block + _SIEVE_CONSTANT + math.log2(8 * dimension)


def _delta_log2(block: int) -> float:
    """Return log2 of the root Hermite factor δ of BKZ with this block size."""
    inside = math.log2(math.pi * block) / block + math.log2(block / (2 * math.pi * math.e))
    return inside / (2 * (block - 1))


def table() -> list[str]:
    """Return a Markdown table of all profiles' figures, as lines."""
    lines = [
        "| profile | attack | log2 of operations | source |",
        "|---|---|---|---|",
    ]
    for name, parameters in PROFILES.items():
        for attack, found in (("primal uSVP", primal_usvp), ("dual", dual)):
            own = found(parameters)
            lines.append(
                f"| `{name}` | {attack}, block size {own.block_size} | {own.operations_log2:.1f}, "
                f"core-SVP {own.core_svp_log2:.1f} | computed here |"
            )
        lines += [
            f"| `{name}` | {own.attack}, {own.cost_model} | {own.operations_log2:.1f} "
            f"| {LATTICE_ESTIMATOR} |"
            for own in cited(parameters)
        ]
        least, attack = least_log2(parameters)
        lines.append(f"| `{name}` | **least: {attack}** | **{least:.1f}** | |")
    return lines


def report(parameters: Parameters) -> str:
    """Return all figures for one profile as text of a few lines."""
    own, other = primal_usvp(parameters), dual(parameters)
    lines = [
        f"{parameters.profile}: N = {parameters.n}, q = 2^{MODULUS_BITS}, ternary secret, "
        f"σ = 2^{parameters.sigma_log} of the torus"
    ]
    for attack, found in (("primal uSVP", own), ("dual", other)):
        lines.append(
            f"  {attack}, computed here: BKZ block size {found.block_size} with {found.samples} "
            f"samples, 2^{found.operations_log2:.1f} operations "
            f"(core-SVP 2^{found.core_svp_log2:.1f})"
        )
    for figure in cited(parameters):
        lines.append(
            f"  {figure.attack}, {figure.cost_model}, cited ({LATTICE_ESTIMATOR}): "
            f"2^{figure.operations_log2:.1f} operations"
        )
    if not cited(parameters):
        lines.append("  There are no figures of the lattice estimator for these parameters.")
    least, attack = least_log2(parameters)
    lines.append(f"  Least: 2^{least:.1f} operations ({attack}).")
    if parameters.n in STANDARD_MODULUS_BITS:
        lines.append(
            f"  A modulus of {standard_modulus_log2(parameters):.1f} bits at the standard's noise, "
            f"which allows {STANDARD_MODULUS_BITS[parameters.n]} bits for 2^128."
        )
    lines.append("  Estimates by formulas and by the lattice estimator, not proofs.")
    return "\n".join(lines)


def main() -> None:
    """Print the estimates of every profile."""
    CommandParser(prog="python -m engines.levelled.security", description=__doc__).parse_args()
    for profile in PROFILES.values():
        print(report(profile))
        print(f"  The same for the masks, {mask_parameters(profile).profile}.")


if __name__ == "__main__":
    run_command(main)
