"""An estimate of the security of a profile: the primal attack on the key, by lattice reduction.

`python -m engines.levelled.security` prints it. It is an estimate by a formula, not a proof and not
a run of the lattice estimator: of the known attacks it looks at one, the primal uSVP attack, which
is the cheapest for secrets that are ternary and not sparse; it counts no memory; and better attacks
may be found.

Two parties that work together still face LWE in the third's secret: N samples B_p = A·S_p + E_p, or
2N samples for the u of an encryption, with a ternary secret and noise of the full σ. BKZ with block
size β on a lattice of dimension d = m + n + 1, where the secret's columns are scaled by σ/σ_s so
that all parts of the short vector are alike, finds it once

    σ·√β  ≤  δ^(2β - d) · (q^m · (σ/σ_s)^n)^(1/d),   δ = ((πβ)^(1/β)·β / 2πe)^(1/(2(β-1))).

The price is 8d calls of a sieve of 2^(0.292β + 16.4) operations: log2 = 0.292β + 16.4 + log2(8d).
Without the last two terms it is the core-SVP figure.

Sources: Albrecht, Player, Scott, "On the concrete hardness of Learning with Errors", J. Math.
Cryptology 9 (2015), the lwe-estimator's paper, for cost and δ; Alkim, Ducas, Pöppelmann, Schwabe,
"Post-quantum key exchange - a new hope", USENIX Security 2016 (ADPS16), section 6, for the
condition; Bai, Galbraith, ACISP 2014, for the scaling; Becker, Ducas, Gama, Laarhoven, SODA 2016,
for the exponent 0.292.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.levelled.parameters import MODULUS_BITS, PROFILES, TERNARY_VARIANCE, Parameters
from utils.terminal import print_any_text

_SMALLEST_BLOCK = 60  # below, the formula of δ does not hold
_SAMPLE_POLYNOMIALS = 2


@dataclass(frozen=True)
class Estimate:
    """The cheapest primal attack found: block size, samples used, and log2 of its operations."""

    block_size: int
    samples: int
    operations_log2: float
    core_svp_log2: float


def primal_usvp(parameters: Parameters) -> Estimate:
    """The smallest block size with which the attack works for some number of samples.

    Raises ValueError where that would be below the formula's range, which is no security at all.
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
        raise ValueError("these parameters have no security that the formula could measure")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle).any() else (middle, high)
    fewest = int(np.flatnonzero(works(high))[0])
    core = 0.292 * high
    return Estimate(
        block_size=high,
        samples=int(samples[fewest]),
        operations_log2=core + 16.4 + math.log2(8 * int(dimensions[fewest])),
        core_svp_log2=core,
    )


def _delta_log2(block: int) -> float:
    """log2 of the root Hermite factor δ of BKZ with that block size."""
    inside = math.log2(math.pi * block) / block + math.log2(block / (2 * math.pi * math.e))
    return inside / (2 * (block - 1))


def report(parameters: Parameters) -> str:
    """The estimate of one profile in a few lines."""
    found = primal_usvp(parameters)
    return (
        f"{parameters.profile}: N = {parameters.n}, q = 2^{MODULUS_BITS}, ternary secret, "
        f"σ = 2^{parameters.sigma_log} of the torus\n"
        f"  primal uSVP: BKZ block size {found.block_size} with {found.samples} samples, "
        f"2^{found.operations_log2:.1f} operations (core-SVP 2^{found.core_svp_log2:.1f})\n"
        "  An estimate by the formula of this module's docstring, not a proof."
    )


if __name__ == "__main__":
    print_any_text()
    for profile in PROFILES.values():
        print(report(profile))
