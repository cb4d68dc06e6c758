"""The noise model: the error of a result's phase, and the margin that it leaves.

All variances are in units of the torus squared (divide words by q = 2^64). The secret S is the sum
of P parties' secrets, so its coefficients have the variance V_S = P·2/3; every party adds noise of
σ to the public key. Errors of different rows and digits are assumed to be independent. The rounding
of doubles in the transforms, 3 % of a product's variance, is covered by the reserve. Tests compare
each formula with measurements.

A result's phase is message + program noise + re-randomisation + flooding + smudges. The program's
noise is a sum of products with a kurtosis of up to 10, so its standard deviation is doubled: one
bit of reserve. The other terms are Gaussian by construction.

Sources: Chillotti, Gama, Georgieva, Izabachène, "TFHE: Fast Fully Homomorphic Encryption over the
Torus", J. Cryptology 33 (2020), theorem 3.14 and corollary 3.15, for products; Mouchet et al., PETS
2021, section 4, for collective keys, flooding and smudging.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from scipy.special import log_ndtr, ndtri_exp

from engines.levelled.messages import ProgramBudget
from engines.levelled.parameters import TERNARY_VARIANCE, Parameters
from engines.levelled.randomness import MAXIMUM_SIGMA
from utils.errors import NoiseBudgetExceeded

TARGET_LOG2 = -128.0
"""log2 of the failure probability that budgets aim for."""
REQUIRED_LOG2 = -64.0
"""log2 of the largest failure probability that is accepted."""
MINIMUM_ROOM = 1.0
"""Minimum number of bits by which the flooding is wider than the program's noise."""

_RESERVE = 2.0  # on the standard deviation of the program's noise: one bit
_STEPS_PER_BIT = 4  # budgets are rounded, so that they reveal little about the program


def failure_log2(half_step: float, sigma: float, outputs: int) -> float:
    """Return log2 of the probability that one of `outputs` Gaussian errors exceeds half a step.

    Computes log2(outputs·erfc(half_step / (σ√2))), even if the probability underflows a double.
    """
    return math.log2(2 * outputs) + float(log_ndtr(-half_step / sigma)) / math.log(2)


def sigmas_for(failure: float, outputs: int) -> float:
    """Return the standard deviations in half a step for a failure probability of 2^failure.

    The inverse of `failure_log2`: for one output, 13.1 for 2^-128 and 9.2 for 2^-64.
    """
    return -float(ndtri_exp((failure - math.log2(2 * outputs)) * math.log(2)))


