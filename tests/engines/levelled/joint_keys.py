"""Collective keys with all parties' secrets, so that tests can compute phases and noise."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engines.levelled.keys import PublicKey, SecretShare, collective_key, key_share
from engines.levelled.parameters import DEFAULT, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import multiply_exact

PARTIES = ("applicant", "bank", "credit_agency")


@dataclass(frozen=True)
class JointKeys:
    """The secrets and shares of all parties, and their public key."""

    parameters: Parameters
    secrets: dict[str, SecretShare]
    shares: dict[str, bytes]
    key: PublicKey

    @classmethod
    def make(cls, parameters: Parameters = DEFAULT, parties=PARTIES):
        common = Expander.fresh().octets(32).tobytes()
        made = {party: key_share(common, parameters, Expander.fresh()) for party in parties}
        shares = {party: share for party, (_, share) in made.items()}
        return cls(
            parameters,
            {party: secret for party, (secret, _) in made.items()},
            shares,
            collective_key(common, shares, parameters),
        )

    @cached_property
    def secret(self):
        """The sum of all secrets, shape (N,), which no party has."""
        return sum(secret.polynomial for secret in self.secrets.values())

    def phases(self, masks, bodies):
        """Return body - mask·S, shape (..., N)."""
        return bodies - multiply_exact(masks, self.secret)

    def errors(self, masks, bodies, messages=0):
        """Return phases minus their messages, as floats in units of the torus."""
        phases = self.phases(masks, bodies) - np.asarray(messages, np.uint64)
        return phases.view(np.int64) * 2.0**-64


def pairwise_keys(parties=PARTIES):
    """Return each party's keys by the other party; each pair shares one."""
    fresh = Expander.fresh()
    pairs = {frozenset((a, b)): b"" for a in parties for b in parties if a != b}
    pairs = {pair: fresh.octets(32).tobytes() for pair in pairs}
    return {a: {b: pairs[frozenset((a, b))] for b in parties if b != a} for a in parties}
