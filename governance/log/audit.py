"""The audit of a stored log: its entries, its stored hashes and its checkpoints belong together.

It reads every entry, so that it finds what was changed in a database behind the log's back. The
checkpoints have to come from elsewhere, or with cosignatures that were verified: whoever can change
the entries can change all other tables as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from governance.log.checkpoint import Checkpoint
from governance.log.entries import Entry
from governance.log.merkle import (
    EMPTY_ROOT,
    MemoryNodes,
    NodeStore,
    append,
    frontier,
    leaf_hash,
    root,
)
from utils.errors import LogInconsistent, ProofInvalid

BATCH = 512
"""Entries that are compared with the store at a time."""


def audit(entries: Iterable[bytes], store: NodeStore, checkpoints: Sequence[Checkpoint]) -> int:
    """Compare all entries, in order, with the stored hashes and the roots of checkpoints.

    Returns the number of entries. Entries after the largest checkpoint are compared with the
    stored hashes only, as nobody has signed them yet. Raises LogInconsistent, naming the first
    entry that differs from its stored hash, or the first checkpoint that is not of these entries.
    """
    roots = sorted({(each.size, each.root) for each in checkpoints})
    remaining, size = iter(entries), 0
    tree = MemoryNodes()
    _require_roots(tree, size, roots)
    while batch := list(islice(remaining, _until(size, roots))):
        for number, data in enumerate(batch, size):
            _require_entry(data, number)
        new = append(tree, size, [leaf_hash(data) for data in batch])
        _require_stored(tree, store, size)
        size = new
        _require_roots(tree, size, roots)
        tree.nodes = {place: tree.nodes[place] for place in frontier(size)}
    if roots and roots[-1][0] > size:
        raise LogInconsistent(
            f"The log has {size} entries, and a checkpoint was signed with {roots[-1][0]}: entries "
            "were removed. Restore the log from a backup."
        )
    return size


def _until(size: int, roots: Sequence[tuple[int, bytes]]) -> int:
    """Return how many entries to read next: a batch, or up to the next checkpoint."""
    return min([BATCH, *(each - size for each, _ in roots if each > size)])


def _require_entry(data: bytes, number: int) -> None:
    try:
        Entry.parse(data)
    except ProofInvalid as error:
        raise LogInconsistent(
            f"Entry {number} of the log is not an entry any more: {error.message} Restore the log "
            "from a backup."
        ) from error


def _require_stored(tree: MemoryNodes, store: NodeStore, size: int) -> None:
    """Compare the hashes that the entries from `size` on have added with the stored ones."""
    known = set(frontier(size))
    added = {place: value for place, value in tree.nodes.items() if place not in known}
    found = store.get(list(added))
    for place in sorted(added):  # leaves first, which name the entry
        if found.get(place) != added[place]:
            raise LogInconsistent(
                f"The log from entry {place.number << place.level} on is not what it was made of "
                f"(stored hash {place.level}/{place.number}): entries were changed, removed, "
                "inserted or reordered. Restore the log from a backup."
            )


def _require_roots(tree: MemoryNodes, size: int, roots: Iterable[tuple[int, bytes]]) -> None:
    for each, expected in roots:
        if each == size and expected != (root(tree, size) if size else EMPTY_ROOT):
            raise LogInconsistent(
                f"The first {size} entries of the log are not those of a checkpoint that was "
                "signed: the log was rewritten. Restore it from a backup, and keep the checkpoint "
                "as evidence."
            )
