"""Examples of the bodies about trainings (service/api/examples.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ID = "7a3d5c1e9b8f40628d7e6f5a4b3c2d10"
_KEY = "c0ffee6a2b1d4e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8"
_ENDS = "2026-03-03T09:00:00Z"
_SECRET = "Vt8kQ2mZx1sR7dLwYb4nHc6jPf0aGe3uTiOqXvBzE9K"  # noqa: S105 (opens nothing)
_MEMBERS = ["bank_1", "bank_2", "bank_3"]
_POSTED = {"number": 1, "to": "coordinator", "body": "c2VhbGVk"}

EXCHANGE_EXAMPLE: Mapping[str, Any] = {
    "messages": [_POSTED],
    "after": 0,
    "wait": 20.0,
    "least": 1,
    "linger": 25.0,
}
TRAINING_EXAMPLES: Mapping[str, Any] = {
    "TrainingRequest": {"members": _MEMBERS, "hours": 24.0, "nonce": _ID},
    "TrainingHosted": {
        "training_id": _ID,
        "token": _SECRET,
        "codes": {
            name: _SECRET[place:] + _SECRET[:place] for place, name in enumerate(_MEMBERS, 1)
        },
        "expires_at": _ENDS,
    },
    "TrainingJoinRequest": {"member": "bank_1", "code": _SECRET[1:] + _SECRET[0]},
    "TrainingJoined": {"token": _SECRET[::-1], "members": _MEMBERS, "expires_at": _ENDS},
    "TrainingExchanged": {
        "numbers": [1],
        "messages": [
            {"id": 2, "sender": "coordinator", "to": None, "number": 1, "body": "c2VhbGVk"}
        ],
        "after": 2,
        "state": "open",
        "more": False,
        "dropped": False,
    },
    "TrainingFacts": {
        "training_id": _ID,
        "state": "open",
        "coordinator_key": _KEY,
        "members": [
            {"name": "coordinator", "joined": True, "seen_at": "2026-03-02T09:00:01Z"},
            {"name": "bank_1", "joined": True, "seen_at": "2026-03-02T09:00:02Z"},
            {"name": "bank_2", "joined": False, "seen_at": None},
            {"name": "bank_3", "joined": False, "seen_at": None},
        ],
        "expires_at": _ENDS,
    },
}
"""Examples by the name of their schema."""
