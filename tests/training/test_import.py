"""Importing a booster: the compiled program decides like XGBoost, or the import fails."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from xgboost import XGBClassifier

import training.compile
import training.train
from engines.deployment import Deployment
from features.encoding import Layout
from features.schema import Schema
from model.booster import parse_booster
from model.polynomial import sample_states
from tests.model.test_booster_versions import FOLDER, SCHEMA, VERSIONS
from tests.strategies import QUICK, schemas
from training import import_check
from training.evaluate import float_agreement
from training.frontier import programs_for
from training.import_check import ImportCheck, domain_rows
from training.library import LibraryModel
from training.measure.unmodified import rows_of_training
from training.models import model_json
from utils.errors import TrainingDataInvalid, UnsupportedBooster

LAYOUT = Layout(Schema.parse(SCHEMA))
ALL_ROWS = np.unique(LAYOUT.bits_of_states(sample_states(LAYOUT, 2000, seed=4)), axis=0)
METRICS = json.loads((FOLDER.parents[2] / "deployment_files" / "metrics.json").read_text())


def model_folder(folder: Path, booster: bytes, **schema):
    """A folder written by training.train with a booster replaced later."""
    folder.mkdir(parents=True)
    bits = LAYOUT.bits_of_states(sample_states(LAYOUT, 300, seed=8))
    labels = np.arange(300, dtype=np.int8) % 2
    np.savez_compressed(folder / "training_rows.npz", bits=np.packbits(bits, axis=1), y=labels)
    (folder / "schema.json").write_text(json.dumps(SCHEMA | schema))
    own = {"booster_sha256": hashlib.sha256(b"the one that was trained").hexdigest()}
    (folder / "metrics.json").write_text(json.dumps(METRICS | own))
    (folder / "frontier.json").write_text("{}")
    (folder / "booster.json").write_bytes(booster)
    return folder


def compile_model(model: Path, out: Path, *engines: str):
    arguments = ["--model", model, "--out", out, "--score-bits", 12]
    arguments += ["--engines", *(engines or ["clear"])]
    return training.compile.main([str(a) for a in arguments])


def fixture(version, kind):
    return (FOLDER / version / f"{kind}.json").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["early_stopped", "early_stopped_forest", "base_score", "sparse"])
def test_compiled_program_decides_like_the_writing_version(tmp_path, capsys, version, kind):
    booster = fixture(version, kind)
    sparse = kind == "sparse"
    assert (
        compile_model(
            model_folder(tmp_path / "model", booster, zero_is_missing=sparse), tmp_path / "out"
        )
        == 0
    )
    margins = np.array(json.loads((FOLDER / version / "margins.json").read_text())[kind])
    place = ALL_ROWS @ (1 << np.arange(7)[::-1])  # rows of margins.json count up in binary
    scores = Deployment.load(tmp_path / "out").programs["decide"].scores(ALL_ROWS)[:, 0]
    assert len(ALL_ROWS) == 4 * 4 * 2
    np.testing.assert_array_equal(scores >= 0, margins[place] > 0)
    assert len(set((scores >= 0).tolist())) == 2
    assert f"written by XGBoost {version}" in capsys.readouterr().out


def test_sparse_booster_is_refused_without_zero_is_missing(tmp_path, capsys):
    model = model_folder(tmp_path / "model", fixture("3.2.0", "sparse"))
    assert compile_model(model, tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert "column Income" in printed and "zero_is_missing" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("booster", "fault"),
    [
        (fixture("3.2.0", "two_classes_softprob"), "multi-class (num_class 2)"),
        (fixture("3.2.0", "several_outputs_a_tree"), "several outputs (num_target 2)"),
        (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner\xef", "not XGBoost's JSON format"),
    ],
)
def test_uncompilable_booster_prints_one_line(tmp_path, capsys, booster, fault):
    assert compile_model(model_folder(tmp_path / "model", booster), tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert fault in printed and "Traceback" not in printed


def test_model_card_of_an_imported_booster_has_no_measurements(tmp_path, capsys):
    model = model_folder(tmp_path / "model", fixture("3.2.0", "plain"))
    assert compile_model(model, tmp_path / "out") == 0
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Not measured" in card and "written by XGBoost 3.2.0" in card
    assert "AUC" not in card and "frontier" not in card and METRICS["shape"] not in card
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert not (tmp_path / "out" / "frontier.json").exists()
    assert "has no measurements" in capsys.readouterr().out


def test_model_card_of_the_trained_booster_has_measurements(tmp_path):
    """Control of the test above."""
    booster = fixture("3.2.0", "plain")
    model = model_folder(tmp_path / "model", booster)
    own = {"booster_sha256": hashlib.sha256(booster).hexdigest(), "groups": {}}
    (model / "metrics.json").write_text(json.dumps(METRICS | own))
    assert compile_model(model, tmp_path / "out") == 0
    assert f"{METRICS['test']['auc']:.4f}" in (tmp_path / "out" / "model_card.md").read_text()


@pytest.mark.parametrize("damage", [None, "", "[]", "{}", "null", '{"booster_sha256": 7}'])
def test_unreadable_metrics_are_ignored(tmp_path, damage):
    model = model_folder(tmp_path / "model", fixture("1.6.2", "plain"))
    (model / "metrics.json").unlink()
    if damage is not None:
        (model / "metrics.json").write_text(damage)
    assert compile_model(model, tmp_path / "out") == 0
    assert "Not measured" in (tmp_path / "out" / "model_card.md").read_text()


def test_evaluation_uses_the_base_score_and_the_used_trees(tmp_path):
    """Regression: training.evaluate used a base score of 0.5 and all trees for 3.2."""
    model = model_folder(tmp_path / "model", fixture("3.2.0", "early_stopped"))
    assert compile_model(model, tmp_path / "out", "levelled") == 0
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "scores of 12 bits give the same decision" in card
    assert float_agreement(Deployment.load(tmp_path / "out"), ALL_ROWS)["share"] == 1.0


def test_booster_read_differently_by_the_library_is_refused(tmp_path, capsys, monkeypatch):
    """A reader that uses the wrong number of trees is detected by the library."""
    model = model_folder(tmp_path / "model", fixture("3.2.0", "early_stopped"))
    read = import_check.parse_booster
    with monkeypatch.context() as patched:
        patched.setattr(
            import_check,
            "parse_booster",
            lambda *given: replace(found := read(*given), trees=found.trees[:-1]),
        )
        assert compile_model(model, tmp_path / "out") == 1
    assert "other log-odds than XGBoost" in (printed := capsys.readouterr().err)
    assert "rows, and other decisions on" in printed
    # Control: read correctly, the booster passes.
    assert compile_model(model, tmp_path / "out") == 0


def test_a_program_of_another_booster_is_refused():
    check = ImportCheck(fixture("3.2.0", "early_stopped"), LAYOUT, ALL_ROWS)
    every_tree = json.loads(fixture("3.2.0", "early_stopped"))
    every_tree["learner"]["attributes"] = {}
    own, other = (
        programs_for(data, LAYOUT, ALL_ROWS, 10)["decide"]
        for data in (fixture("3.2.0", "early_stopped"), json.dumps(every_tree).encode())
    )
    check.check_program(own)
    assert "scores of 10 bits" in check.summary()
    with pytest.raises(UnsupportedBooster, match="differs from XGBoost"):
        check.check_program(other)


def test_compared_rows_cover_every_state_and_leaf():
    ensemble = parse_booster(fixture("3.2.0", "early_stopped_forest"), LAYOUT)
    rows = domain_rows(LAYOUT, ensemble)
    states = LAYOUT.states(rows)
    assert set(states.ravel().tolist()) == set(range(LAYOUT.n_states))
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in ALL_ROWS.tolist()}
    np.testing.assert_array_equal(rows, domain_rows(LAYOUT, ensemble))


def trained(layout, kind, seed):
    """Train the installed XGBoost on random bits; returns the classifier and its predictor."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (120, layout.n_bits)).astype(np.float32)
    labels = np.r_[0, 1, generator.integers(0, 2, 118)]
    settings = {"max_depth": int(generator.integers(1, 5)), "tree_method": "hist", "n_jobs": 1}
    if "forest" in kind:
        settings |= {"num_parallel_tree": 3, "subsample": 0.6, "random_state": seed}
    if "exact" in kind:
        settings |= {"tree_method": "exact"}
    if "base" in kind:
        settings |= {"base_score": float(generator.uniform(0.05, 0.95)), "scale_pos_weight": 3.0}
    form = scipy.sparse.csr_matrix if "sparse" in kind else np.asarray
    if "stopped" in kind:
        model = XGBClassifier(
            n_estimators=15, learning_rate=1.0, early_stopping_rounds=3, **settings
        ).fit(
            form(bits[:80]), labels[:80], eval_set=[(form(bits[80:]), labels[80:])], verbose=False
        )
    else:
        model = XGBClassifier(n_estimators=4, **settings).fit(form(bits), labels)
    return model, lambda rows: model.predict(form(rows.astype(np.float32)), output_margin=True)


