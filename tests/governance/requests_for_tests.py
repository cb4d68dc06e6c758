"""A request, a receipt and keys for tests."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import Grant
from governance.requests import AccessRequest, Requester, Uses

NOW = 1_800_000_000
REQUESTER_KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32)
OWNER_KEY = Ed25519PrivateKey.from_private_bytes(b"o" * 32)


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def a_request(**changes: object) -> AccessRequest:
    """Return a valid request with some members changed."""
    members = {
        "id": "ab" * 16,
        "requester": Requester(name="Bank of X", key=public(REQUESTER_KEY).hex()),
        "owner": "applicant",
        "action": "statistic",
        "target": "salaries",
        "fields": ("month", "amount"),
        "purpose": "dpv:CreditChecking",
        "reason": "To check that the income covers the loan.",
        "computation": {"kind": "mean", "column": "amount"},
        "readers": ("Bank of X",),
        "created": NOW,
        "not_after": NOW + 86400,
        "uses": Uses(count=3, period="day"),
        "retention_days": 30,
    }
    return AccessRequest.model_validate({**members, **changes})


def allowed(**changes: Any) -> Allowed:
    """Return what the owner allowed of `a_request`, with some members changed."""
    members = {
        "request": a_request(),
        "grant": Grant(("month",), Uses(), NOW + 3600),
        "policy_version": "v7",
        "principal": "applicant",
        "controller": "Bank of X",
        "categories": {"month": "employment", "amount": "income"},
        "jurisdiction": "loc:EU",
        "events": [ReceiptEvent("approved", NOW, "applicant")],
    }
    return Allowed(**{**members, **changes})


def a_receipt() -> Receipt:
    """Return the owner's receipt for `allowed`."""
    return Receipt.issue(allowed(), OWNER_KEY, "ef" * 16, NOW)
