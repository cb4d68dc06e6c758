"""The Merkle tree: published vectors, all proofs up to 64 leaves, and changes to any of them."""

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.log.merkle import (
    EMPTY_ROOT,
    LARGEST_SIZE,
    MemoryNodes,
    Position,
    append,
    consistency_proof,
    frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from utils.errors import LogInconsistent, ProofInvalid

MOST = 64
# The eight leaves, their roots and proofs are the reference values of Google's
# certificate-transparency (cpp/merkletree/merkle_tree_test.cc) that transparency-dev/merkle 0.0.2
# has in testonly/constants.go and proof/verify_test.go.
LEAVES = [
    bytes.fromhex(each)
    for each in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index from 0, size)
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (old size, new size)
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def tree(entries):
    """Return a store with these entries, appended in two parts."""
    store, half = MemoryNodes(), len(entries) // 2
    size = append(store, 0, [leaf_hash(entry) for entry in entries[:half]])
    assert append(store, size, [leaf_hash(entry) for entry in entries[half:]]) == len(entries)
    return store


PUBLISHED = tree(LEAVES)
ENTRIES = [f"entry {number}".encode() for number in range(MOST)]
STORE = tree(ENTRIES)
ROOT = [root(STORE, size) for size in range(MOST + 1)]


RANDOM = random.Random(17)


def flipped(value):
    """Return the bytes with one random bit changed."""
    place = RANDOM.randrange(8 * len(value))
    changed = bytearray(value)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def altered(proof):
    """Yield every kind of single change of a proof: one hash altered, removed, added, moved."""
    for place in range(len(proof)):
        yield [*proof[:place], flipped(proof[place]), *proof[place + 1 :]]
        yield [*proof[:place], *proof[place + 1 :]]
        yield [*proof[:place], proof[place], *proof[place:]]
    yield [*proof, bytes(32)]
    if len(proof) > 1:
        yield [proof[1], proof[0], *proof[2:]]


def reference_root(entries):
    """Return the root by the recursive definition of RFC 9162, 2.1.1."""
    if len(entries) < 2:
        return leaf_hash(entries[0]) if entries else EMPTY_ROOT
    split = 1
    while 2 * split < len(entries):
        split *= 2
    return node_hash(reference_root(entries[:split]), reference_root(entries[split:]))


def test_hashes_are_those_published():
    # transparency-dev/merkle 0.0.2, rfc6962/rfc6962_test.go
    leaf = "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    node = "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    assert leaf_hash(b"L123456").hex() == leaf
    assert node_hash(b"N123", b"N456").hex() == node


def test_roots_are_those_published():
    assert [root(PUBLISHED, size).hex() for size in range(9)] == ROOTS
    assert [root_of(map(leaf_hash, LEAVES[:size])).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(
    ("size", "published"),
    [  # transparency-dev/merkle 0.0.2, compact/range_test.go: leaf i is i as two bytes, low first
        (10, "VjWMPSYNtCuCNlF/RLnQy6HcwSk6CIipfxm+hettA+4="),
        (15, "j4SulYmocFuxdeyp12xXCIgK6PekBcxzAIj4zbQzNEI="),
        (16, "c+4Uc6BCMOZf/v3NZK1kqTUJe+bBoFtOhP+P3SayKRE="),
        (100, "dUh9hYH88p0CMoHkdr1wC2szbhcLAXOejWpINIooKUY="),
        (255, "SmdsuKUqiod3RX2jyF2M6JnbdE4QuTwwipfAowI4/i0="),
    ],
)
def test_roots_of_larger_trees_are_those_published(size, published):
    store = MemoryNodes()
    append(store, 0, [leaf_hash(number.to_bytes(2, "little")) for number in range(size)])
    assert base64.b64encode(root(store, size)).decode() == published


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_those_published(index, size):
    proof = inclusion_proof(PUBLISHED, index, size)
    assert [each.hex() for each in proof] == INCLUSION[index, size]
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_those_published(old, new):
    proof = consistency_proof(PUBLISHED, old, new)
    assert [each.hex() for each in proof] == CONSISTENCY[old, new]
    verify_consistency(old, new, proof, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]))


