"""Applicants that were not used to train the models of a deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.deployment import Deployment
from features.encoding import Bits, Layout
from federated.boosting.rows import validation_rows
from model.polynomial import sample_states
from training.data import training_frame
from training.models import Labels
from training.time_split import split_rows
from utils.errors import TrainingDataInvalid

_SAMPLE = 512


@dataclass(frozen=True)
class HeldOut:
    """`bits` (rows, n_bits); `y` (rows,) with 1 = approved, or None if there are no labels."""

    bits: Bits
    y: Labels | None
    source: str


def held_out(deployment: Deployment, data: list[Path] | None = None) -> HeldOut:
    """Return the test rows of the deployment's training, drawn or read again.

    For a model trained on files, without `data`, return random records of the schema instead.
    Raises TrainingDataInvalid.
    """
    layout = deployment.layout
    drawn, seed, target, together = None, 0, None, None
    by: str | None = None
    metrics = deployment.folder / "metrics.json"
    if metrics.is_file():
        document = json.loads(metrics.read_bytes())
        recorded, together = document["data"], document.get("federated")
        drawn, seed, target = recorded["drawn"], recorded["seed"], recorded["target"]
        by = recorded.get("split_by")
    if drawn is None and not data:
        states = sample_states(layout, _SAMPLE, seed=7)
        return HeldOut(layout.bits_of_states(states), None, "random records of the schema")
    if data and drawn is not None:
        raise TrainingDataInvalid(
            "The deployment was trained on synthetic data. Omit --data to test on its own "
            "held-out rows."
        )
    extra = [] if by is None else [by]
    frame, y = training_frame(layout.schema, data, target, drawn or 0, seed, extra)
    if together is not None:
        return _of_several_lenders(layout, layout.encode_frame(frame), y, seed, together)
    test = split_rows(frame, y, seed, by).test
    return HeldOut(layout.encode_frame(test.frame), test.y, "held-out rows")


def _of_several_lenders(
    layout: Layout, bits: Bits, y: Labels, seed: int, together: dict[str, Any]
) -> HeldOut:
    """Return the rows that no lender has trained on, or all if the plan held out none."""
    first = np.array([code.first_state for code in layout.codes])
    columns = (layout.states(bits) - first).T.astype(np.uint8)
    share = together["validation_share"]
    if not share:
        return HeldOut(bits, y, "rows that may have been trained on")
    chosen = validation_rows(seed, share, columns, y)
    if not chosen.any():
        raise TrainingDataInvalid(
            "None of these rows was held out of the training; give more rows with --data."
        )
    return HeldOut(bits[chosen], y[chosen], "held-out rows")
