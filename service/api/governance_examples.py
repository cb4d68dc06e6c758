"""Examples of the bodies about the log and the policy gateway (service/api/examples.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ROOT = "a4f5c1f0b6a7d3e2918273645546372819a0b1c2d3e4f5061728394a5b6c7d8e"
_KEY = _ROOT[::-1]
_ID = "1f0c8e5ad3b94b7d9a6e2c4f5b7d8e90"
_AT = "2026-03-02T09:00:00Z"
_SECRET = "Zk3vY2ZQm0Jm1o8eJw3uQb7dX5sT9nL4pR6aHc2iGfE"  # noqa: S105 (opens nothing)
_TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ1cm46dHJpc2VhbCJ9.c2lnbmF0dXJl"  # noqa: S105 (likewise)
_LINE = "\N{EM DASH} Auditor CMeZqgAAAABppVDA8Q=="
CHECKPOINT = (
    "triseal/3f2a9c0d1e4b5a67\n3\npPXB8Lan0+KRgnNkVUY3KBmgscLT5PUGFyg5SltsfY4=\n\n"
    + "\N{EM DASH} triseal/3f2a9c0d1e4b5a67 CMeZqg==\n"
)
_ENTRY = {
    "details": None,
    "digests": {"permit": [_ROOT], "program": [_KEY]},
    "kind": "use",
    "outcome": "done",
    "pseudonyms": {"owner": [_KEY]},
    "time": _AT,
}
_DETAILS = {"purpose": "dpv:CreditChecking", "fields": ["income"], "request_id": _ID}
_MASK = '{"cuts":[0,20000,40000],"kind":"band","of":"number"}'
_RULE = {
    "id": "consent-needed",
    "effect": "forbid",
    "reason": "The owner of the data has not consented to this use, or no longer does.",
    "file": "00-always.cedar",
    "line": 3,
    "obligations": None,
}

GOVERNANCE_EXAMPLES: Mapping[str, Any] = {
    "LogFacts": {
        "origin": "triseal/3f2a9c0d1e4b5a67",
        "size": 3,
        "key": _KEY,
        "verifier_key": "triseal/3f2a9c0d1e4b5a67+08c799aa+AeFkZQ==",
        "permit_key": _ROOT,
        "cosigners": {"Auditor": _KEY},
    },
    "LogEntries": {"size": 3, "items": [{"index": 2, "entry": _ENTRY, "details": None}]},
    "InclusionProof": {"index": 2, "hashes": [_ROOT]},
    "ConsistencyProof": {"hashes": [_ROOT, _KEY]},
    "CosignatureRequest": {"size": 3, "line": _LINE},
    "Integrity": {
        "healthy": True,
        "fault": None,
        "size": 3,
        "root": _ROOT,
        "entries_checked": 3,
        "cosigned": {"Auditor": 3},
        "checked_at": _AT,
    },
    "LogLines": {
        "items": [
            {
                "index": 2,
                "time": _AT,
                "kind": "decision",
                "status": "allowed",
                "partner_id": "bank_1",
                "user_id": "user_1",
                "application": None,
                "erased": False,
                "details": _DETAILS,
                "person": _ROOT,
            }
        ]
    },
    "PolicyState": {
        "version": _ROOT,
        "files": {"00-always.cedar": "forbid (principal, action, resource) ..."},
        "rules": [_RULE],
    },
    "PolicyFileRequest": {"text": '{"name": "own_record", "title": "Own", "fields": {"a": "age"}}'},
    "PolicyVersion": {"version": _ROOT},
    "PartnerRequest": {"partner_id": "bank_1", "partner_type": "bank", "key": _KEY},
    "PartnerToken": {"partner_id": "bank_1", "token": _SECRET},
    "PartnerLines": {
        "items": [
            {
                "partner_id": "bank_1",
                "partner_type": "bank",
                "key": _KEY,
                "registered_at": _AT,
            }
        ]
    },
    "ConsentRequest": {
        "state": "granted",
        "purpose": "dpv:CreditChecking",
        "signed_at": 1772442000000,
    },
    "AuthorizeRequest": {
        "partner_id": "bank_1",
        "user_id": "user_1",
        "purpose": "dpv:CreditChecking",
        "requested_data": ["income"],
        "expires_in": 300,
    },
    "Authorized": {
        "request_id": _ID,
        "token": _TOKEN,
        "exchange_host": "127.0.0.1",
        "exchange_port": 5001,
        "expires_in": 300,
        "expires_at": _AT,
        "data_segments": ["income"],
        "masking_applied": {"income": "band"},
    },
    "SpendRequest": {"token": _TOKEN, "receipt": _ROOT},
    "Spent": {
        "request_id": _ID,
        "partner_id": "bank_1",
        "purpose": "dpv:CreditChecking",
        "entry": 3,
        "fields": ["income"],
        "masks": {"income": _MASK},
    },
}
"""Examples by the name of their schema."""
