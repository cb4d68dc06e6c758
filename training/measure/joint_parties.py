"""All parties of an engine with joint keys in one process, for evaluation and benchmark only.

In an application, each party runs in its own process and communicates by the joint protocol; here
they call one another directly.
"""

from __future__ import annotations

import itertools
import os

from engines.interface import JointPartyEngine, KeyPair, PartyEngine
from engines.payload import join_parts, read_parts
from features.encoding import Bits

_PAIRWISE_BYTES = 32


class JointParties(PartyEngine):
    """All parties of a schema as a single party that holds all their secrets."""

    def __init__(self, engine: JointPartyEngine, parties: list[str]) -> None:
        """Use one `engine` for all parties, since it keeps no secrets."""
        self.facts = engine.facts
        self._engine = engine
        self._parties = parties

    def make_keys(self) -> KeyPair:
        """Make keys; `secret` holds the public key, all parties' secrets and all pairwise keys."""
        engine = self._engine
        common = engine.common(b"training", {party: engine.seed_share() for party in self._parties})
        shares = {party: engine.key_share(common) for party in self._parties}
        public_key = engine.collective_key(common, {p: s.share for p, s in shares.items()})
        engine.check_key(
            public_key, {p: engine.check_share(public_key, s.secret) for p, s in shares.items()}
        )
        pairs = [os.urandom(_PAIRWISE_BYTES) for _ in self._pairs()]
        return KeyPair(
            secret=join_parts([public_key, *(s.secret for s in shares.values()), *pairs]),
            evaluation=engine.seal_public_key(self._parties[0], public_key),
        )

    def _pairs(self) -> list[frozenset[str]]:
        return [frozenset(pair) for pair in itertools.combinations(self._parties, 2)]

    def _parts(self, secret: bytes) -> list[bytes]:
        return read_parts(memoryview(secret), 1 + len(self._parties) + len(self._pairs()))

    def encrypt(self, party: str, bits: Bits, secret: bytes) -> bytes:
        return self._engine.encrypt(party, bits, self._parts(secret)[0])

    def open(self, program: str, result: bytes, secret: bytes) -> tuple[float, ...]:
        public_key, *parts = self._parts(secret)
        secrets = dict(zip(self._parties, parts, strict=False))
        keys = dict(zip(self._pairs(), parts[len(self._parties) :], strict=True))
        partials = {}
        for party, own in secrets.items():
            pairwise = {o: keys[frozenset((party, o))] for o in self._parties if o != party}
            partials[party] = self._engine.partial(
                program, result, party, public_key, own, pairwise
            )
        return self._engine.combine(program, result, partials)
