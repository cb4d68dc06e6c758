"""An estimate of a profile's security against the primal attack on the key by lattice reduction.

`python -m engines.levelled.security` prints it. The estimate is computed by a formula; it is
neither a proof nor a run of the lattice estimator. It covers one known attack, the primal uSVP
attack, which is the cheapest for secrets that are ternary and not sparse. It ignores memory, and
better attacks may be found.

Two colluding parties still face LWE in the third party's secret: N samples B_p = A·S_p + E_p, or 2N
samples for the u of an encryption, with a ternary secret and noise of the full σ. BKZ with block
size β on a lattice of dimension d = m + n + 1, with the secret's columns scaled by σ/σ_s to balance
the short vector, finds it if

    σ·√β  ≤  δ^(2β - d) · (q^m · (σ/σ_s)^n)^(1/d),   δ = ((πβ)^(1/β)·β / 2πe)^(1/(2(β-1))).

The cost is 8d calls of a sieve with 2^(0.292β + 16.4) operations: log2 = 0.292β + 16.4 + log2(8d).
The first term alone is the core-SVP figure.

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

_SMALLEST_BLOCK = 60  # the formula for δ does not hold below
_SAMPLE_POLYNOMIALS = 2


@dataclass(frozen=True)
class Estimate:
    """The cheapest primal attack: its block size, number of samples and log2 of its operations."""

    block_size: int
    samples: int
    operations_log2: float
    core_svp_log2: float


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
    core = 0.292 * high
    return Estimate(
        block_size=high,
        samples=int(samples[fewest]),
        operations_log2=core + 16.4 + math.log2(8 * int(dimensions[fewest])),
        core_svp_log2=core,
    )


def _delta_log2(block: int) -> float:
    """Return log2 of the root Hermite factor δ of BKZ with this block size."""
    inside = math.log2(math.pi * block) / block + math.log2(block / (2 * math.pi * math.e))
    return inside / (2 * (block - 1))


def report(parameters: Parameters) -> str:
    """Return the estimate for one profile as text of a few lines."""
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
