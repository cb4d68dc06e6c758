"""The log's Merkle tree: hashes, roots, and inclusion and consistency proofs.

The tree and its proofs are those of RFC 9162 (Certificate Transparency 2.0, 2021), section 2.1,
which keeps the hashing of RFC 6962 (2013): SHA-256 over 0x00 and the entry for a leaf, over 0x01
and both children for an inner node.

A store keeps only the nodes of complete subtrees: the node at (level, number) covers the leaves
from number * 2^level up to (number + 1) * 2^level. Such a node never changes again, so that a store
may refuse every second write, and the trees of all earlier sizes remain provable. The roots of the
largest complete subtrees, from left to right, are the tree's frontier: all that an append or a root
needs.

A verified proof shows something about one root. The size, which belongs to the proof's arithmetic,
is authenticated by the checkpoint that names both (governance/log/checkpoint.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from utils.errors import LogInconsistent, ProofInvalid

HASH_BYTES = 32
LARGEST_SIZE = 2**53 - 1
"""Leaves of the largest tree: the largest integer of canonical JSON (RFC 7493, 2.2)."""
MOST_HASHES = 64
"""Hashes of the longest proof that is read; a tree of LARGEST_SIZE leaves needs 54."""
EMPTY_ROOT = hashlib.sha256(b"").digest()
_LEAF, _NODE = b"\x00", b"\x01"


class Position(NamedTuple):
    """The place of a complete subtree: it covers 2^level leaves from number * 2^level on."""

    level: int
    number: int


class NodeStore(Protocol):
    """A store of the hashes of complete subtrees, such as a table by level and number.

    `get` returns the hashes that it has; a missing position is left out. `put` adds new hashes; the
    caller makes all nodes of one append permanent together, for example in one transaction.
    """

    def get(self, positions: Sequence[Position]) -> Mapping[Position, bytes]: ...

    def put(self, nodes: Mapping[Position, bytes]) -> None: ...


class MemoryNodes:
    """A store of nodes in memory."""

    def __init__(self) -> None:
        self.nodes: dict[Position, bytes] = {}

    def get(self, positions: Sequence[Position]) -> Mapping[Position, bytes]:
        return {place: self.nodes[place] for place in positions if place in self.nodes}

    def put(self, nodes: Mapping[Position, bytes]) -> None:
        self.nodes.update(nodes)


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node with these children, 32 bytes."""
    return hashlib.sha256(_NODE + left + right).digest()


def frontier(size: int) -> list[Position]:
    """Return the largest complete subtrees that make up a tree, from left to right."""
    return _cover(0, size)


