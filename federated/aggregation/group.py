"""The public facts of a run that the coordinator and all lenders hold: lenders, keys, threshold."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federated.aggregation.statement import DIGEST_BYTES, Statement, Step, statement
from utils.errors import RosterRefused, SignatureInvalid, UnknownLender

LEAST_LENDERS, MOST_LENDERS = 3, 64
LONGEST_NAME = 64
"""Most bytes of a lender's name in UTF-8."""


class Group:
    """The lenders of a run, by name, with their raw Ed25519 public keys.

    `run` is the digest of the run's plan and members. `threshold`, two thirds of all lenders
    rounded up, is the number of Shamir shares that recover a seed; a roster has at least as many
    lenders, and never fewer than `least`.
    """

    def __init__(
        self, run: bytes, verify_keys: Mapping[str, bytes], least: int = LEAST_LENDERS
    ) -> None:
        """Raises ValueError, RosterRefused for a bad list of lenders, and SignatureInvalid."""
        if len(run) != DIGEST_BYTES:
            raise ValueError(f"the run is a digest of {DIGEST_BYTES} bytes")
        if not max(least, LEAST_LENDERS) <= len(verify_keys) <= MOST_LENDERS:
            raise RosterRefused(
                f"A run has {max(least, LEAST_LENDERS)} to {MOST_LENDERS} lenders, but this one "
                f"would have {len(verify_keys)}. Start it with other lenders."
            )
        for name in verify_keys:
            _require_name(name)
        self.run = run
        self.lenders: tuple[str, ...] = tuple(sorted(verify_keys))
        self.threshold = -(-2 * len(self.lenders) // 3)
        self.least_roster = max(LEAST_LENDERS, least, self.threshold)
        self._keys = {name: _key(name, verify_keys[name]) for name in self.lenders}
        self._positions = {name: place for place, name in enumerate(self.lenders, start=1)}

    def position(self, lender: str) -> int:
        """Return the lender's place, from 1: where its Shamir shares are evaluated.

        Raises UnknownLender.
        """
        self.require_known(lender)
        return self._positions[lender]

    def require_known(self, lender: str) -> None:
        """Raise UnknownLender unless the run has a lender of this name."""
        if lender not in self._positions:
            raise UnknownLender(
                f"{lender[:LONGEST_NAME]!r} is not a lender of this run, so nothing was taken from "
                "it. A lender joins with its code when a run starts.",
                lender,
            )

    def statement(self, step: Step, roster: tuple[str, ...], transcript: bytes) -> Statement:
        """Return the statement of a step; raises RosterRefused, and ValueError as it does."""
        self.require_roster(roster)
        return statement(self.run, step, roster, transcript)

    def require_roster(self, roster: tuple[str, ...]) -> None:
        """Raise RosterRefused unless the roster is large enough, sorted, and of this run."""
        known = set(roster) <= self._positions.keys()
        if not known or list(roster) != sorted(set(roster)):
            raise RosterRefused(
                "The coordinator's roster is not a sorted list of different lenders of this run, "
                "so nothing was sent. Ask its operator to restart the coordinator."
            )
        if len(roster) < self.least_roster:
            raise RosterRefused(
                f"The roster has {len(roster)} of {len(self.lenders)} lenders, but a sum is made "
                f"of at least {self.least_roster}, so nothing was sent. Wait until more lenders "
                "are back."
            )

    def require_signed(self, lender: str, stated: Statement, signature: bytes) -> None:
        """Verify the lender's signature of a statement; raises SignatureInvalid, UnknownLender."""
        self.require_known(lender)
        try:
            self._keys[lender].verify(signature, stated.text)
        except InvalidSignature as error:
            raise SignatureInvalid(
                f"{lender} has not signed this statement for {stated.step}: it was shown another "
                "roster or another history of the run, or its signature was altered. Nothing is "
                "opened. If it happens again, stop the run and compare the records of both sides.",
                lender,
            ) from error


def _require_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= LONGEST_NAME:
        raise RosterRefused(
            f"A lender's name has 1 to {LONGEST_NAME} bytes in UTF-8. Start the run with other "
            "names."
        )


def _key(lender: str, raw: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise SignatureInvalid(
            f"The signing key of {lender} is not an Ed25519 key. Ask {lender} for its identity "
            "key, and start the run again.",
            lender,
        ) from error
