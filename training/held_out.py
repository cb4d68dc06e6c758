"""Applicants that were not used to train the models of a deployment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engines.deployment import Deployment
from features.encoding import Bits, Layout
from federated.boosting.rows import validation_rows
from model.polynomial import sample_states
from settings import ROOT
from training.data import Part, training_frame
from training.data_warnings import shared_rows
from training.models import Labels
from training.time_split import split_rows
from utils.errors import DeploymentMissing, TrainingDataInvalid

MODEL_FOLDER = ROOT / "build" / "model"
"""The default folder of training.train."""
_SAMPLE = 512
_COPY_SHARE = 0.5
"""Share of the training rows from which on a file is a copy of the training data, or of a part."""


@dataclass(frozen=True)
class HeldOut:
    """`bits` (rows, n_bits); `y` (rows,) with 1 = approved, or None if there are no labels.

    `frame` has the rows' values, with those of audit-only columns. `training` has the bits and
    labels of the training rows where they are known.
    """

    bits: Bits
    y: Labels | None
    source: str
    frame: pd.DataFrame | None = None
    training: tuple[Bits, Labels] | None = None


def held_out(
    deployment: Deployment, data: list[Path] | None = None, model: Path = MODEL_FOLDER
) -> HeldOut:
    """Return the test rows of the deployment's training, drawn or read again.

    For a model trained on files, without `data`, return random records of the schema instead. With
    `data`, the training rows in `model`, the folder of training.train, tell whether these are the
    rows that were held out; `source` says the result. Of files that are not those of training,
    all rows are returned. Raises TrainingDataInvalid.
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
        return _of_several_lenders(layout, frame, y, seed, together)
    parts = split_rows(frame, y, seed, by)
    trained = _trained_rows(deployment, model)
    test = replace(_rows(layout, parts.test, "held-out rows"), training=trained)
    if drawn is not None:
        fit = layout.encode_frame(parts.train.frame), parts.train.y
        return replace(test, training=trained or fit)
    if trained is None:
        source = f"rows of --data; whether they were trained on cannot be known without {model}"
        return replace(test, source=source)
    rest = [_keys(layout.encode_frame(p.frame), p.y) for p in (parts.train, parts.validation)]
    if shared_rows(_keys(*trained), np.concatenate(rest)).all():
        return test
    return replace(_of_other_rows(layout, frame, y, _keys(*trained)), training=trained)


def _rows(layout: Layout, part: Part, source: str) -> HeldOut:
    return HeldOut(layout.encode_frame(part.frame), part.y, source, part.frame)


def _keys(bits: Bits, y: Labels) -> Bits:
    """Return rows that are equal if their bits and labels are, shape (rows, n_bits + 1)."""
    return np.column_stack([bits, y.astype(np.uint8)])


def _trained_rows(deployment: Deployment, model: Path) -> tuple[Bits, Labels] | None:
    """Return bits and labels of the training rows; None if the folder is not of this model."""
    from training.compile import training_rows  # which imports all compilers

    try:
        booster = (deployment.folder / "booster.json").read_bytes()
        metrics = json.loads((model / "metrics.json").read_bytes())
        if metrics["booster_sha256"] != hashlib.sha256(booster).hexdigest():
            return None
        return training_rows(model, deployment.layout)
    except (OSError, ValueError, LookupError, TypeError, DeploymentMissing):
        return None


def _of_other_rows(layout: Layout, frame: pd.DataFrame, y: Labels, trained: Bits) -> HeldOut:
    """Return rows of a file other than the training's, or in another order, and say so."""
    whole = _rows(layout, Part(frame, y), "")
    rows = _keys(whole.bits, y)
    known = shared_rows(rows, trained)
    if known.sum() < _COPY_SHARE * len(trained) or len(trained) < len(rows) / 2:
        source = (
            f"rows of --data, not of the file of the training; {known.mean():.0%} of the file's "
            "rows have the values of a training row"
        )
        return replace(whole, source=source)
    if len(set(y[~known].tolist())) < 2:
        raise TrainingDataInvalid(
            "The model was trained on these rows, so that they cannot test it; give rows that were "
            "held out with --data."
        )
    source = (
        f"rows of a copy of the training data in another order; {known.sum()} of its rows were "
        "trained on and are left out"
    )
    return _rows(layout, Part(frame[~known], y[~known]), source)


def _of_several_lenders(
    layout: Layout, frame: pd.DataFrame, y: Labels, seed: int, together: dict[str, Any]
) -> HeldOut:
    """Return the rows that no lender has trained on, or all if the plan held out none."""
    whole = _rows(layout, Part(frame, y), "rows that may have been trained on")
    first = np.array([code.first_state for code in layout.codes])
    columns = (layout.states(whole.bits) - first).T.astype(np.uint8)
    share = together["validation_share"]
    if not share:
        return whole
    chosen = validation_rows(seed, share, columns, y)
    if not chosen.any():
        raise TrainingDataInvalid(
            "None of these rows was held out of the training; give more rows with --data."
        )
    return HeldOut(whole.bits[chosen], y[chosen], "held-out rows", frame[chosen])