def append(store: NodeStore, size: int, leaves: Sequence[bytes]) -> int:
    """Add leaf hashes (32 bytes each) to a tree of `size` leaves, and return its new size.

    Reads the frontier once and writes once. Two appends to one size would make a fork, so that the
    caller serialises them. Raises LogInconsistent if a stored node is missing.
    """
    _require_size(size + len(leaves))
    places = frontier(size)
    hashes = _found(store, places)
    open_subtrees = [(place, hashes[place]) for place in places]
    new: dict[Position, bytes] = {}
    for index, leaf in enumerate(leaves, size):
        _require_hash(leaf)
        place, value = Position(0, index), leaf
        new[place] = value
        while place.number % 2:
            _, left = open_subtrees.pop()
            place, value = Position(place.level + 1, place.number // 2), node_hash(left, value)
            new[place] = value
        open_subtrees.append((place, value))
    store.put(new)
    return size + len(leaves)


def root(store: NodeStore, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves.

    Raises LogInconsistent if a stored node is missing.
    """
    return _hashes_of(store, [(0, size)])[0] if size else EMPTY_ROOT


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes alone, in memory logarithmic in their number."""
    open_subtrees: list[bytes] = []
    for index, leaf in enumerate(leaves):
        value = leaf
        while index % 2:
            value, index = node_hash(open_subtrees.pop(), value), index // 2
        open_subtrees.append(value)
    return _folded(open_subtrees) if open_subtrees else EMPTY_ROOT


def inclusion_proof(store: NodeStore, index: int, size: int) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves (RFC 9162, 2.1.3.1).

    Raises ProofInvalid if the tree has no such leaf, LogInconsistent if a stored node is missing.
    """
    _require_size(size)
    if not 0 <= index < size:
        raise ProofInvalid(f"A log of {size} entries has no entry {index}; ask for another one.")
    return _hashes_of(store, list(_siblings(index, 0, size)))


def consistency_proof(store: NodeStore, old: int, new: int) -> list[bytes]:
    """Return the proof that the first `old` leaves of a tree of `new` are its former tree.

    It is empty for old = 0 and for old = new (RFC 9162, 2.1.4.1). Raises ProofInvalid if old > new,
    LogInconsistent if a stored node is missing.
    """
    _require_size(new)
    if not 0 <= old <= new:
        raise ProofInvalid(
            f"A log of {new} entries cannot be consistent with a log of {old}; ask for a size up "
            f"to {new}."
        )
    return _hashes_of(store, list(_complements(old, new))) if old else []


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], tree_root: bytes
) -> None:
    """Verify that a leaf's hash has this index in the tree with this root (RFC 9162, 2.1.3.2).

    Raises ProofInvalid.
    """
    _require_size(size)
    if not 0 <= index < size:
        raise ProofInvalid(
            f"The proof is for entry {index}, and the checkpoint is for {size} entries. Ask the "
            "log for a proof to this checkpoint."
        )
    _require_hashes([leaf, tree_root, *_bounded(proof)])
    ranges = list(_siblings(index, 0, size))
    if len(proof) != len(ranges):
        raise _not_leading("inclusion")
    value = leaf
    for (low, _), sibling in zip(ranges, proof, strict=True):
        value = node_hash(sibling, value) if low < index else node_hash(value, sibling)
    if not hmac.compare_digest(value, tree_root):
        raise _not_leading("inclusion")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Verify that a tree is a former tree with leaves appended (RFC 9162, 2.1.4.2).

    Raises ProofInvalid if the proof is malformed, for example if it is for other sizes, and
    LogInconsistent if it does not lead to both roots.
    """
    _require_size(new)
    if not 0 <= old <= new:
        raise LogInconsistent(
            f"The log had {old} entries and now shows {new}: it was rolled back. Keep both "
            "checkpoints, and ask the log's operator for the cause."
        )
    _require_hashes([old_root, new_root, *_bounded(proof)])
    if old in (0, new):
        if proof:
            raise _not_leading("consistency")
        kept = old_root == (EMPTY_ROOT if old == 0 else new_root)
        if not kept or (new == 0 and new_root != EMPTY_ROOT):
            raise _forked(old, new)
        return
    # Where the old tree is a node of the new one, the proof leaves out its root.
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        raise _not_leading("consistency")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    former = latter = hashes[0]
    for value in hashes[1:]:
        if last == 0:
            raise _not_leading("consistency")
        if node & 1 or node == last:
            former, latter = node_hash(value, former), node_hash(value, latter)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            latter = node_hash(latter, value)
        node, last = node >> 1, last >> 1
    if last:
        raise _not_leading("consistency")
    same = hmac.compare_digest(former, old_root), hmac.compare_digest(latter, new_root)
    if not all(same):
        raise _forked(old, new)


def _siblings(index: int, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the leaf ranges of an inclusion proof's hashes, the lowest first."""
    if high - low == 1:
        return
    middle = low + _split(high - low)
    if index < middle:
        yield from _siblings(index, low, middle)
        yield middle, high
    else:
        yield from _siblings(index, middle, high)
        yield low, middle


def _complements(old: int, new: int) -> Iterator[tuple[int, int]]:
    """Yield the leaf ranges of a consistency proof's hashes, in the order of RFC 9162, 2.1.4.1."""
    ranges, low, high, whole = [], 0, new, True
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low, whole = middle, False
    if not whole:
        ranges.append((low, high))
    yield from reversed(ranges)


def _split(size: int) -> int:
    """Return the largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _cover(low: int, high: int) -> list[Position]:
    """Return the complete subtrees that make up a leaf range of a proof, from left to right."""
    places = []
    while low < high:
        level = (high - low).bit_length() - 1
        places.append(Position(level, low >> level))
        low += 1 << level
    return places


def _folded(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over the roots of complete subtrees, which become smaller to the right."""
    value = hashes[-1]
    for left in reversed(hashes[:-1]):
        value = node_hash(left, value)
    return value


def _hashes_of(store: NodeStore, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Return the hash of each leaf range, with one read from the store."""
    covers = [_cover(low, high) for low, high in ranges]
    found = _found(store, [place for cover in covers for place in cover])
    return [_folded([found[place] for place in cover]) for cover in covers]


def _found(store: NodeStore, places: Sequence[Position]) -> Mapping[Position, bytes]:
    found = store.get(places) if places else {}
    for place in places:
        if len(found.get(place, b"")) != HASH_BYTES:
            raise LogInconsistent(
                f"The log's stored hash {place.level}/{place.number} is missing or damaged. "
                "Restore the log's database from a backup, and compare it with the last cosigned "
                "checkpoint."
            )
    return found


def _bounded(proof: Sequence[bytes]) -> Sequence[bytes]:
    if len(proof) > MOST_HASHES:
        raise ProofInvalid(
            f"The proof has {len(proof)} hashes; a proof has at most {MOST_HASHES}. Ask the log "
            "for it again."
        )
    return proof


def _require_hashes(hashes: Iterable[bytes]) -> None:
    for each in hashes:
        _require_hash(each)


def _require_hash(value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise ProofInvalid(
            f"A hash of the log has {HASH_BYTES} bytes, and one has {len(value)}. Ask the log for "
            "the proof again."
        )


def _require_size(size: int) -> None:
    if not 0 <= size <= LARGEST_SIZE:
        raise ProofInvalid(
            f"A log has from 0 to {LARGEST_SIZE} entries. Ask the log for its checkpoint again."
        )


def _not_leading(kind: str) -> ProofInvalid:
    return ProofInvalid(
        f"The {kind} proof does not lead to the checkpoint: it is for another entry or another "
        "checkpoint, or it was altered. Ask the log for it again; if it stays so, the log shows "
        "different entries to different readers."
    )


def _forked(old: int, new: int) -> LogInconsistent:
    if old == new:
        return LogInconsistent(
            f"Two different logs of {new} entries were shown: a fork. Keep both checkpoints as "
            "evidence, and sign nothing more of this log."
        )
    return LogInconsistent(
        f"The log of {new} entries is not shown to continue the log of {old} entries: entries were "
        "changed, removed or inserted, or the proof is damaged. Ask for the proof again; if it "
        "stays so, keep both checkpoints as evidence, and sign nothing more of this log."
    )
