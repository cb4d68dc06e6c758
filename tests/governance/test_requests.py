"""Requests are bounded, immutable and signed: nothing in them can be altered afterwards."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from governance.canonical import PROOF, signed
from governance.requests import (
    DOMAIN,
    LARGEST_COMPUTATION,
    LARGEST_REQUEST,
    SignedRequest,
    Uses,
    new_request_id,
)
from tests.governance.requests_for_tests import NOW, REQUESTER_KEY, a_request
from utils.errors import InvalidRequest, NotAuthentic


def sent() -> bytes:
    return SignedRequest.sign(a_request(), REQUESTER_KEY).to_bytes()


def test_signed_request_is_read_as_it_was_signed() -> None:
    found = SignedRequest.parse(sent())
    assert found.request == a_request()
    assert found.to_bytes() == sent()


@pytest.mark.parametrize("field", sorted(a_request().document()))
def test_no_member_can_be_altered_after_signing(field: str) -> None:
    document = json.loads(sent())
    other = {
        "id": "cd" * 16,
        "requester": {"name": "Bank of Y", "key": document["requester"]["key"]},
        "action": "release",
        "fields": ["amount"],
        "purpose": "dpv:Marketing",
        "computation": None,
        "readers": ["Bank of X", "Bank of Y"],
        "created": NOW + 1,
        "not_after": NOW + 1,
        "uses": {"count": 4, "period": "day"},
        "retention_days": 31,
    }
    document[field] = other.get(field, "another")
    with pytest.raises((NotAuthentic, InvalidRequest)):
        SignedRequest.parse(json.dumps(document).encode())


def test_request_signed_by_another_key_is_refused() -> None:
    stranger = Ed25519PrivateKey.generate()
    forged = signed(stranger, DOMAIN, a_request().document())
    with pytest.raises(NotAuthentic):
        SignedRequest.parse(json.dumps(forged).encode())
    with pytest.raises(InvalidRequest, match="requester"):
        SignedRequest.sign(a_request(), stranger)


def test_unsigned_request_is_refused() -> None:
    document = {name: value for name, value in json.loads(sent()).items() if name != PROOF}
    with pytest.raises(NotAuthentic):
        SignedRequest.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"{" * 100_000,
        sent()[:-1],
        sent().replace(b'"owner":"applicant"', b'"owner":"applicant","owner":"bank"'),
        sent().replace(b'"retention_days":30', b'"retention_days":30.0'),
        sent().replace(b'"retention_days":30', b'"retention_days":"30"'),
        sent().replace(b'"owner"', b'"more":1,"owner"'),
        b" " * (LARGEST_REQUEST + 1),
    ],
)
def test_malformed_request_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        SignedRequest.parse(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "ab"},
        {"id": "AB" * 16},
        {"fields": ()},
        {"fields": ("a", "a")},
        {"fields": tuple(str(n) for n in range(257))},
        {"readers": ()},
        {"purpose": "CreditChecking"},
        {"reason": ""},
        {"reason": "x" * 2001},
        {"reason": "\ud800"},
        {"action": "delete"},
        {"not_after": NOW},
        {"created": -1},
        {"uses": {"count": 0}},
        {"uses": {"count": 1, "period": "year"}},
        {"retention_days": 4000},
        {"computation": {"x": "y" * LARGEST_COMPUTATION}},
        {"computation": {"x": 0.5}},
    ],
)
def test_member_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        a_request(**changes)


def test_digest_names_the_whole_request() -> None:
    assert a_request().digest == a_request().digest
    assert a_request(uses=Uses(count=2, period="day")).digest != a_request().digest
    assert new_request_id() != new_request_id()
