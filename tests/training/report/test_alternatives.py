"""The search finds that dropping a proxy column helps, and its models leave out its bits."""

import csv
import json

import numpy as np
import pytest

import training.report.alternatives as alternatives
from features.encoding import Layout
from features.schema import Schema
from training.alternatives import ALTERNATIVES, PLOT, main
from training.data import split, training_frame
from training.models import Shape, Stage, fit, log_odds, model_json
from training.report.alternatives import (
    Change,
    Measured,
    cut_off_for,
    keep_bits,
    pareto_set,
    possible_changes,
)
from training.report.estimates import Estimate

SHAPE = Shape("small", (Stage(15, 2, learning_rate=0.5),))
CUTS = [10, 20, 30, 40, 50]
DOCUMENT = {
    "name": "proxy",
    "title": "A proxy column",
    "parties": [
        {
            "name": "a",
            "label": "A",
            "columns": [
                {"name": "income", "label": "I", "kind": "ordinal", "minimum": 0, "maximum": 99}
                | {"cuts": CUTS}
            ],
        },
        {
            "name": "b",
            "label": "B",
            "columns": [
                {"name": "district", "label": "D", "kind": "categorical", "values": ["n", "s"]}
            ],
        },
    ],
    "decision": {"target": "bad"},
    "audit_columns": [{"name": "sex", "label": "S", "kind": "categorical", "values": ["f", "m"]}],
}