@pytest.mark.parametrize("size", range(MOST + 1))
def test_root_is_that_of_the_recursive_definition(size):
    assert ROOT[size] == reference_root(ENTRIES[:size])
    assert ROOT[size] == root_of(map(leaf_hash, ENTRIES[:size]))


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_inclusion_proof_verifies_and_every_change_fails(size):
    for index in range(size):
        leaf, proof = leaf_hash(ENTRIES[index]), inclusion_proof(STORE, index, size)
        verify_inclusion(leaf, index, size, proof, ROOT[size])
        wrong = [(leaf, index, changed, ROOT[size]) for changed in altered(proof)]
        wrong += [(flipped(leaf), index, proof, ROOT[size])]
        wrong += [(leaf, index, proof, flipped(ROOT[size]))]
        others = {index - 1, index + 1, index ^ 1, index ^ 2, size, -1} - {index}
        wrong += [(leaf, other, proof, ROOT[size]) for other in others]
        for bad_leaf, place, bad_proof, bad_root in wrong:
            with pytest.raises(ProofInvalid):
                verify_inclusion(bad_leaf, place, size, bad_proof, bad_root)


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_every_consistency_proof_verifies_and_every_change_fails(new):
    for old in range(1, new + 1):
        proof = consistency_proof(STORE, old, new)
        verify_consistency(old, new, proof, ROOT[old], ROOT[new])
        wrong = [(old, changed, ROOT[old], ROOT[new]) for changed in altered(proof)]
        wrong += [(old, proof, flipped(ROOT[old]), ROOT[new])]
        wrong += [(old, proof, ROOT[old], flipped(ROOT[new]))]
        others = {old - 1, old + 1, old ^ 2, new + 1} - {old}
        wrong += [(other, proof, ROOT[old], ROOT[new]) for other in others]
        for size, bad_proof, old_root, new_root in wrong:
            with pytest.raises((ProofInvalid, LogInconsistent)):
                verify_consistency(size, new, bad_proof, old_root, new_root)


def test_empty_log_continues_to_any_log_and_no_other_root_is_empty():
    verify_consistency(0, 5, [], EMPTY_ROOT, ROOT[5])
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    for old_root, new, new_root in [(ROOT[1], 5, ROOT[5]), (ROOT[1], 0, ROOT[1])]:
        with pytest.raises(LogInconsistent, match=r"not shown to continue|fork"):
            verify_consistency(0, new, [], old_root, new_root)


def test_smaller_log_is_named_a_rollback():
    with pytest.raises(LogInconsistent, match="rolled back"):
        verify_consistency(8, 7, [], ROOT[8], ROOT[7])


def test_lengths_are_checked_before_hashing(monkeypatch):
    monkeypatch.setattr("governance.log.merkle.node_hash", None)  # a call would fail
    leaf = leaf_hash(ENTRIES[0])
    for bad in ([bytes(32)] * 65, [bytes(31)], [b""], [bytes(33)]):
        with pytest.raises(ProofInvalid):
            verify_inclusion(leaf, 0, 2, bad, ROOT[2])
        with pytest.raises(ProofInvalid):
            verify_consistency(1, 2, bad, ROOT[1], ROOT[2])
    for size in (-1, LARGEST_SIZE + 1):
        with pytest.raises(ProofInvalid, match="from 0 to"):
            verify_inclusion(leaf, 0, size, [], ROOT[1])
        with pytest.raises(ProofInvalid, match="from 0 to"):
            verify_consistency(0, size, [], EMPTY_ROOT, ROOT[1])


def test_leaf_cannot_pass_as_an_inner_node():
    """Without the prefixes of RFC 6962, two hashes in one entry would be a second preimage."""
    left, right = leaf_hash(ENTRIES[0]), leaf_hash(ENTRIES[1])
    assert leaf_hash(left + right) != node_hash(left, right)


@given(size=st.integers(1, LARGEST_SIZE), data=st.data())
@settings(max_examples=50, deadline=None)
def test_proofs_of_the_largest_trees_are_within_the_bound(size, data):
    """Every stored node has the same hash here; only the number of reads and hashes counts."""

    class Same:
        reads = 0

        def get(self, positions):
            assert len(positions) <= 2 * 64
            self.reads += 1
            return dict.fromkeys(positions, bytes(32))

        def put(self, nodes):
            raise AssertionError("a proof writes nothing")

    store = Same()
    assert len(inclusion_proof(store, data.draw(st.integers(0, size - 1)), size)) <= 53
    assert len(consistency_proof(store, data.draw(st.integers(1, size)), size)) <= 54
    assert store.reads <= 2


@given(parts=st.lists(st.integers(0, 9), max_size=8))
@settings(max_examples=50, deadline=None)
def test_parts_of_appending_do_not_matter(parts):
    store, size = MemoryNodes(), 0
    for part in parts:
        size = append(store, size, [leaf_hash(b"%d" % (size + each)) for each in range(part)])
    assert root(store, size) == root_of(leaf_hash(b"%d" % number) for number in range(size))
    assert len(store.nodes) == 2 * size - len(frontier(size))


def test_missing_or_cut_stored_node_is_an_error():
    store = tree(ENTRIES[:9])
    store.nodes[Position(3, 0)] = bytes(31)
    for call in (lambda: root(store, 9), lambda: append(store, 9, [bytes(32)])):
        with pytest.raises(LogInconsistent, match="3/0"):
            call()
    del store.nodes[Position(3, 0)]
    with pytest.raises(LogInconsistent, match="3/0"):
        inclusion_proof(store, 8, 9)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_of_an_entry_outside_the_log(index, size):
    with pytest.raises(ProofInvalid, match="has no entry"):
        inclusion_proof(STORE, index, size)


def test_no_proof_of_a_larger_former_log():
    with pytest.raises(ProofInvalid, match="cannot be consistent"):
        consistency_proof(STORE, 4, 3)
