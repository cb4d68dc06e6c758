"""The parameters of the scheme, by profile: ring, gadget, noise and widths of encoded words.

The torus has the modulus q = 2^64, in 64-bit words that wrap around; the ring is Z_q[X] / (X^N + 1)
with one mask polynomial (GLWE dimension k = 1). Every message contains its profile's name, so that
messages of different profiles cannot be confused.

Sources: Chillotti, Gama, Georgieva, Izabachène, "TFHE: Fast Fully Homomorphic Encryption over the
Torus", J. Cryptology 33 (2020), for gadget and GGSW; engines/levelled/security.py for the security
of ring and noise; engines/levelled/noise.py for the noise of the gadget.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from utils.errors import ForeignMessage

MODULUS_BITS = 64
WORD_BYTES = MODULUS_BITS // 8
SEED_BYTES = 32
DIGEST_BYTES = 32
KNOWN_ZEROS = 8
"""Coefficients that are opened besides scores or signs, and must be 0."""
ZERO_BITS = 8
"""Width to which the known zeros of masked scores are rounded."""
SIGN_BITS = 2
"""Width of the values in a result of signs: ±1 of two bits is ±1/4, other values are errors."""
LEVEL_BITS = 3
"""Width of the values in a result of levels: 0 to 7 eighths, each of them a level."""
TERNARY_VARIANCE = 2 / 3
"""Variance of a coefficient drawn uniformly from -1, 0 and 1, as in a party's secret and u."""


class Parameters(BaseModel):
    """The ring, gadget, noise and word widths of one profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = Field(max_length=40)
    n: int = Field(ge=16, le=1 << 14, description="Degree N of the ring, a power of two.")
    levels: int = Field(ge=1, le=8, description="Digits of a decomposition, l.")
    base_log: int = Field(ge=1, le=30, description="Bits of a digit, β.")
    sigma_log: int = Field(ge=-64, lt=0, description="log2 of σ, the noise's standard deviation.")
    mask_bits: int = Field(ge=32, le=64, multiple_of=8, description="Bits of a mask word sent.")
    body_bits: int = Field(ge=32, le=64, multiple_of=8, description="Bits of a body word sent.")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if self.n & (self.n - 1):
            raise ValueError("n must be a power of two")
        if self.levels * self.base_log >= MODULUS_BITS:
            raise ValueError("levels times base_log must be below 64")
        return self

    @classmethod
    def by_profile(cls, name: str) -> Parameters:
        """Return the parameters of a profile; raises ForeignMessage if it is unknown."""
        try:
            return PROFILES[name]
        except KeyError:
            raise ForeignMessage(
                f"There is no profile {name[:40]!r}; this version knows {', '.join(PROFILES)}. "
                "Use the same version of Triseal on the server and with all parties."
            ) from None

    @property
    def base(self) -> int:
        """B = 2^β."""
        return 1 << self.base_log

    @property
    def sigma(self) -> float:
        """σ in units of the torus."""
        return 2.0**self.sigma_log

    @property
    def rows(self) -> int:
        """Rows of a GGSW ciphertext, 2l."""
        return 2 * self.levels

    def gadget(self, level: int) -> np.uint64:
        """Return g_j = q / B^(j+1) as a word; j = 0 is the most significant."""
        return np.uint64(1 << (MODULUS_BITS - self.base_log * (level + 1)))

    @property
    def polynomial_bytes(self) -> int:
        """Size of a polynomial with all its bits: for example, a share of the public key."""
        return self.n * WORD_BYTES

    @property
    def public_key_bytes(self) -> int:
        """Size of a public key: the seed of the common mask, and the body."""
        return SEED_BYTES + self.polynomial_bytes

    def ggsw_bytes(self, bits: int) -> int:
        """Return the size of the GGSW ciphertexts of `bits` bits."""
        return bits * self.rows * self.n * (self.mask_bits + self.body_bits) // 8

    def inputs_bytes(self, bits: int) -> int:
        """Return the size of one party's encrypted inputs: the key's digest and the ciphertexts."""
        return DIGEST_BYTES + self.ggsw_bytes(bits)

    def result_bytes(self, coefficients: int) -> int:
        """Return the size of a result of which so many coefficients are opened: mask and bodies."""
        return self.polynomial_bytes + coefficients * WORD_BYTES


DEFAULT = Parameters(
    profile="n2048-l2-b15",
    n=2048,
    levels=2,
    base_log=15,
    sigma_log=-51,
    mask_bits=56,
    body_bits=48,
)
"""For programs whose scores are opened, which need the room."""
WIDE_NOISE = DEFAULT.model_copy(update={"profile": "n2048-l2-b15-s49", "sigma_log": -49})
"""For programs of which only signs are opened: more secure, with 1.85 bits less room for scores and
checks, and 0.13 less for signs, whose noise is mostly the rounding of words."""
PROFILES = {own.profile: own for own in (DEFAULT, WIDE_NOISE)}


def mask_parameters(parameters: Parameters) -> Parameters:
    """Return the parameters of masks under keys of a profile: its ring and noise, one digit.

    A digit of 21 bits balances the noise of the rows against that of the bits below the digit. In
    words of 48 and 40 bits, the rounding of masks, which is multiplied by the secret, and that of
    bodies add about as much noise as the encryption.
    """
    return parameters.model_copy(
        update={
            "profile": f"{parameters.profile}-masks",
            "levels": 1,
            "base_log": 21,
            "mask_bits": 48,
            "body_bits": 40,
        }
    )
