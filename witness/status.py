"""The public status of a witness: counts and its last statements, without any content."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from contract.http import Refusal

KEPT = 20
"""Statements that are shown."""


@dataclass(frozen=True)
class Said:
    """One statement: the application's first digits, the program, and the time it took."""

    application: str
    program: str
    refusal: Refusal | None
    seconds: float
    at: float


class Status:
    """The status of a running witness; its methods may be called in any thread."""

    def __init__(self, name: str, key: str, model_version: str) -> None:
        self._facts = {"name": name, "key": key, "model_version": model_version}
        self._said: deque[Said] = deque(maxlen=KEPT)
        self._signed = self._refused = 0
        self._problem = ""
        self._lock = threading.Lock()

    def said(self, application: str, program: str, refusal: Refusal | None, seconds: float) -> None:
        """Note a statement."""
        with self._lock:
            self._said.append(Said(application[:8], program, refusal, seconds, time.time()))
            self._signed += refusal is None
            self._refused += refusal is not None

    def problem(self, text: str) -> None:
        """Note why the witness cannot work now; empty if it can."""
        with self._lock:
            self._problem = text

    def facts(self) -> dict[str, Any]:
        """Return the status as JSON values, the last statement first."""
        with self._lock:
            return {
                **self._facts,
                "signed": self._signed,
                "refused": self._refused,
                "problem": self._problem,
                "last": [asdict(said) for said in reversed(self._said)],
            }
