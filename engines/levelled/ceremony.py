"""The joint keys of all parties, made in one process for tests and measurements.

In an application every party runs these steps in its own process and exchanges the results by the
joint protocol (parties/joint), so that no process ever holds the secrets of two parties.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

from engines.interface import JointPartyEngine, KeyShare
from engines.levelled.encryption import encrypt_bits
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey, SecretShare, collective_key, key_share
from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import multiply_exact
from engines.levelled.words import Integers, Words
from features.encoding import Bits

CEREMONY_STEPS = (
    "seed share",
    "common randomness",
    "key share",
    "collective key",
)
"""The steps of every party to make the keys, in order."""

Run = Callable[..., Any]
"""Called as run(step, function, *arguments); returns the function's result."""


def pairwise_keys(parties: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """Return each party's keys by the other party; each pair shares one random key."""
    keys: dict[str, dict[str, bytes]] = {party: {} for party in parties}
    for one, other in combinations(parties, 2):
        keys[one][other] = keys[other][one] = os.urandom(SEED_BYTES)
    return keys


@dataclass(frozen=True)
class JointKeys:
    """The public key, every party's secret and share of it, and the keys of every pair."""

    public_key: bytes
    shares: dict[str, KeyShare] = field(repr=False)
    pairwise: dict[str, dict[str, bytes]] = field(repr=False)

    @property
    def secrets(self) -> dict[str, bytes]:
        """The secrets by party."""
        return {party: share.secret for party, share in self.shares.items()}


def _call(_step: str, function: Run, *arguments: Any) -> Any:
    return function(*arguments)


def make_joint_keys(
    engine: JointPartyEngine, parties: Sequence[str], context: bytes, run: Run = _call
) -> JointKeys:
    """Make the keys of all parties with one engine, since it keeps no secrets.

    `run` makes each call, with its step of `CEREMONY_STEPS`, so that it can be timed. Steps that
    give every party the same result are run once. Raises the engine's errors.
    """
    seed, common, share, collective = CEREMONY_STEPS
    seeds = {party: run(seed, engine.seed_share) for party in parties}
    randomness = run(common, engine.common, context, seeds)
    shares = {party: run(share, engine.key_share, randomness) for party in parties}
    sent = {party: own.share for party, own in shares.items()}
    public_key = run(collective, engine.collective_key, randomness, sent)
    return JointKeys(public_key, shares, pairwise_keys(parties))


@dataclass(frozen=True)
class WholeKey:
    """A collective key with the polynomials of all secrets, to compute phases and noise.

    An application never brings the secrets together: their sum decrypts everything.
    """

    parameters: Parameters
    public: PublicKey
    secrets: dict[str, SecretShare] = field(repr=False)
    shares: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def make(cls, parties: Sequence[str], parameters: Parameters) -> WholeKey:
        """Make new secrets for the parties and their collective key, for any parameters."""
        common, randomness = os.urandom(SEED_BYTES), Expander.fresh()
        made = {party: key_share(common, parameters, randomness) for party in parties}
        shares = {party: share for party, (_, share) in made.items()}
        secrets = {party: secret for party, (secret, _) in made.items()}
        return cls(parameters, collective_key(common, shares, parameters), secrets, shares)

    @cached_property
    def secret_sum(self) -> Integers:
        """The sum of all secrets, shape (N,), which no party has."""
        first, *others = (secret.polynomial for secret in self.secrets.values())
        return sum(others, start=first)

    def phase(self, mask: Words, body: Words) -> Words:
        """Return body - mask·S, shape (..., N)."""
        return body - multiply_exact(mask, self.secret_sum)

    def encrypted(self, bits: Bits) -> Ggsw:
        """Return new ciphertexts of bits, truncated as for sending."""
        whole = encrypt_bits(bits, self.public, self.parameters, Expander.fresh())
        return whole.cut(self.parameters)