def rows():
    """Draw rows: outcomes follow income, and were worse for the district of most women."""
    generator = np.random.default_rng(4)
    for _ in range(1500):
        woman = generator.random() < 0.5
        south = generator.random() < (0.85 if woman else 0.15)
        income = int(generator.integers(0, 60))
        risk = 30 - income + 26 * south + generator.normal(0, 10)
        yield {"income": income, "district": "sn"[not south], "sex": "mf"[woman]} | {
            "bad": int(risk > 0)
        }


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return a folder as training writes it, and the data file beside it."""
    folder = tmp_path_factory.mktemp("proxy")
    data = folder / "rows.csv"
    with data.open("w", newline="") as file:
        drawn = list(rows())
        writer = csv.DictWriter(file, list(drawn[0]))
        writer.writeheader()
        writer.writerows(drawn)
    schema = Schema.parse(DOCUMENT)
    layout = Layout(schema)
    frame, y = training_frame(schema, [data], None, 0, 3)
    part = split(frame, y, 3).train
    booster = fit(SHAPE, layout, layout.encode_frame(part.frame), part.y)
    (folder / "schema.json").write_text(json.dumps(schema.model_dump(mode="json")))
    (folder / "booster.json").write_bytes(model_json(booster))
    recorded = {"shape": "small", "data": {"target": "bad", "drawn": None, "seed": 3}}
    (folder / "metrics.json").write_text(json.dumps(recorded))
    return folder


@pytest.fixture
def small_shapes(monkeypatch):
    monkeypatch.setattr(alternatives, "SHAPES", (SHAPE,))
    monkeypatch.setattr("training.alternatives.SHAPES", (SHAPE,))


def run(model, out, *more):
    arguments = ["--model", model, "--data", model / "rows.csv", "--out", out, *more]
    return main([str(argument) for argument in arguments])


@pytest.mark.usefixtures("small_shapes")
def test_dropping_a_proxy_column_raises_the_impact_ratio(model, tmp_path, capsys):
    assert run(model, tmp_path, "--loss", "0.2", "--rounds", "2") == 0
    printed = capsys.readouterr().out
    models = json.loads((tmp_path / ALTERNATIVES).read_text())["models"]
    trained = models[0]
    assert trained["chosen"] and trained["name"] == "the trained model"
    dropped = next(m for m in models if m["name"] == "small; district dropped")
    assert trained["impact_ratio"]["high"] < 0.8 < dropped["impact_ratio"]["value"]
    assert dropped["impact_ratio"]["value"] > trained["impact_ratio"]["value"] + 0.2
    assert dropped["auc"]["value"] < trained["auc"]["value"]  # the outcomes themselves were unequal
    assert dropped["approved"] == pytest.approx(trained["approved"], abs=0.1)
    assert any(m["pareto"] and "district dropped" in m["name"] for m in models)
    # The search went on from there.
    assert any(m["name"] == "small; district dropped; income coarsened" for m in models)
    assert "* small; district dropped" in printed and ">* the trained model" in printed
    assert (tmp_path / PLOT).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / ALTERNATIVES).stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("small_shapes")
def test_a_search_keeps_to_its_bounds(model, tmp_path):
    assert run(model, tmp_path, "--fits", "2") == 0
    models = json.loads((tmp_path / ALTERNATIVES).read_text())["models"]
    assert len(models) == 1 + 2
    assert run(model, tmp_path, "--loss", "0.0001", "--rounds", "3") == 0
    models = json.loads((tmp_path / ALTERNATIVES).read_text())["models"]
    assert len(models) == 2 + len(possible_changes(Layout(Schema.parse(DOCUMENT))))  # one round


def test_changed_models_split_on_no_bit_that_was_left_out(model):
    layout = Layout(Schema.parse(DOCUMENT))
    frame, y = training_frame(layout.schema, [model / "rows.csv"], None, 0, 3)
    bits = layout.encode_frame(frame)
    for changes in ((Change("drop", "district"),), (Change("coarsen", "income"),)):
        kept = keep_bits(layout, changes)
        booster = fit(SHAPE, layout, bits * kept, y)
        document = json.loads(model_json(booster))
        trees = document["learner"]["gradient_booster"]["model"]["trees"]
        used = {
            bit
            for tree in trees
            for bit, left in zip(tree["split_indices"], tree["left_children"], strict=True)
            if left != -1
        }
        assert used and used <= set(np.flatnonzero(kept).tolist())
    coarse = keep_bits(layout, (Change("coarsen", "income"),))
    assert coarse[: len(CUTS)].tolist() == [True, False, True, False, True]


def test_a_cut_off_approves_the_wanted_share():
    margins = np.arange(100.0)
    for wanted in (0.1, 0.5, 0.93):
        assert (margins > cut_off_for(margins, wanted)).mean() == pytest.approx(wanted, abs=0.011)


def test_pareto_set_has_the_models_that_no_other_beats_in_both():
    def measured(area, ratio):
        ends = (Estimate(value, value, value) for value in (area, ratio))
        return Measured("m", (), *ends, approved=0.5)

    models = [measured(*p) for p in ((0.8, 0.6), (0.7, 0.9), (0.7, 0.8), (0.8, 0.6), (0.9, 0.1))]
    assert pareto_set(models) == [True, True, False, True, True]
    assert pareto_set([measured(float("nan"), 1.0), models[0]]) == [False, True]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"schema.json": {"audit_columns": []}}, "names no column to audit"),
        ({"metrics.json": {"data": {}}}, "has no metrics.json of a training"),
        ({"booster.json": None}, "There is no trained model"),
    ],
)
def test_a_model_that_cannot_be_searched_is_refused_in_one_line(
    model, tmp_path, capsys, broken, message
):
    for name in ("schema.json", "metrics.json", "booster.json", "rows.csv"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    for name, change in broken.items():
        if change is None:
            (tmp_path / name).unlink()
        else:
            document = json.loads((tmp_path / name).read_text()) | change
            (tmp_path / name).write_text(json.dumps(document))
    assert run(tmp_path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_data_of_a_model_of_files_has_to_be_named(model, tmp_path, capsys):
    assert main(["--model", str(model), "--out", str(tmp_path)]) == 1
    assert "name the same files with --data" in capsys.readouterr().err


def test_log_odds_are_unchanged_without_changes(model):
    layout = Layout(Schema.parse(DOCUMENT))
    frame, y = training_frame(layout.schema, [model / "rows.csv"], None, 0, 3)
    bits = layout.encode_frame(frame)
    whole = fit(SHAPE, layout, bits, y)
    kept = fit(SHAPE, layout, bits * keep_bits(layout, ()), y)
    assert (log_odds(whole, bits) == log_odds(kept, bits)).all()
