"""A ledger of every party's shares in one application, and the invariants on it.

A share is noted where the engine makes it, before it can be sealed or stored, and a message where
it leaves the party. So a share counts as given even if the party was killed before it was sent.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from parties.joint.messages import CONFIRM, PARTIAL, Confirmation, Partial, decode


class Violated(Exception):
    """An invariant does not hold."""


class Ledger:
    """The shares, confirmations and erasures of one application's parties."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.made: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        """By party and program, SHA-256 of the result and of the share of every share made."""
        self.sent: set[tuple[str, str]] = set()
        """Party and program of every share that was sent."""
        self._confirmed: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._erased: set[str] = set()

    def make(self, party: str, program: str, result: bytes, share: bytes) -> None:
        """Note a decryption share.

        Raises Violated for a second, different one of the program, and after the keys are erased.
        """
        if party in self._erased:
            raise Violated(f"{party} made a share of {program} after it had erased its keys")
        made = self.made[party, program]
        made.add((_sha256(result), _sha256(share)))
        if len(made) > 1:
            raise Violated(f"{party} made {len(made)} different shares of {program}")

    def send(self, party: str, step: str, payload: bytes) -> None:
        """Note the payload of a message that leaves a party.

        Raises Violated for a share before every party has confirmed its result, and for one that
        was not noted by `make`.
        """
        kind, _, program = step.partition(":")
        if kind == CONFIRM:
            digest = decode(Confirmation, payload).result_sha256
            self._confirmed[program][party].add(digest)
        elif kind == PARTIAL:
            said = decode(Partial, payload)
            if (said.result_sha256, _sha256(said.share)) not in self.made[party, program]:
                raise Violated(f"{party} sent a share of {program} that its engine did not make")
            for other in self.names:
                if said.result_sha256 not in self._confirmed[program][other]:
                    raise Violated(f"{party} sent a share of {program}, unconfirmed by {other}")
            self.sent.add((party, program))

    def erase(self, party: str) -> None:
        """Note that a party has erased its secret."""
        self._erased.add(party)

    def restore(self, party: str) -> None:
        """Note that an earlier folder, with its secret, was put back."""
        self._erased.discard(party)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
