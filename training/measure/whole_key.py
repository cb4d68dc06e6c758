"""A collective key together with all its secrets, only for measuring noise.

An application never brings the secrets together: their sum decrypts everything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from engines.levelled.encryption import encrypt_bits
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey, SecretShare, collective_key, key_share
from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import multiply_exact
from engines.levelled.selection import SelectionTree
from engines.levelled.words import Integers, Words
from features.encoding import Bits


@dataclass(frozen=True)
class WholeKey:
    """The public key, every party's secret, and their sum, shape (N,)."""

    parameters: Parameters
    public: PublicKey
    secrets: dict[str, SecretShare] = field(repr=False)
    secret_sum: Integers = field(repr=False)

    @classmethod
    def make(cls, parties: list[str], parameters: Parameters) -> WholeKey:
        """Make new secrets for the parties and their collective key."""
        common, randomness = os.urandom(SEED_BYTES), Expander.fresh()
        parts = {party: key_share(common, parameters, randomness) for party in parties}
        public = collective_key(common, {p: share for p, (_, share) in parts.items()}, parameters)
        secrets = {party: secret for party, (secret, _) in parts.items()}
        total = sum(
            (s.polynomial for s in secrets.values()), start=0 * parts[parties[0]][0].polynomial
        )
        return cls(parameters, public, secrets, total)

    def phase(self, mask: Words, body: Words) -> Words:
        """Return body - mask·S, shape (N,)."""
        return body - multiply_exact(mask, self.secret_sum)

    def encrypted(self, bits: Bits) -> Ggsw:
        """Return new ciphertexts of bits, truncated as for sending."""
        return encrypt_bits(bits, self.public, self.parameters, Expander.fresh()).cut(
            self.parameters
        )


def needed(ciphertexts: Ggsw, tree: SelectionTree) -> Ggsw:
    """Return the ciphertexts of the bits that a tree needs."""
    return Ggsw(ciphertexts.masks[tree.bits], ciphertexts.bodies[tree.bits])
