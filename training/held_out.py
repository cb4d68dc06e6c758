"""Applicants that were not used to train the models of a deployment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engines.deployment import Deployment
from features.encoding import Bits, Layout
from federated.boosting.rows import validation_rows
from model.polynomial import sample_states
from training.data import reference_date, training_frame
from training.data_warnings import shared_rows
from training.models import Labels
from training.time_split import split_rows
from utils.errors import TrainingDataInvalid

_SAMPLE = 512


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
    deployment: Deployment,
    data: list[Path] | None = None,
    training: tuple[Bits, Labels] | None = None,
) -> HeldOut:
    """Return the test rows of the deployment's training, drawn or read again.

    `training` has the bits and labels of the rows that the model was trained on. With it, files
    that are not those of training are measured as a whole, without the rows that were trained on.
    Of an imported model, all rows are measured, since its training rows are not known.
    Dates become months before the same day as in training, if one was given there.
    For a model trained on files, without `data`, return random records of the schema instead.
    Raises TrainingDataInvalid.
    """
    layout = deployment.layout
    drawn, seed, target, together = None, 0, None, None
    by: str | None = None
    reference = None
    metrics = deployment.folder / "metrics.json"
    if metrics.is_file():
        document = json.loads(metrics.read_bytes())
        recorded, together = document["data"], document.get("federated")
        drawn, seed, target = recorded["drawn"], recorded["seed"], recorded["target"]
        by, reference = recorded.get("split_by"), reference_date(recorded)
    if drawn is None and not data:
        states = sample_states(layout, _SAMPLE, seed=7)
        return HeldOut(layout.bits_of_states(states), None, "random records of the schema")
    if data and drawn is not None:
        raise TrainingDataInvalid(
            "The deployment was trained on synthetic data. Omit --data to test on its own "
            "held-out rows."
        )
    extra = [] if by is None else [by]
    read = (layout.schema, data, target, drawn or 0, seed, extra)
    frame, y = training_frame(*read, reference=reference)
    if not metrics.is_file():
        return _of_an_import(layout, frame, y, training)
    if together is not None:
        return _of_several_lenders(layout, frame, y, seed, together)
    parts = split_rows(frame, y, seed, by)
    test = parts.test
    bits = layout.encode_frame(test.frame)
    if drawn is not None:
        fit = layout.encode_frame(parts.train.frame), parts.train.y
        return HeldOut(bits, test.y, "held-out rows", test.frame, training or fit)
    if training is None:
        source = "test rows, held out if these are the files of training"
        return HeldOut(bits, test.y, source, test.frame)
    rest = [_labelled(layout.encode_frame(p.frame), p.y) for p in (parts.train, parts.validation)]
    if shared_rows(_labelled(*training), np.concatenate(rest)).all():
        return HeldOut(bits, test.y, "held-out rows", test.frame, training)
    return _of_other_files(layout, frame, y, training)


def _labelled(bits: Bits, y: Labels) -> Bits:
    """Return rows of bits with their labels, shape (rows, n_bits + 1)."""
    return np.column_stack([bits, y.astype(np.uint8)])


def _of_other_files(
    layout: Layout, frame: pd.DataFrame, y: Labels, training: tuple[Bits, Labels]
) -> HeldOut:
    """Return all rows of files that are not divided as those of training were.

    Some rows equal training rows by chance. If half of the training rows or more are in the files,
    these are training rows in another order, and are left out.
    """
    bits = layout.encode_frame(frame)
    known = shared_rows(_labelled(bits, y), _labelled(*training))
    if known.sum() < len(training[1]) / 2:
        return HeldOut(bits, y, "rows of other files than those of training", frame, training)
    if known.all():
        raise TrainingDataInvalid(
            "The model was trained on all of these rows, so they cannot test it. Name other rows "
            "with --data."
        )
    source = f"without {int(known.sum()):,} rows of the file that the model was trained on"
    return HeldOut(bits[~known], y[~known], source, frame[~known], training)


def _of_an_import(
    layout: Layout, frame: pd.DataFrame, y: Labels, given: tuple[Bits, Labels] | None
) -> HeldOut:
    """Return all rows for a model of other origin; `given` are the rows of its import.

    They need not be rows of its training. The same rows again show no shift, so that they are no
    reference then.
    """
    bits = layout.encode_frame(frame)
    if given is not None and shared_rows(_labelled(bits, y), _labelled(*given)).all():
        given = None
    source = "rows of --data, on which the imported model may have been trained"
    return HeldOut(bits, y, source, frame, given)


def _of_several_lenders(
    layout: Layout, frame: pd.DataFrame, y: Labels, seed: int, together: dict[str, Any]
) -> HeldOut:
    """Return the rows that no lender has trained on, or all if the plan held out none."""
    bits = layout.encode_frame(frame)
    first = np.array([code.first_state for code in layout.codes])
    columns = (layout.states(bits) - first).T.astype(np.uint8)
    share = together["validation_share"]
    if not share:
        return HeldOut(bits, y, "rows that may have been trained on", frame)
    chosen = validation_rows(seed, share, columns, y)
    if not chosen.any():
        raise TrainingDataInvalid(
            "None of these rows was held out of the training; give more rows with --data."
        )
    return HeldOut(bits[chosen], y[chosen], "held-out rows", frame[chosen])
