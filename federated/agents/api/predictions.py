"""Predictions for the scorecard's flat body, by the newest model of this lender's machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federated.agents.api.encrypted_decision import EncryptedDecisions
from federated.agents.api.local_model import LocalModel, LocalModels
from federated.scorecard import (
    FIELDS,
    SCHEMA,
    Prediction,
    prediction_of_decision,
    prediction_of_margin,
    record_of,
)
from utils.atomic_files import write_atomic
from utils.errors import InvalidRequest, NoFederatedModel, StoreDamaged
from utils.regular_files import read_regular

ENCRYPTED = "encrypted"
_MOST_DIGITS = 18


class RequestNumbers:
    """Numbers of requests, which rise and are not used again after a restart; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the last number from the file; raises StoreDamaged."""
        self._path, self._lock = path, threading.Lock()
        try:
            found = read_regular(path, _MOST_DIGITS + 1)
        except FileNotFoundError:
            found = (b"0", 0)
        text = b"" if found is None else found[0]
        if not text.isdigit() or len(text) > _MOST_DIGITS:
            raise StoreDamaged(f"{path} has no number; write the last request's number into it.")
        self._last = int(text)

    def next(self) -> int:
        """Return the next number, from 1."""
        with self._lock:
            self._last += 1
            write_atomic(self._path, str(self._last).encode())
            return self._last


class Predictions:
    """Predictions by the newest model, each with a number of its own; thread-safe."""

    def __init__(
        self, models: LocalModels, encrypted: EncryptedDecisions, numbers: RequestNumbers
    ) -> None:
        self._models, self._encrypted, self._numbers = models, encrypted, numbers

    def predict(self, body: Mapping[str, Any]) -> Prediction:
        """Return the prediction for a flat body (federated/scorecard.py) with `encrypted` or not.

        Raises InvalidRequest, NoFederatedModel, and those of EncryptedDecisions.decide.
        """
        fields = dict(body)
        encrypted = fields.pop(ENCRYPTED, False)
        if not isinstance(encrypted, bool):
            raise InvalidRequest(f"{ENCRYPTED}: give true or false.")
        model = self._models.newest()
        _require_scorecard(model)
        record = record_of(fields, model.layout)
        if encrypted:
            approved = self._encrypted.decide(model, record)
            return prediction_of_decision(approved, self._numbers.next())
        return prediction_of_margin(model.margin(record), self._numbers.next())


def _require_scorecard(model: LocalModel) -> None:
    schema = model.layout.schema
    if schema.name != SCHEMA or {c.name for c in schema.columns()} != set(FIELDS):
        raise NoFederatedModel(
            f"The newest model on this machine is for the schema {schema.name}; this call is for "
            f"{SCHEMA}. Train one with features/{SCHEMA}.json."
        )
