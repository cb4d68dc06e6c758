"""Canonical JSON equals the published examples; signatures cover every member and their domain."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from governance.canonical import LARGEST_INTEGER, canonical, digest, signed, signer_of

DOMAIN = b"triseal test document 1\n"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\ue000\U00010000"), inner)
    ),
    max_leaves=12,
)


def test_strings_are_escaped_as_in_the_example_of_rfc_8785() -> None:
    # RFC 8785, section 3.2.2.2 and 3.2.4
    escaped = '"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"'
    expected = '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    assert canonical(json.loads(escaped)) == expected.encode()


def test_members_are_ordered_by_utf_16_code_units() -> None:
    # the example of RFC 8785, section 3.2.3
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    found = json.loads(canonical(dict.fromkeys(names)), object_pairs_hook=list)
    assert [name for name, _ in found] == [
        *("\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33")
    ]


@given(values)
def test_parsing_and_ordering_change_nothing(value: object) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_digest_depends_on_the_content_not_on_the_order() -> None:
    assert digest({"a": 1, "b": [True]}) == digest({"b": [True], "a": 1})
    assert digest({"a": 1}) != digest({"a": True}) != digest({"a": "1"})


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), LARGEST_INTEGER + 1, "\ud800", {"\ud800": 1}, {1: "a"}, b"bytes", {1, 2}],
)
def test_values_without_one_form_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_depth_is_limited() -> None:
    deep: object = 0
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ValueError, match="levels"):
        canonical(deep)


def test_signature_is_that_of_its_key_and_covers_every_member() -> None:
    document = signed(KEY, DOMAIN, {"id": "1", "fields": ["a"], "proof": "replaced"})
    assert signer_of(DOMAIN, document) == PUBLIC
    assert signer_of(DOMAIN, json.loads(json.dumps(document))) == PUBLIC
    for changed in (
        {**document, "id": "2"},
        {**document, "fields": ["a", "b"]},
        {**document, "more": None},
        {name: value for name, value in document.items() if name != "fields"},
    ):
        assert signer_of(DOMAIN, changed) is None
    assert signer_of(b"triseal other document 1\n", document) is None


def test_signature_does_not_count_for_another_key() -> None:
    document = signed(KEY, DOMAIN, {"id": "1"})
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    assert signer_of(DOMAIN, {**document, "proof": {**document["proof"], "key": other}}) is None


@pytest.mark.parametrize(
    "proof",
    [
        None,
        [],
        "00",
        {},
        {"key": PUBLIC},
        {"key": PUBLIC, "signature": "00" * 63},
        {"key": PUBLIC + "\n", "signature": "00" * 64},
        {"key": PUBLIC, "signature": "00" * 64, "more": 1},
        {"key": 1, "signature": "00" * 64},
    ],
)
def test_malformed_proof_is_no_proof(proof: object) -> None:
    assert signer_of(DOMAIN, {"id": "1", "proof": proof}) is None
