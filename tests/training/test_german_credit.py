"""The schema of the German scorecard: trains on real and synthetic rows, and compiles."""

from __future__ import annotations

import json

import training.compile
import training.train
from engines.deployment import Deployment
from engines.interface import DECIDE
from features.schema import Schema
from model.polynomial import sample_states
from settings import ROOT
from training.encrypted_runs import EncryptedRuns

SCHEMA = ROOT / "features" / "german_credit.json"


def trained(folder, monkeypatch, *arguments):
    """Train one small shape; returns the model's folder and its metrics."""
    monkeypatch.setattr(training.train, "SHAPES", training.train.SHAPES[6:7])
    out = folder / "model"
    named = ["--schema", str(SCHEMA), "--no-timing", "--out", str(out), *arguments]
    assert training.train.main(named) == 0
    return out, json.loads((out / "metrics.json").read_text())


def test_synthetic_rows_train_and_compile_and_run_encrypted(tmp_path, monkeypatch) -> None:
    model, metrics = trained(tmp_path, monkeypatch, "--rows", "3000")
    assert metrics["data"]["source"] == "synthetic (training/synthetic_german.py)"
    assert metrics["test"]["auc"] > 0.65
    assert set(metrics["groups"]) == {"sex", "age"}
    out = tmp_path / "compiled"
    named = ["--model", str(model), "--out", str(out), "--engines", "clear", "levelled"]
    assert training.compile.main(named) == 0
    assert Deployment.load(out).layout.schema == Schema.load(SCHEMA)
    runs = EncryptedRuns("levelled", out)
    layout = runs.deployment.layout
    (bits,) = layout.bits_of_states(sample_states(layout, 1, seed=3))
    assert runs.decide(bits).scores == runs.expected(DECIDE, bits)
