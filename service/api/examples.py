"""One example of each request and response body, for the OpenAPI document.

A test validates each example against its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from service.api.governance_examples import CHECKPOINT, GOVERNANCE_EXAMPLES
from service.api.session_examples import SESSION_EXAMPLES
from service.api.training_examples import TRAINING_EXAMPLES

__all__ = ["CHECKPOINT", "EXAMPLES"]

EXAMPLE_ID = "1f0c8e5ad3b94b7d9a6e2c4f5b7d8e90"
EXAMPLE_JOB = "7be3a1c2d4f5061728394a5b6c7d8e9f"
_SECRET = "Zk3vY2ZQm0Jm1o8eJw3uQb7dX5sT9nL4pR6aHc2iGfE"  # noqa: S105 (opens nothing)
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_OPENED, _ENDS = "2026-03-02T09:00:00Z", "2026-03-03T09:00:00Z"
_PERMIT = "eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJiYW5rIn0.c2lnbmF0dXJl"
_WITNESS = {"name": "Auditor", "key": _DIGEST[::-1]}

SENT = (EXAMPLE_ID, "bank", "encrypted_inputs", "TRISEAL1")
"""The values of an upload form, in the order of its fields."""

_PROGRAM = {
    "status": "done",
    "job": EXAMPLE_JOB,
    "attempts": 1,
    "progress": 1.0,
    "phase": None,
    "runs": 1,
    "remaining_seconds": None,
    "queued_at": _OPENED,
    "deadline": "2026-03-02T09:30:00Z",
    "seconds": 0.0253,
    "loading_seconds": 0.0,
    "result_bytes": 16648,
    "error_code": None,
    "error": None,
    "statements": {_DIGEST[::-1]: {"signature": _DIGEST * 2, "refusal": None}},
}
_STATE = {
    "client_id": EXAMPLE_ID,
    "state": "decided",
    "created_at": _OPENED,
    "expires_at": _ENDS,
    "joined": ["applicant", "bank"],
    "readers": ["applicant", "bank"],
    "explanation_readers": ["applicant", "bank"],
    "reasons_readers": ["applicant"],
    "witnesses": [_WITNESS],
    "review": "none",
    "slots": [
        {
            "party": "bank",
            "file_name": "encrypted_inputs",
            "needed_for": ["decide", "explain"],
            "received_bytes": 1171688,
            "sha256": _DIGEST,
        }
    ],
    "programs": {"decide": _PROGRAM},
    "missing": {"decide": [], "explain": ["applicant: explanation_inputs"]},
    "unpermitted": {"decide": [], "explain": ["applicant", "bank"]},
}
EVENT = f"event: state\r\ndata: {json.dumps(_STATE)}\r\n\r\n"
_COLUMN = {"kind": "boolean", "label": "Own car", "default": False}
_YEARS = {
    "kind": "ordinal",
    "name": "Years_employed",
    "label": "Years employed",
    "minimum": 0,
    "maximum": 50,
    "cuts": [2, 5, 8],
    "default": 4,
}
_SLOT = {
    "party": "bank",
    "file_name": "encrypted_inputs",
    "needed_for": ["decide", "explain"],
    "maximum_bytes": 1172780,
}
_MODEL = {
    "engine": {
        "name": "levelled",
        "label": "Levelled TFHE (joint keys)",
        "encrypted": True,
        "joint_keys": True,
        "secret_key": "Nobody ever holds it.",
        "opened": "The score.",
        "explains_by": "program",
    },
    "model_version": _DIGEST[:32],
    "schema": {
        "name": "small",
        "title": "A small schema",
        "parties": [
            {"name": "applicant", "label": "Applicant", "columns": [{"name": "Car", **_COLUMN}]},
            {"name": "bank", "label": "Bank", "columns": [_YEARS]},
        ],
        "decision": {"target": "Bad"},
        "explanation": {"column": "Years_employed", "phrase": "years employed"},
    },
    "programs": {"decide": {"outputs": ["score"], "score_bits": 12, "scale": 512.0}},
    "slots": [_SLOT],
    "client_sha256": _DIGEST,
    "versions": {"python": "3.11"},
}

EXAMPLES: Mapping[str, Any] = {
    "OpenRequest": {
        "readers": ["applicant", "bank"],
        "explanation_readers": ["applicant"],
        "reasons_readers": ["applicant"],
        "witnesses": ["Auditor"],
    },
    "Opened": {
        "client_id": EXAMPLE_ID,
        "expires_at": _ENDS,
        "join_codes": {"applicant": _SECRET, "bank": _SECRET[::-1]},
        "watch_token": _SECRET.swapcase(),
        "readers": ["applicant", "bank"],
        "explanation_readers": ["applicant", "bank"],
        "reasons_readers": ["applicant"],
        "witnesses": [_WITNESS],
    },
    "JoinRequest": {
        "party": "bank",
        "code": _SECRET,
        "scopes": ["send", "read"],
        "permit_key": _DIGEST,
    },
    "PermitsRequest": {"permits": [_PERMIT]},
    "Joined": {
        "token": _SECRET,
        "scopes": ["send", "read"],
        "expires_at": _ENDS,
        "readers": ["applicant"],
        "explanation_readers": ["applicant"],
        "reasons_readers": ["applicant"],
        "witnesses": [_WITNESS],
        "application_created_at": _OPENED,
        "application_expires_at": _ENDS,
    },
    "ApplicationState": _STATE,
    "ProgramState": _PROGRAM,
    "ProgramForm": {"client_id": EXAMPLE_ID, "program": "decide"},
    "Receipt": {
        "client_id": EXAMPLE_ID,
        "client_type": "bank",
        "file_name": "encrypted_inputs",
        "bytes": 1171688,
        "sha256": _DIGEST,
        "state": "ready",
    },
    "ReviewRequest": {"statement": "c2VhbGVk"},
    "OutcomeRequest": {"outcome": "upheld", "words": "c2VhbGVk"},
    "ReviewState": {
        "state": "under_review",
        "referred": False,
        "asked_at": _OPENED,
        "due_at": "2026-04-01T09:00:00Z",
        "taken_at": _ENDS,
        "closed_at": None,
        "statement": "c2VhbGVk",
        "words": None,
    },
    "MessageRequest": {"step": "hello", "receiver": None, "body": "c2VhbGVk"},
    "Posted": {"number": 7},
    "RelayedMessages": {
        "messages": [
            {
                "number": 7,
                "sender": "bank",
                "receiver": None,
                "step": "hello",
                "bytes": 6,
                "sent_at": _OPENED,
                "body": "c2VhbGVk",
            }
        ],
        "state": _STATE,
        "tag": _DIGEST[:16],
    },
    "ExchangeRequest": {
        "messages": [{"step": "share_commit", "receiver": None, "body": "c2VhbGVk"}],
        "after": 7,
        "wait": 20.0,
        "seen": _DIGEST[:16],
        "until": [{"sender": "applicant", "step": "share_commit"}],
        "linger": 0.3,
        "permits": [_PERMIT],
        "run": None,
    },
    "Exchanged": {
        "numbers": [8],
        "messages": [
            {
                "number": 9,
                "sender": "applicant",
                "receiver": None,
                "step": "share_commit",
                "bytes": 6,
                "sent_at": _OPENED,
                "body": "c2VhbGVk",
            }
        ],
        "after": 9,
        "state": _STATE,
        "tag": _DIGEST[:16],
        "result": "",
    },
    "Witnesses": {"items": [_WITNESS]},
    "WitnessTasks": {
        "items": [
            {
                "id": EXAMPLE_JOB,
                "client_id": EXAMPLE_ID,
                "program": "decide",
                "model_sha256": _DIGEST,
                "messages": [{"party": "bank", "file_name": "encrypted_inputs", "bytes": 1171688}],
                "done": True,
            }
        ],
        "tag": _DIGEST,
    },
    "WitnessedResult": {"result": "c2VhbGVk", "seed": "c2VlZA=="},
    "StatementRequest": {"refusal": "result_differs"},
    "Traffic": {
        "items": [
            {
                "number": 8,
                "at": _OPENED,
                "sender": "bank",
                "receiver": "server",
                "what": "encrypted_inputs",
                "bytes": 1171688,
            }
        ]
    },
    "Health": {"status": "ok", "engine": "levelled", "model_version": _DIGEST[:32]},
    "Sign": {"status": "ok"},
    "PublicModel": _MODEL,
    "ApplicationLines": {
        "items": [
            {
                "client_id": EXAMPLE_ID,
                "state": "ready",
                "created_at": _OPENED,
                "expires_at": _ENDS,
                "joined": ["bank"],
                "bytes": 9921453,
            }
        ],
        "after": None,
    },
    "JobLines": {
        "items": [
            {
                "job": EXAMPLE_JOB,
                "client_id": EXAMPLE_ID,
                "program": "decide",
                "status": "running",
                "attempts": 1,
                "crashes": 0,
                "progress": 0.4,
                "queued_at": _OPENED,
                "started_at": _OPENED,
                "ended_at": None,
                "server": EXAMPLE_JOB[::-1],
                "error_code": None,
            }
        ]
    },
    "DecisionFile": {
        "format": "triseal decision file 1",
        "grants": [
            {
                "receipt": {
                    "@type": "dpv:ConsentReceipt",
                    "triseal:request": _DIGEST,
                    "proof": {"key": _DIGEST[::-1], "signature": 2 * _DIGEST},
                },
                "permit": _PERMIT,
            }
        ],
        "program": _DIGEST,
        "statement": {
            "application": EXAMPLE_ID,
            "program": "decide",
            "model": _DIGEST,
            "messages": {"bank/encrypted_inputs": _DIGEST},
            "result": _DIGEST,
            "signatures": {_DIGEST[::-1]: 2 * _DIGEST},
        },
        "entry": {
            "details": _DIGEST,
            "digests": {"permit": [_DIGEST], "receipt": [_DIGEST], "result": [_DIGEST]},
            "kind": "use",
            "outcome": "done",
            "pseudonyms": {"owner": [_DIGEST]},
            "time": _OPENED,
        },
        "inclusion": {"index": 5, "hashes": [_DIGEST]},
        "checkpoint": CHECKPOINT,
    },
    **GOVERNANCE_EXAMPLES,
    **SESSION_EXAMPLES,
    **TRAINING_EXAMPLES,
}
"""Examples by the name of their schema."""
