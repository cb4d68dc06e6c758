"""The newest finished model on a lender's machine, and its margins for records in the clear."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from features.encoding import Layout
from federated.agents.api.local_run import LocalRun
from federated.agents.api.local_runs import LocalRuns
from federated.boosting.fixed_point import LEAF_BITS
from federated.protocol.record import Record
from model.booster import Ensemble, parse_booster
from utils.errors import NoFederatedModel, StoreDamaged


@dataclass(frozen=True)
class LocalModel:
    """A finished model; `booster_sha256` is the digest of its file, in hexadecimal."""

    run_id: str
    layout: Layout
    booster_sha256: str
    ensemble: Ensemble = field(repr=False)

    def margin(self, record: Mapping[str, Any]) -> float:
        """Return the log odds of a good loan for a record, by column; exact.

        Raises ValueOutOfDomain.
        """
        leaves = self.ensemble.leaf_values(self.layout.encode(record)[None, :])
        total = np.rint(np.ldexp(leaves, LEAF_BITS)).astype(np.int64).sum()
        return float(np.ldexp(float(total), -LEAF_BITS))


class LocalModels:
    """The newest model of an agent's trainings, read once; thread-safe."""

    def __init__(self, runs: LocalRuns) -> None:
        self._runs, self._lock = runs, threading.Lock()
        self._newest: LocalModel | None = None

    def newest(self) -> LocalModel:
        """Return the newest finished model; raises NoFederatedModel and StoreDamaged."""
        finished = [(at, run) for run in self._runs.all() if (at := run.finished) is not None]
        if not finished:
            raise NoFederatedModel(
                "There is no finished model on this machine yet; join or start a training with "
                "POST /fl_train, and wait until its state is finished."
            )
        run = max(finished, key=lambda each: each[0])[1]
        with self._lock:
            if self._newest is None or self._newest.run_id != run.id:
                self._newest = _model_of(run)
            return self._newest


def _model_of(run: LocalRun) -> LocalModel:
    try:
        record = Record.model_validate_json(run.record())
    except ValidationError as error:
        raise StoreDamaged(
            f"The record of training {run.id} cannot be read: it was altered. Copy record.json "
            "again from another lender of the training; all have the same."
        ) from error
    booster, layout = run.booster(), record.plan.layout
    digest = hashlib.sha256(booster).hexdigest()
    return LocalModel(run.id, layout, digest, parse_booster(booster, layout))
