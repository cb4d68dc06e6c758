"""Entries: one byte form of each, strict parsing, pseudonyms, and details that can be erased."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.log import personal_details
from governance.log.entries import (
    DIGESTS,
    KINDS,
    LARGEST_ENTRY,
    OUTCOMES,
    ROLES,
    Entry,
    pseudonym,
    time_text,
)
from governance.log.merkle import (
    MemoryNodes,
    append,
    inclusion_proof,
    root,
    verify_inclusion,
)
from governance.log.personal_details import (
    LARGEST_DETAILS,
    details_digest,
    new_person_key,
    open_details,
    pseudonym_salt,
    seal_details,
)
from utils.errors import ProofInvalid, StoreDamaged

NOW = 1_795_933_680
KEY = bytes(range(32))
ENTRY = Entry.made(
    "use",
    NOW,
    outcome="done",
    digests={"request": ["a" * 64], "permit": ["c" * 64, "b" * 64], "receipt": []},
    pseudonyms={"owner": [pseudonym(KEY, "owner", "Ada")]},
    details="d" * 64,
)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(
    kind=st.sampled_from(KINDS),
    seconds=st.integers(0, 2**35),
    outcome=st.none() | st.sampled_from(OUTCOMES),
    digests=st.dictionaries(st.sampled_from(DIGESTS), st.sets(HEX, max_size=8), max_size=9),
    pseudonyms=st.dictionaries(st.sampled_from(ROLES), st.sets(HEX, max_size=8)),
    details=st.none() | HEX,
)
def test_every_entry_is_read_back_from_its_bytes(
    kind, seconds, outcome, digests, pseudonyms, details
):
    entry = Entry.made(
        kind,
        seconds,
        outcome=outcome,
        digests=digests,
        pseudonyms=pseudonyms,
        details=details,
    )
    assert Entry.parse(entry.to_bytes()) == entry and entry.seconds == seconds
    assert len(entry.to_bytes()) <= LARGEST_ENTRY


def test_bytes_are_independent_of_the_order_of_arguments():
    again = Entry.made(
        "use",
        NOW,
        details="d" * 64,
        pseudonyms={"owner": [pseudonym(KEY, "owner", "Ada")]},
        digests={"permit": ["b" * 64, "c" * 64], "request": ["a" * 64]},
        outcome="done",
    )
    assert again.to_bytes() == ENTRY.to_bytes()


def changed(**fields):
    return json.dumps({**ENTRY.to_json(), **fields}, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b" " + ENTRY.to_bytes(),
        b"\xef\xbb\xbf" + ENTRY.to_bytes(),
        ENTRY.to_bytes().replace(b'"kind":"use"', b'"kind":"use","kind":"use"'),
        json.dumps(ENTRY.to_json()).encode(),
        changed(kind="other"),
        changed(kind=["use"]),
        changed(outcome=""),
        changed(outcome=False),
        changed(details=""),
        changed(details="D" * 64),
        changed(details="d" * 64 + "\n"),
        changed(number=1),
        changed(time="2026-11-29T06:28:00+00:00"),
        changed(time="2026-11-29T06:28:00.5Z"),
        changed(time="2026-02-30T06:28:00Z"),
        changed(time=NOW),
        changed(digests={"request": []}),
        changed(digests={"request": "a" * 64}),
        changed(digests={"permit": ["c" * 64, "b" * 64]}),
        changed(digests={"permit": ["b" * 64, "b" * 64]}),
        changed(digests={"permit": [f"{number:064}" for number in range(9)]}),
        changed(digests={"name": ["a" * 64]}),
        changed(pseudonyms={"owner": ["Ada"]}),
        changed(pseudonyms=[]),
        ENTRY.to_bytes() + b" " * LARGEST_ENTRY,
    ],
)
def test_malformed_entries_are_refused(data):
    with pytest.raises(ProofInvalid, match=r"log entry|An entry of the log"):
        Entry.parse(data)


def test_times_out_of_range_are_refused():
    for seconds in (10**15, -(10**15)):
        with pytest.raises(ProofInvalid, match="out of range"):
            time_text(seconds)


def test_pseudonyms_of_two_logs_roles_and_salts_cannot_be_joined():
    other_log, salt = os.urandom(32), pseudonym_salt(new_person_key())
    found = {
        pseudonym(KEY, "owner", "Ada"),
        pseudonym(other_log, "owner", "Ada"),
        pseudonym(KEY, "requester", "Ada"),
        pseudonym(KEY, "owner", "Ada", salt),
        pseudonym(KEY, "owner", "Ada", pseudonym_salt(new_person_key())),
        pseudonym(KEY, "owner", "Adam"),
    }
    assert len(found) == 6
    assert pseudonym(KEY, "owner", "Ada", salt) == pseudonym(KEY, "owner", "Ada", salt)
    with pytest.raises(ValueError, match="32 bytes"):
        pseudonym(b"", "owner", "Ada")


def test_erased_person_is_unreadable_and_all_proofs_still_hold():
    keys = {name: new_person_key() for name in ("Ada", "Ben")}
    sealed, entries = [], []
    for number in range(10):
        name = ("Ada", "Ben")[number % 2]
        blob = seal_details({"person": name, "reason": f"car loan {number}"}, keys[name])
        alias = pseudonym(KEY, "owner", name, pseudonym_salt(keys[name]))
        entry = Entry.made(
            "use", NOW + number, details=details_digest(blob), pseudonyms={"owner": [alias]}
        )
        sealed.append(blob)
        entries.append(entry)
    store = MemoryNodes()
    size = append(store, 0, [entry.leaf for entry in entries])
    before = root(store, size)
    assert open_details(sealed[0], entries[0].details, keys["Ada"])["person"] == "Ada"

    keys["Ada"] = new_person_key()  # all that is left of the old one is in nobody's hands
    for number in range(0, 10, 2):
        with pytest.raises(StoreDamaged, match="erased"):
            open_details(sealed[number], entries[number].details, keys["Ada"])
        assert open_details(sealed[number + 1], entries[number + 1].details, keys["Ben"])
    assert root(store, size) == before
    for index, entry in enumerate(entries):
        verify_inclusion(entry.leaf, index, size, inclusion_proof(store, index, size), before)
    # Whoever has the log's key and guesses the name does not find the person's entries any more.
    assert pseudonym(KEY, "owner", "Ada") not in str([entry.to_json() for entry in entries])


def test_altered_cut_or_swapped_details_are_refused():
    key = new_person_key()
    one, two = seal_details({"a": 1}, key), seal_details({"a": 2}, key)
    for wrong in (two, one[:-1], one + b"\0", b"", bytes([one[0] ^ 1]) + one[1:]):
        with pytest.raises(StoreDamaged, match="not those that the log's entry names"):
            open_details(wrong, details_digest(one), key)
    for place in range(len(one)):
        wrong = bytearray(one)
        wrong[place] ^= 1
        with pytest.raises(StoreDamaged, match="does not open"):
            open_details(bytes(wrong), details_digest(bytes(wrong)), key)


def test_details_have_one_text_whatever_key_is_shown(monkeypatch):
    """A cipher that opens under any key, as crafted GCM ciphertexts do under two, gives nothing."""

    class AnyKey:
        def __init__(self, key):
            self.key = key

        def decrypt(self, nonce, data, associated):
            return b'{"approved":false}'

    key, other = new_person_key(), new_person_key()
    sealed = seal_details({"approved": True}, key)
    monkeypatch.setattr(personal_details, "AESGCM", AnyKey)
    with pytest.raises(StoreDamaged, match="does not open"):
        open_details(sealed, details_digest(sealed), other)
    # Control: with the right key's commitment, this cipher's text is returned.
    assert open_details(sealed, details_digest(sealed), key) == {"approved": False}


def test_sealing_is_randomised_and_bounded():
    key = new_person_key()
    assert seal_details({"a": 1}, key) != seal_details({"a": 1}, key)
    assert b"Ada" not in seal_details({"person": "Ada"}, key)
    with pytest.raises(ValueError, match="at most"):
        seal_details({"a": "x" * LARGEST_DETAILS}, key)
    with pytest.raises(ValueError, match="32 bytes"):
        seal_details({"a": 1}, b"short")
