"""The parties' permits for callers that speak plain HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.interface import PublicModel
from governance.permits import issue
from governance.program_permits import covered_slots, uses_of

Digests = Mapping[tuple[str, str], str]


@dataclass
class PermitKeys:
    """The keys of all parties of one application, made when they are first used."""

    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict, repr=False)

    def of(self, party: str) -> Ed25519PrivateKey:
        """Return the party's key."""
        return self.keys.setdefault(party, Ed25519PrivateKey.generate())

    def raw(self, party: str) -> bytes:
        """Return the party's public key, 32 bytes."""
        return self.of(party).public_key().public_bytes_raw()

    def public(self, party: str) -> str:
        """Return the party's public key as the server takes it, in hexadecimal."""
        return self.raw(party).hex()

    def permits(
        self,
        public: PublicModel,
        client_id: str,
        program: str,
        sha256: Digests,
        now: float | None = None,
    ) -> list[str]:
        """Return new permits of all parties for one run on the messages with these digests.

        There are none as long as a message is missing, and for a program that needs none.
        """
        if any(slot not in sha256 for slot in covered_slots(public, program)):
            return []
        at = time.time() if now is None else now
        uses = uses_of(public, client_id, program, sha256)
        return [issue(self.of(party), use, at) for party, use in uses.items()]
