"""The lenders' model beside those that pooled rows, or one lender's rows alone, have given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from features.encoding import Bits, Layout
from features.records import Records, read_records
from federated.boosting.booster_json import booster_json
from federated.boosting.pooled import pooled
from federated.boosting.rows import LocalRows, validation_rows
from federated.plan import Plan
from training.federated import FinishedRun
from training.federated_peers import log_odds, on_all_rows, same_splits
from training.models import Rows

COMPARED_TREES = 20


@dataclass(frozen=True)
class Comparison:
    """AUCs on the same test rows, and the equality with pooled training.

    `equal` is true if pooled training by the record gives the same booster, byte for byte.
    `same` of `splits` splits of XGBoost's first 20 trees are in the model, too.
    """

    equal: bool
    auc: float
    xgboost_auc: float
    alone_auc: Mapping[str, float]
    same: int
    splits: int
    rows: int


def compare(run: FinishedRun, files: Mapping[str, Path], test: pd.DataFrame) -> Comparison:
    """Train again on the rows of all lenders' files, and measure all models on `test`.

    Raises TrainingDataInvalid.
    """
    plan, layout = run.record.plan, run.record.plan.layout
    records = {name: read_records(file, layout) for name, file in files.items()}
    parts = {name: training_part(plan, own) for name, own in records.items()}
    bits = layout.encode_frame(test)
    y = test[plan.schema_.decision.target].to_numpy()

    def auc(model: bytes) -> float:
        return float(roc_auc_score(y, log_odds(model, bits)))

    theirs = on_all_rows(plan, list(parts.values()))
    same, splits = same_splits(run.booster, theirs, COMPARED_TREES)
    return Comparison(
        equal=is_pooled(run, records),
        auc=auc(run.booster),
        xgboost_auc=auc(theirs),
        alone_auc={name: auc(on_all_rows(plan, [part])) for name, part in parts.items()},
        same=same,
        splits=splits,
        rows=len(y),
    )


def is_pooled(run: FinishedRun, records: Mapping[str, Records]) -> bool:
    """Return True if plain sums over the rows give the same booster, byte for byte.

    Each tree is grown on the rows of the lenders that the record names.
    """
    plan, record = run.record.plan, run.record
    rows = {name: LocalRows(plan, own.states, own.outcomes) for name, own in records.items()}
    found = pooled(plan, rows, record.grown(), record.usable, record.scored)
    return booster_json(plan, found.kept) == run.booster


def training_part(plan: Plan, records: Records) -> Rows:
    """Return the rows of a lender that trees are grown on."""
    y = records.outcomes.astype(np.int8)
    held_out = validation_rows(plan.seed, plan.validation_share, records.states.T, y)
    return Rows(bits_of(plan.layout, records)[~held_out], y[~held_out])


def bits_of(layout: Layout, records: Records) -> Bits:
    """Return the bits of records, shape (rows, n_bits)."""
    first = np.array([code.first_state for code in layout.codes])
    return layout.bits_of_states(records.states + first)
