"""Choosing a model and compiling it: the rule, the tables, and what a compilation leaves behind."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import training.compile
from engines.deployment import Deployment
from engines.registry import load_server_engine
from features.encoding import Layout
from features.schema import Schema
from tests.conftest import METRICS
from training.compile import compile_deployment
from training.frontier import Entry, choose, save, table
from training.group_outcomes import group_outcomes
from utils.errors import DeploymentMissing, ModelTooLarge


def entry(name, auc, bootstraps, **more):
    return Entry(name, auc + 0.001, auc, 0.7, 0.99, 7, bootstraps, bootstraps, 20, **more)


def test_the_cheapest_shape_that_is_good_enough_is_chosen():
    entries = [entry("cheap", 0.780, 0), entry("good", 0.7985, 10), entry("best", 0.801, 80)]
    assert choose(entries, 0.800, 0.002) == 1


def test_of_equally_cheap_shapes_the_better_is_chosen():
    entries = [entry("a", 0.799, 10), entry("b", 0.800, 10), entry("c", 0.805, 11)]
    assert choose(entries, 0.800, 0.002) == 1


def test_the_tolerance_is_inclusive():
    assert choose([entry("exact", 0.75, 0), entry("better", 0.9, 5)], 1.0, 0.25) == 0


def test_where_none_is_good_enough_the_best_is_chosen():
    assert choose([entry("a", 0.70, 0), entry("b", 0.75, 90), entry("c", 0.74, 5)], 0.8, 0.002) == 1


def test_the_table_marks_the_choice_and_leaves_out_what_was_not_timed():
    chosen = entry("good", 0.7985, 10, decide_seconds=0.1234, explain_seconds=0.25, chosen=True)
    text = table([entry("cheap", 0.78, 0), chosen], 0.8)
    head, columns, cheap, good = text.splitlines()
    assert "AUC 0.8000" in head and "PBS" in columns
    assert cheap.startswith("  cheap") and cheap.split()[-2:] == ["-", "-"]
    assert good.startswith("> good") and good.split()[-2:] == ["0.123", "0.250"]
    assert len(cheap) == len(good) == len(columns)


def test_the_frontier_is_saved_with_a_plot(tmp_path):
    entries = [entry("cheap", 0.78, 0), replace(entry("good", 0.7985, 10), chosen=True)]
    save(entries, 0.8, tmp_path)
    saved = json.loads((tmp_path / "frontier.json").read_text())
    assert saved["reference_auc"] == 0.8
    assert [(e["name"], e["chosen"]) for e in saved["entries"]] == [
        ("cheap", False),
        ("good", True),
    ]
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def audited_schema():
    def column(name, **more):
        return {"name": name, "label": name, "kind": "ordinal", "minimum": 0, "maximum": 9} | more

    home = {"name": "home", "label": "Home", "kind": "categorical", "values": ["own", "rent"]}
    return Schema.parse(
        {
            "name": "tiny",
            "title": "Tiny",
            "parties": [
                {"name": "a", "label": "A", "columns": [home | {"optional": True}]},
                {"name": "b", "label": "B", "columns": [column("years", cuts=[5], default=0)]},
            ],
            "decision": {"target": "bad"},
            "explanation": {"column": "years", "phrase": "years"},
            "audit": ["home", "years"],
        }
    )


def test_group_outcomes_of_a_case_made_by_hand():
    """60 owners, 48 approved; 50 tenants, 20 approved; 2 without an answer, both approved."""
    home = ["own"] * 60 + ["rent"] * 50 + [None] * 2
    y = np.array([1] * 45 + [0] * 15 + [1] * 30 + [0] * 20 + [0, 0], np.int8)
    approved = np.array([True] * 48 + [False] * 12 + [True] * 20 + [False] * 30 + [True] * 2)
    schema = audited_schema()
    frame = pd.DataFrame({"home": home, "years": [1.0] * len(home)})
    outcomes = group_outcomes(schema, Layout(schema), frame, y, approved)
    own, rent, missing = outcomes["home"]
    assert own == {
        "group": "own",
        "rows": 60,
        "approved_in_data": pytest.approx(0.75),
        "approved_by_model": pytest.approx(0.8),
        "missed": pytest.approx(0.0),
        "impact_ratio": pytest.approx(1.0),
    }
    assert rent["approved_by_model"] == pytest.approx(0.4)
    assert rent["missed"] == pytest.approx(10 / 30)
    assert rent["impact_ratio"] == pytest.approx(0.5)  # the two others are too few to compare with
    assert (missing["group"], missing["rows"], missing["missed"]) == ("missing", 2, None)
    assert missing["impact_ratio"] == pytest.approx(1 / 0.8)
    assert [g["group"] for g in outcomes["years"]] == ["0-5"]  # only states that occur


@pytest.fixture(scope="module")
def compiled(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled") / "deployment"
    compile_deployment(trained, folder, ["clear"], score_bits=7)
    return folder


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_compilation_holds_together_and_has_its_card(compiled):
    deployment = Deployment.load(compiled)
    assert deployment.programs["decide"].score_bits == 7
    card = (compiled / "model_card.md").read_text()
    assert deployment.manifest.model_version in card and "must not decide" in card
    assert json.loads((compiled / "metrics.json").read_text()) == METRICS


def test_compiling_again_gives_the_same_files(trained, compiled, tmp_path):
    compile_deployment(trained, tmp_path / "again", ["clear"], score_bits=7)
    assert files_of(tmp_path / "again") == files_of(compiled)


def test_the_levelled_engine_is_compiled_with_programs_of_its_own(trained, tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        compile_deployment(trained, folder, ["levelled"], score_bits=7)
    assert files_of(folders[0]) == files_of(folders[1])
    deployment = Deployment.load(folders[0])
    assert deployment.programs["decide"].score_bits == 7
    assert deployment.programs_of("levelled")["decide"].score_bits == 12
    assert "with scores of 12 bits" in (folders[0] / "model_card.md").read_text()


def test_another_width_is_another_model(trained, compiled, tmp_path):
    compile_deployment(trained, tmp_path / "wide", ["clear"], score_bits=9)
    wide, narrow = Deployment.load(tmp_path / "wide"), Deployment.load(compiled)
    assert wide.programs["decide"].score_bits == 9
    assert wide.manifest.model_version != narrow.manifest.model_version


def test_an_engine_that_was_not_compiled_is_missing_with_advice(compiled):
    for engine in ("concrete", "concrete_ml"):
        with pytest.raises(DeploymentMissing, match=rf"{engine} \(it has: clear\).*make compile"):
            load_server_engine(engine, compiled)


def test_without_a_model_the_command_says_what_to_run(tmp_path, capsys):
    arguments = ["--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert training.compile.main(arguments) == 1
    assert "run `make train` first" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [None, b"", b"not a zip archive", b"PK\x03\x04 cut short"])
def test_without_training_rows_the_advice_is_to_train_again(trained, tmp_path, damage):
    for name in ("schema.json", "booster.json", "metrics.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    if damage is not None:
        (tmp_path / "training_rows.npz").write_bytes(damage)
    with pytest.raises(DeploymentMissing, match="make train"):
        compile_deployment(tmp_path, tmp_path / "out", ["clear"])


def test_a_failed_compilation_leaves_the_old_folder_and_nothing_else(
    trained, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "deployment"
    compile_deployment(trained, out, ["clear"], score_bits=7)
    before = files_of(out)

    def fail(*arguments):
        raise ModelTooLarge("Too large for the test.")

    monkeypatch.setattr(training.compile, "build_levelled", fail)
    arguments = ["--model", trained, "--out", out, "--engines", "clear", "levelled"]
    assert training.compile.main([*map(str, arguments), "--score-bits", "7"]) == 1
    assert "Too large for the test." in capsys.readouterr().err
    assert files_of(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["deployment"]


def test_a_new_compilation_replaces_every_old_file(trained, tmp_path):
    out = tmp_path / "deployment"
    (out / "concrete").mkdir(parents=True)
    (out / "concrete" / "stale.bin").write_bytes(b"old")
    compile_deployment(trained, out, ["clear"], score_bits=7)
    assert Deployment.load(out).manifest.engines == {"clear": {}}
    assert not (out / "concrete").exists()
