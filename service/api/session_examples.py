"""Examples of the bodies about sessions (service/api/examples.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ID = "5b1e0f6c2d7a48938e4f1c6a9b2d7e30"
_DIGEST = "c0ffee6a2b1d4e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8"
_ENDS = "2026-03-03T09:00:00Z"
_SECRET = "Qm0Jm1o8eJw3uQb7dX5sT9nL4pR6aHc2iGfEZk3vY2Z"  # noqa: S105 (opens nothing)
_PERMIT = "eyJhbGciOiJFZERTQSJ9.eyJhY3Rpb24iOiJzdGF0aXN0aWMifQ.c2lnbmF0dXJl"

SESSION_EXAMPLES: Mapping[str, Any] = {
    "HostRequest": {"hours": 24.0, "nonce": _ID},
    "Hosted": {
        "session_id": _ID,
        "token": _SECRET,
        "code": _SECRET[::-1],
        "expires_at": _ENDS,
    },
    "ConnectRequest": {"code": _SECRET[::-1]},
    "Connected": {
        "session_id": _ID,
        "token": _SECRET.swapcase(),
        "owner_key": _DIGEST,
        "expires_at": _ENDS,
    },
    "SessionFacts": {
        "session_id": _ID,
        "state": "connected",
        "owner_key": _DIGEST,
        "partner_id": "bank_1",
        "partner_type": "bank",
        "partner_key": _DIGEST[::-1],
        "expires_at": _ENDS,
    },
    "SessionMessageRequest": {"number": 1, "body": "c2VhbGVk"},
    "SessionPosted": {"number": 1},
    "SessionMessages": {"state": "connected", "items": [{"number": 1, "body": "c2VhbGVk"}]},
    "SessionEventRequest": {
        "kind": "answer",
        "outcome": "reduced",
        "digests": {"request": _DIGEST, "receipt": _DIGEST[::-1]},
        "details": {"purpose": "dpv:CreditChecking", "fields": ["income"]},
        "idempotency_key": _ID,
    },
    "SessionUseRequest": {
        "permit": _PERMIT,
        "receipt": _DIGEST,
        "details": {"purpose": "dpv:CreditChecking"},
        "idempotency_key": _ID,
    },
    "Logged": {"entry": 42},
}
"""Examples by the name of their schema."""
