"""Randomness for secrets: always from the operating system."""

from __future__ import annotations

import secrets

SEED_BITS = 128


def random_seed() -> int:
    """A seed of 128 bits for a library's CSPRNG; never 0, which libraries read as none given."""
    return secrets.randbits(SEED_BITS) or 1
