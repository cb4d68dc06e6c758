"""Shamir's secret sharing (CACM 22, 1979) over the integers modulo the prime 2^256 - 189.

PyCryptodome has a scheme for 16 bytes that draws its own coefficients. Here they are given, since a
repeated upload must have the same bytes, and secrets have 32 bytes. A share is the value of the
polynomial at the holder's place, which is never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from utils.errors import MalformedMessage, TooFewShares

PRIME = 2**256 - 189
"""The largest prime below 2^256."""
ELEMENT_BYTES = 32
LARGEST_PLACE = 255


def share_at(coefficients: Sequence[int], place: int) -> bytes:
    """Return the share of the holder at `place`, ELEMENT_BYTES bytes, little-endian.

    `coefficients` are below PRIME, the secret first; as many shares recover it. Raises
    MalformedMessage.
    """
    _require_place(place)
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * place + coefficient) % PRIME
    return value.to_bytes(ELEMENT_BYTES, "little")


def recover(shares: Sequence[tuple[int, bytes]], threshold: int) -> bytes:
    """Return the secret from at least `threshold` shares, each with its holder's place.

    Only the first `threshold` shares are used. Shares of a wrong value give a wrong secret, which
    only its commitment reveals. Raises TooFewShares, and MalformedMessage for a share that is not
    an element of the field, a place out of range or a place that occurs twice.
    """
    if not 0 < threshold <= LARGEST_PLACE:
        raise MalformedMessage(f"A threshold is from 1 to {LARGEST_PLACE}.")
    if len({place for place, _ in shares}) < len(shares):
        raise MalformedMessage("Two shares are of one holder; send each holder's share once.")
    if len(shares) < threshold:
        raise TooFewShares(
            f"{len(shares)} shares are there, but {threshold} recover the seed. Wait until more "
            "lenders have sent theirs."
        )
    points = [(_require_place(place), _element(share)) for place, share in shares[:threshold]]
    return (sum(_term(points, own) for own in points) % PRIME).to_bytes(ELEMENT_BYTES, "little")


def _term(points: Sequence[tuple[int, int]], own: tuple[int, int]) -> int:
    """Return the term of one point in Lagrange's interpolation at 0."""
    above, below = own[1], 1
    for place, _ in points:
        if place != own[0]:
            above = above * place % PRIME
            below = below * (place - own[0]) % PRIME
    return above * pow(below, -1, PRIME)


def _require_place(place: int) -> int:
    # At 0 the share would be the secret itself.
    if not 0 < place <= LARGEST_PLACE:
        raise MalformedMessage(f"A holder's place is from 1 to {LARGEST_PLACE}.")
    return place


def _element(share: bytes) -> int:
    value = int.from_bytes(share, "little")
    if len(share) != ELEMENT_BYTES or value >= PRIME:
        raise MalformedMessage(
            f"A share has {ELEMENT_BYTES} bytes and is below the prime; this one was altered."
        )
    return value