class NoiseBudget(BaseModel):
    """The division of half a score step among noise terms, and the failure probability.

    Standard deviations are in units of the torus. `room` is log2(sigma_flood / sigma_program): the
    bits by which the flooding, or all smudges together where there is none, are wider than the
    program's noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score_bits: int
    half_step: float
    sigma_program: float
    sigma_flood: float
    sigma_smudge: float
    room: float
    failure_log2: float = Field(description="Of all outputs together.")

    @property
    def client(self) -> ProgramBudget:
        """The part of the budget that the parties receive."""
        return ProgramBudget(
            score_bits=self.score_bits,
            sigma_flood=self.sigma_flood,
            sigma_smudge=self.sigma_smudge,
        )


@dataclass(frozen=True)
class NoiseModel:
    """The variance formulas for given parameters and a number of parties."""

    parameters: Parameters
    parties: int

    @property
    def secret_variance(self) -> float:
        """V_S, the variance of a coefficient of the collective secret."""
        return self.parties * TERNARY_VARIANCE

    def public_key_zero_variance(self) -> float:
        """Return σ_pk² = σ²·(1 + N·P·E[u²] + N·V_S), the variance of e2 + u·ΣE_p - e1·S."""
        p = self.parameters
        products = p.n * self.parties * TERNARY_VARIANCE + p.n * self.secret_variance
        return p.sigma**2 * (1 + products)

    def cut_variance(self) -> float:
        """Return the variance from rounding a row's words to t bits: 2^(-2t)/12, masks ·N·V_S."""
        p = self.parameters
        body = 4.0**-p.body_bits / 12 if p.body_bits < 64 else 0.0
        mask = 4.0**-p.mask_bits / 12 if p.mask_bits < 64 else 0.0
        return body + mask * p.n * self.secret_variance

    def row_variance(self) -> float:
        """Return the variance of the phase of a GGSW row, as the server receives it."""
        return self.public_key_zero_variance() + self.cut_variance()

    def external_product_variance(self) -> float:
        """Return the variance that an external product adds.

        V_ep = N·B²/12·l·(σ_mask² + σ_body²) + B^(-2l)/12·(N·V_S + 1).
        """
        p = self.parameters
        digits = p.n * p.base**2 / 12 * p.levels * 2 * self.row_variance()
        dropped = float(p.base) ** (-2 * p.levels) / 12 * (p.n * self.secret_variance + 1)
        return digits + dropped

    def program_variance(self, n_ext: int, linear_square_sum: float) -> float:
        """Return a bound on the variance of a program's result: n_ext·V_ep + Σ(c·mul)²·σ_body².

        `linear_square_sum` is Σ(c·mul)² over the linear terms. If their coefficients are
        polynomials, as in an explanation, the sum includes all coefficients of these: each adds
        another coefficient of the row's noise to the one that is opened.
        """
        return n_ext * self.external_product_variance() + linear_square_sum * self.row_variance()

    def opened_variance(self, variance: float) -> float:
        """Return the variance of a re-randomised result without covering noise, with reserve."""
        return _RESERVE**2 * variance + self.public_key_zero_variance()

    def program_failure_log2(self, score_bits: int, variance: float, outputs: int) -> float:
        """Return log2 of the failure probability with this program noise and no added noise."""
        sigma = math.sqrt(self.opened_variance(variance))
        return failure_log2(2.0 ** -(score_bits + 1), sigma, outputs)

    def budget(
        self,
        program: str,
        score_bits: int,
        n_ext: int,
        linear_square_sum: float,
        outputs: int,
        target_log2: float = TARGET_LOG2,
    ) -> NoiseBudget:
        """Divide the half step of a program's scores between its noise and the covering noise.

        Flooding and smudges get the same variance. The target is a failure probability of
        2^target_log2 for all `outputs` together or, if that leaves too little room, of 2^-64.
        Raises NoiseBudgetExceeded if both leave too little.
        """
        variance = self.program_variance(n_ext, linear_square_sum)
        try:
            return self.divided(score_bits, variance, outputs, target_log2)
        except NoiseBudgetExceeded:
            alone = self.program_failure_log2(score_bits, variance, outputs)
            raise NoiseBudgetExceeded(
                f"Program {program[:40]} at {score_bits} bits fails with probability "
                f"2^{alone:.1f} before any covering noise ({n_ext} external products, profile "
                f"{self.parameters.profile}); 2^{REQUIRED_LOG2:.0f} is required with flooding at "
                f"least {MINIMUM_ROOM:.0f} bit wider. Use fewer score bits or a smaller model."
            ) from None

    def divided(
        self,
        score_bits: int,
        variance: float,
        outputs: int,
        target_log2: float = TARGET_LOG2,
        flooded: bool = True,
    ) -> NoiseBudget:
        """Divide the half step of values of `score_bits` bits, as `budget`, for a given variance.

        With `flooded` False, smudges alone cover the noise, twice as much of it: that is enough for
        noise that depends on no model. Raises NoiseBudgetExceeded if there is too little room for
        covering noise.
        """
        own = self.opened_variance(variance)
        half_step = 2.0 ** -(score_bits + 1)
        for target in (target_log2, REQUIRED_LOG2):
            room_variance = (half_step / sigmas_for(target, outputs)) ** 2 - own
            if room_variance <= 0:
                continue
            each = room_variance / (2 if flooded else 1)
            flood = _rounded_down(math.sqrt(each)) if flooded else 0.0
            smudge = _rounded_down(math.sqrt(each / self.parties))
            room = math.log2((flood or smudge * math.sqrt(self.parties)) / math.sqrt(variance))
            if room < MINIMUM_ROOM:
                continue
            total = math.sqrt(own + flood**2 + self.parties * smudge**2)
            return NoiseBudget(
                score_bits=score_bits,
                half_step=half_step,
                sigma_program=math.sqrt(variance),
                sigma_flood=flood,
                sigma_smudge=smudge,
                room=room,
                failure_log2=failure_log2(half_step, total, outputs),
            )
        raise NoiseBudgetExceeded(
            f"Noise of 2^{math.log2(variance) / 2:.1f} leaves too little of half a step of "
            f"2^-{score_bits + 1} for covering noise; use fewer bits or another profile."
        )


def _rounded_down(sigma: float) -> float:
    steps = math.floor(math.log2(sigma) * _STEPS_PER_BIT)
    return min(math.exp2(steps / _STEPS_PER_BIT), MAXIMUM_SIGMA)
