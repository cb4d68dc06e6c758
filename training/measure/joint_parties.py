"""All parties of an engine with joint keys in one process, for evaluation and benchmark only.

In an application, each party runs in its own process and communicates by the joint protocol; here
they call one another directly.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Mapping

from engines.interface import (
    CHALLENGE,
    ENCRYPTED_INPUTS,
    MASKED_OF,
    MASKS_OF,
    JointPartyEngine,
    KeyPair,
    PartyEngine,
)
from engines.levelled.ceremony import make_joint_keys
from engines.payload import join_parts, read_parts
from features.encoding import Bits

_NONCE_BYTES = 32


class JointParties(PartyEngine):
    """All parties of a schema as a single party that holds all their secrets."""

    def __init__(self, engine: JointPartyEngine, parties: list[str]) -> None:
        """Use one `engine` for all parties, since it keeps no secrets."""
        self.facts = engine.facts
        self._engine = engine
        self._parties = parties

    def make_keys(self) -> KeyPair:
        """Make keys; `secret` holds the public key, all parties' secrets and all pairwise keys."""
        keys = make_joint_keys(self._engine, self._parties, b"training")
        pairs = [keys.pairwise[one][other] for one, other in self._pairs()]
        return KeyPair(
            secret=join_parts([keys.public_key, *keys.secrets.values(), *pairs]),
            evaluation=self._engine.seal_public_key(self._parties[0], keys.public_key),
        )

    def _pairs(self) -> list[tuple[str, str]]:
        return list(itertools.combinations(self._parties, 2))

    def _parts(self, secret: bytes) -> list[bytes]:
        return read_parts(memoryview(secret), 1 + len(self._parties) + len(self._pairs()))

    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        return self._engine.encrypt(party, bits, self._parts(secret)[0])

    def challenge(
        self, messages: Mapping[tuple[str, str], bytes], secret: bytes
    ) -> dict[tuple[str, str], bytes]:
        """Return the message with the challenge of the check of `messages`, with new nonces."""
        inputs = {p: hashlib.sha256(messages[p, ENCRYPTED_INPUTS]).digest() for p in self._parties}
        nonces = {party: os.urandom(_NONCE_BYTES) for party in self._parties}
        context = hashlib.sha256(self._parts(secret)[0]).digest()
        sealed = self._engine.seal_challenge(context, inputs, nonces)
        return {(self._parties[0], CHALLENGE): sealed}

    def masks(self, program: str, secret: bytes) -> dict[tuple[str, str], bytes]:
        """Return all parties' encrypted masks of a masked program, by (party, file name)."""
        public_key, *parts = self._parts(secret)
        return {
            (party, MASKS_OF[program]): self._engine.encrypt_masks(program, party, public_key, own)
            for party, own in zip(self._parties, parts, strict=False)
        }

    def masked(self, program: str, result: bytes, secret: bytes) -> dict[tuple[str, str], bytes]:
        """Open a masked program's result; returns the message with the masked scores."""
        sealed = self._engine.seal_masked(program, result, self._partials(program, result, secret))
        return {(self._parties[0], MASKED_OF[program]): sealed}

    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        partials = self._partials(program, result, secret)
        return self._engine.combine(program, result, partials)

    def _partials(self, program: str, result: bytes, secret: bytes) -> dict[str, bytes]:
        """Return all parties' decryption shares of a result."""
        public_key, *parts = self._parts(secret)
        secrets = dict(zip(self._parties, parts, strict=False))
        pairwise: dict[str, dict[str, bytes]] = {party: {} for party in self._parties}
        for (one, other), key in zip(self._pairs(), parts[len(self._parties) :], strict=True):
            pairwise[one][other] = pairwise[other][one] = key
        return {
            party: self._engine.partial(program, result, party, public_key, own, pairwise[party])
            for party, own in secrets.items()
        }
