"""A receipt is the owner's, for one request, and cannot be altered."""

from __future__ import annotations

import json

import pytest

from governance.canonical import canonical, signed
from governance.receipts import DOMAIN, LARGEST_RECEIPT, Receipt
from tests.governance.requests_for_tests import (
    NOW,
    OWNER_KEY,
    REQUESTER_KEY,
    a_receipt,
    a_request,
    allowed,
    public,
)
from utils.errors import ReceiptInvalid

OWNER = public(OWNER_KEY).hex()


def test_receipt_says_what_was_allowed_and_not_what_was_asked() -> None:
    found = Receipt.parse(a_receipt().to_bytes(), OWNER, a_request().digest)
    assert found.id == "ef" * 16
    assert found.request == a_request().digest
    assert found.policy_version == "v7"
    assert found.key == OWNER
    process = found.document["dpv:hasProcess"][0]
    assert [data["dct:title"] for data in process["dpv:hasPersonalData"]] == ["month"]
    assert process["dpv:hasPurpose"]["@type"] == "dpv:CreditChecking"
    assert process["dpv:hasFrequency"] == "1 in all"
    assert process["dpv:hasDuration"]["dct:valid"] == "2027-01-15T09:00:00Z"
    assert process["dpv:hasStorageCondition"]["dpv:hasDuration"] == "P30D"


def test_signature_is_over_the_domain_and_the_canonical_form() -> None:
    """Other programs verify it with nothing but this format."""
    document = json.loads(a_receipt().to_bytes())
    proof = document.pop("proof")
    OWNER_KEY.public_key().verify(
        bytes.fromhex(proof["signature"]), b"triseal consent receipt 1\n" + canonical(document)
    )
    assert proof["key"] == OWNER


@pytest.mark.parametrize("member", [name for name in a_receipt().document if name != "proof"])
def test_no_member_can_be_altered_or_removed(member: str) -> None:
    document = json.loads(a_receipt().to_bytes())
    for changed in (
        {**document, member: "another"},
        {name: value for name, value in document.items() if name != member},
    ):
        with pytest.raises(ReceiptInvalid):
            Receipt.parse(json.dumps(changed).encode(), OWNER)


def test_receipt_signed_by_another_is_refused() -> None:
    forged = signed(REQUESTER_KEY, DOMAIN, a_receipt().document)
    with pytest.raises(ReceiptInvalid, match="not signed by the owner"):
        Receipt.parse(canonical(forged), OWNER)


def test_receipt_of_another_request_is_refused() -> None:
    other = a_request(reason="Another one.").digest
    with pytest.raises(ReceiptInvalid, match="another request"):
        Receipt.parse(a_receipt().to_bytes(), OWNER, other)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b" " * (LARGEST_RECEIPT + 1)])
def test_malformed_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        Receipt.parse(data, OWNER)


@pytest.mark.parametrize("changes", [{"events": []}, {"categories": {}}, {"principal": "\ud800"}])
def test_incomplete_receipt_is_not_issued(changes: dict[str, object]) -> None:
    with pytest.raises(ReceiptInvalid):
        Receipt.issue(allowed(**changes), OWNER_KEY, "ef" * 16, NOW)
