"""Randomness for secrets, always from the operating system."""

from __future__ import annotations

import secrets

SEED_BITS = 128


def random_seed() -> int:
    """Return a 128-bit seed for a library's CSPRNG; never 0, which libraries treat as no seed."""
    return secrets.randbits(SEED_BITS) or 1
