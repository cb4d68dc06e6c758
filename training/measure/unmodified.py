"""An unmodified XGBoost model, 40 trees of depth 3, compiled for the levelled engine.

It has the shape of Concrete ML's model in the benchmark, XGBoost's default parameters, and no
restrictions on pairs or monotone columns. It is trained on the rows of the deployment's model.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from sklearn.metrics import accuracy_score, roc_auc_score

from engines.deployment import (
    Deployment,
    program_file,
    write_manifest,
    write_public,
)
from engines.interface import DECIDE
from engines.levelled.build import build
from engines.levelled.messages import NAME
from features.encoding import Bits
from model.program import Program
from training.compile import training_rows
from training.data import split, training_frame
from training.frontier import programs_for
from training.held_out import HeldOut
from training.library import LibraryModel
from training.models import Labels, model_json
from training.train import MODEL_FOLDER
from utils.errors import TrainingDataInvalid

TREES, DEPTH = 40, 3
_PROOF_SECONDS = 4.0


def train_unmodified(bits: Bits, y: Labels, trees: int = TREES, depth: int = DEPTH) -> bytes:
    """Train a booster with XGBoost's defaults except trees and depth; returns its JSON."""
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": depth,
        "seed": 0,
        "nthread": 1,
    }
    return model_json(xgboost.train(parameters, xgboost.DMatrix(bits, y), trees))


def rows_of_training(deployment: Deployment, data: list[Path] | None = None) -> tuple[Bits, Labels]:
    """Return the training rows of the deployment's model: bits (rows, n_bits), labels (rows,).

    They are those saved by training if they are of this model, and read or drawn again otherwise.
    Raises TrainingDataInvalid or DeploymentMissing.
    """
    if deployment.schema.zero_is_missing:
        raise TrainingDataInvalid(
            "The schema sets zero_is_missing, but models for comparison are trained on dense bits. "
            "Skip the unmodified model with --no-unmodified."
        )
    own = (deployment.folder / "booster.json").read_bytes()
    kept = MODEL_FOLDER / "booster.json"
    if kept.is_file() and kept.read_bytes() == own:
        return training_rows(MODEL_FOLDER, deployment.layout)
    metrics = deployment.folder / "metrics.json"
    recorded = (
        json.loads(metrics.read_text(encoding="utf-8"))["data"] if metrics.is_file() else None
    )
    if recorded is None or (recorded["drawn"] is None and not data):
        raise TrainingDataInvalid(
            "The training rows of the model are not available. Pass their files with --data, or "
            "skip the unmodified model with --no-unmodified."
        )
    schema, seed = deployment.schema, recorded["seed"]
    frame, y = training_frame(schema, data, recorded["target"], recorded["drawn"] or 0, seed)
    part = split(frame, y, seed).train
    return deployment.layout.encode_frame(part.frame), part.y


def write_unmodified(
    deployment: Deployment,
    rows: tuple[Bits, Labels],
    folder: Path,
    trees: int = TREES,
    depth: int = DEPTH,
) -> Deployment:
    """Train and compile into `folder` a deployment for the levelled engine only.

    It opens signs only; its scores have as many bits as the noise guard allows. Raises ModelError.
    """
    layout, (bits, y) = deployment.layout, rows
    booster = train_unmodified(bits, y, trees, depth)
    schema = (deployment.folder / "schema.json").read_bytes()
    for name, data in (("schema.json", schema), ("booster.json", booster)):
        write_public(folder / name, data)
    own: partial[dict[str, Program]] = partial(
        programs_for, booster, layout, bits, seconds=_PROOF_SECONDS
    )
    facts = build(own, layout, folder)
    # No other engine runs this deployment, but every deployment has shared programs.
    for name in facts["external_products"]:
        path = program_file(name)
        write_public(folder / path, (folder / NAME / path).read_bytes())
    write_manifest(folder, {NAME: facts})
    return Deployment.load(folder)


def quality(deployment: Deployment, rows: HeldOut) -> dict[str, Any]:
    """Compare the levelled engine's scores with the float model on all held-out rows.

    `agreement` is the share of equal decisions; `auc_difference` is float AUC minus score AUC.
    """
    booster = LibraryModel((deployment.folder / "booster.json").read_bytes(), deployment.schema)
    margins = booster.log_odds(rows.bits)
    scores = deployment.programs_of(NAME)[DECIDE].scores(rows.bits)[:, 0].astype(np.float64)
    found: dict[str, Any] = {
        "agreement": float(((scores >= 0) == (margins > 0)).mean()),
        "rows": len(scores),
        "auc": None,
        "accuracy": None,
        "float_auc": None,
        "auc_difference": None,
    }
    if rows.y is not None:
        auc, float_auc = (float(roc_auc_score(rows.y, s)) for s in (scores, margins))
        found |= {
            "auc": auc,
            "accuracy": float(accuracy_score(rows.y, scores >= 0)),
            "float_auc": float_auc,
            "auc_difference": float_auc - auc,
        }
    return found