KINDS = ["", "exact", "base", "forest", "stopped", "stopped forest", "sparse", "sparse exact"]
KINDS += ["sparse stopped", "sparse stopped forest base"]


@QUICK
@given(schemas(), st.sampled_from(KINDS), st.integers(0, 10_000))
def test_random_boosters_are_read_as_the_library_predicts(schema, kind, seed):
    schema = schema.model_copy(update={"zero_is_missing": "sparse" in kind})
    layout = Layout(schema)
    model, predict = trained(layout, kind, seed)
    data = model_json(model.get_booster())
    rows = np.random.default_rng(seed + 1).integers(0, 2, (200, layout.n_bits)).astype(np.uint8)
    ensemble = parse_booster(data, layout)
    ours = ensemble.base_margin + ensemble.leaf_values(rows).sum(axis=1)
    np.testing.assert_allclose(ours, predict(rows), rtol=0, atol=2e-5)
    np.testing.assert_allclose(
        LibraryModel(data, schema).log_odds(rows), predict(rows), rtol=0, atol=1e-6
    )
    ImportCheck(data, layout, rows[:0])


@QUICK
@given(st.integers(0, 10_000))
def test_early_stopped_booster_matches_predict_over_its_rounds(seed):
    model, _ = trained(LAYOUT, "stopped forest", seed)
    booster = model.get_booster()
    rounds = (0, model.best_iteration + 1)
    expected = booster.predict(
        xgboost.DMatrix(ALL_ROWS), output_margin=True, iteration_range=rounds
    )
    ensemble = parse_booster(model_json(booster), LAYOUT)
    assert len(ensemble.trees) == 3 * rounds[1]
    ours = ensemble.base_margin + ensemble.leaf_values(ALL_ROWS).sum(axis=1)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


def test_training_refuses_zero_is_missing(tmp_path, capsys):
    (tmp_path / "sparse.json").write_text(json.dumps(SCHEMA | {"zero_is_missing": True}))
    arguments = ["--schema", str(tmp_path / "sparse.json"), "--out", str(tmp_path / "model")]
    assert training.train.main(arguments) == 1
    assert "zero_is_missing" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_unmodified_model_refuses_zero_is_missing(tmp_path):
    model = model_folder(tmp_path / "model", fixture("1.6.2", "sparse"), zero_is_missing=True)
    assert compile_model(model, tmp_path / "out") == 0
    with pytest.raises(TrainingDataInvalid, match="--no-unmodified"):
        rows_of_training(Deployment.load(tmp_path / "out"))


def test_failed_import_keeps_the_old_deployment(tmp_path):
    model = model_folder(tmp_path / "model", fixture("1.6.2", "plain"))
    assert compile_model(model, tmp_path / "out") == 0
    before = Deployment.load(tmp_path / "out").manifest
    shutil.copy(FOLDER / "3.2.0" / "multi_class.json", model / "booster.json")
    assert compile_model(model, tmp_path / "out") == 1
    assert Deployment.load(tmp_path / "out").manifest == before
