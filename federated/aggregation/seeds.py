"""The seeds of all masks, derived from roots that advance with every tree.

A lender has one root with every other lender and one of its own. The seed of a step is derived from
a root by HKDF-Expand-SHA-256 (RFC 5869, 2.3) with the digest of the step's statement, so that the
seeds of two steps, and of two rosters or histories in one step, are unrelated. With every tree
each root is replaced by one derived from it. The roots in a lender's state hence yield no seed of
an earlier tree, while all attempts of the current tree can be repeated after a restart, and a
lender that was absent for some trees gets the current roots by itself.

The self-mask's seed and its Shamir polynomial also depend on the digest of the lender's vector. If
a lender's state is restored from an old copy, a second vector for one statement is therefore masked
by another seed, shared with another polynomial.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from federated.aggregation.shamir import PRIME
from parties.joint.channel import framed

SEED_BYTES = 32
_WIDE_BYTES = 48
"""Bytes reduced modulo the prime, so that the bias is below 2^-128 (as RFC 9380, 5)."""
_DOMAIN = b"triseal federated seeds 1"


def advanced(root: bytes, trees: int) -> bytes:
    """Return the root after so many further trees."""
    for _ in range(trees):
        root = _expand(root, SEED_BYTES, b"next tree")
    return root


def pair_seed(root: bytes, statement: bytes) -> bytes:
    """Return the seed of the mask that two lenders share under the statement of this digest."""
    return _expand(root, SEED_BYTES, b"pair", statement)


def polynomial(root: bytes, statement: bytes, vector: bytes, threshold: int) -> list[int]:
    """Return the coefficients of the Shamir polynomial of a self-mask's seed, the seed first.

    `root` is the lender's own; `statement` and `vector` are digests.
    """
    wide = _expand(root, _WIDE_BYTES * threshold, b"polynomial", statement, vector)
    parts = (wide[start : start + _WIDE_BYTES] for start in range(0, len(wide), _WIDE_BYTES))
    return [int.from_bytes(part, "little") % PRIME for part in parts]


def self_mask_key(seed: bytes) -> bytes:
    """Return the key of the self-mask's keystream."""
    return _expand(seed, SEED_BYTES, b"self mask")


def share_key(root: bytes, statement: bytes, sender: str, holder: str, digest: bytes) -> bytes:
    """Return the key that seals one share, of this digest, for its holder and nothing else."""
    names = sender.encode(), holder.encode()
    return _expand(root, SEED_BYTES, b"share", statement, *names, digest)


def seed_commitment(statement: bytes, lender: str, seed: bytes) -> bytes:
    """Return the SHA-256 by which an opened seed is checked; the seed's 256 bits hide it."""
    return _digest(b"commitment", statement, lender.encode(), seed)


def share_digest(statement: bytes, sender: str, holder: str, share: bytes) -> bytes:
    """Return the SHA-256 by which a revealed share is checked; its 256 bits hide it."""
    return _digest(b"share digest", statement, sender.encode(), holder.encode(), share)


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(framed(_DOMAIN, *parts)).digest()


def _expand(root: bytes, length: int, *labels: bytes) -> bytes:
    return HKDFExpand(SHA256(), length, framed(_DOMAIN, *labels)).derive(root)
