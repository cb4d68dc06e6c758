"""Options of training.train on invented data: rule, weights, split by time, warnings, proofs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import training.evaluate
import training.selection
import training.train
import training.validation
from features.encoding import Layout
from features.labels import read_labels
from features.schema import Schema
from model.booster import parse_booster
from model.monotone import directions, kept_by_trees
from tests.training.risk_data import DOCUMENT, FREE, SCHEMA, risk_frame, risk_rows
from training.approvals import (
    direction_warnings,
    label_warnings,
    meaning_of_label,
    result_warnings,
)
from training.calibration import from_document
from training.evaluate import require_agreement
from training.frontier import decision_program
from training.held_out import held_out
from training.library import LibraryModel
from training.models import Shape, Stage, fit, model_json
from training.monotone_check import (
    monotone_text,
    proven_directions,
    require_consistent,
    require_monotone,
)
from training.time_split import split_rows
from training.weights import class_weights, sample_weights
from utils.errors import NotMonotone, ResultDiffers, TrainingDataInvalid

LAYOUT = Layout(SCHEMA)
TINY = (Shape("tiny", (Stage(12, 2),)), Shape("tinier", (Stage(8, 1),)))


def train(folder, monkeypatch, frame, *options, code=0, **schema):
    """Run the command with two tiny shapes; returns the folder of the model."""
    monkeypatch.setattr(training.train, "SHAPES", TINY)
    monkeypatch.setattr(training.selection, "REFERENCE", TINY[0])
    monkeypatch.setattr(training.validation, "MOST_REPEATS", 2)
    (folder / "my.json").write_text(json.dumps(DOCUMENT | schema))
    frame.to_csv(folder / "my.csv", index=False)
    named = ["--schema", folder / "my.json", "--data", folder / "my.csv", "--out", folder / "model"]
    assert training.train.main([*map(str, named), *map(str, options)]) == code
    return folder / "model"


def metrics_of(model):
    return json.loads((model / "metrics.json").read_text())


# --- the rule


def test_small_data_is_cross_validated_and_approves_below_the_probability(
    tmp_path, monkeypatch, capsys
):
    decision = DOCUMENT["decision"] | {"scale": {}}
    options = ["--approve-below", 0.3]
    model = train(tmp_path, monkeypatch, risk_frame(700, 4), *options, decision=decision)
    metrics = metrics_of(model)
    printed = capsys.readouterr()
    assert "cross-validation on 560 rows" in metrics["selection"]
    assert metrics["selection"] in printed.out and "points" in printed.out
    assert metrics["data"]["split"].startswith("80 % cross-validation")
    rows = np.load(model / "training_rows.npz")
    assert len(rows["y"]) == 560  # trained again on all but the test
    rule = metrics["decision_rule"]
    assert (rule["kind"], rule["value"]) == ("approve-below", 0.3)
    assert rule["cut_off_probability"] == pytest.approx(0.3, abs=1e-4)
    # The cut-off is in the file: XGBoost's own margins, by the calibration, cross it at 0.
    fresh = risk_rows(3000, seed=9)
    data = (model / "booster.json").read_bytes()
    margins = LibraryModel(data, SCHEMA).log_odds(fresh.bits)
    calibration = from_document(metrics["calibration"])
    assert ((margins > 0) == (calibration.good(margins) > 0.7)).mean() > 0.999
    approved = margins > 0
    near = approved & (margins < 0.4)
    assert 0.2 < 1 - fresh.y[near].mean() < 0.4  # the marginal ones, at about 0.3
    assert metrics["monotone"] == {"income": "rising", "debt": "falling"}
    (repeated,) = metrics["warnings"]  # this data has few different values, as the last one says
    assert "repeat an earlier row" in repeated and printed.err.count("warning") == 1
    low, high = metrics["test"]["auc_interval"]
    assert low < metrics["test"]["auc"] < high
    assert metrics["test"]["bad_rate_approved"] < metrics["test"]["bad_rate_denied"]


def test_impossible_rule_ends_with_one_line(tmp_path, monkeypatch, capsys):
    train(tmp_path, monkeypatch, risk_frame(100, 5), "--approve-below", 1.5, code=1)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("training.train: --approve-below must be a number")
    assert not (tmp_path / "model").exists()


# --- split by time


def test_newest_rows_test_and_those_before_validate(tmp_path, monkeypatch):
    frame = risk_frame(2400, 6)
    model = train(tmp_path, monkeypatch, frame, "--split-by", "date", "--class-weight", "balanced")
    metrics = metrics_of(model)
    assert metrics["data"]["split_by"] == "date" and "by date" in metrics["data"]["split"]
    parts = split_rows(frame, (1 - frame["BAD"]).to_numpy(np.int8), 0, "date")
    train_part, validation, test = (part.frame["date"] for part in vars(parts).values())
    assert train_part.max() < validation.min() and validation.max() < test.min()
    for part in (validation, test):
        assert 0.15 < len(part) / len(frame) < 0.25
    assert metrics["test"]["rows"] == len(test)
    assert len(np.load(model / "training_rows.npz")["y"]) == len(train_part)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["2024-01-01"] * 60, "too few different values"),
        ([f"0{1 + i % 9}/0{1 + i % 7}/2024" for i in range(60)], "day/month and as month/day"),
        (["2024-01-0" + str(1 + i % 9) for i in range(59)] + ["soon"], "row 60"),
    ],
)
def test_column_that_does_not_order_rows_is_refused(written, said):
    y = (np.arange(60) % 2).astype(np.int8)
    with pytest.raises(TrainingDataInvalid, match=said):
        split_rows(pd.DataFrame({"when": written}), y, 0, "when")


def test_part_without_bad_outcomes_is_refused():
    y = (np.arange(100) >= 50).astype(np.int8)
    with pytest.raises(TrainingDataInvalid, match="validation part of 20 rows has only 0"):
        split_rows(pd.DataFrame({"n": np.arange(100)}), y, 0, "n")


@pytest.mark.parametrize(
    ("written", "newest"),
    [
        ([f"{d:02d}.{m:02d}.2024" for m in (1, 2) for d in range(1, 29)], "28.02.2024"),
        ([f"2024-{m:02d}-{d:02d}" for m in (1, 2) for d in range(1, 29)], "2024-02-28"),
        ([f"{m:02d}/{d:02d}/2024" for m in (1, 2) for d in range(1, 29)], "02/28/2024"),
        (list(range(56)), 55),
    ],
)
def test_dates_and_numbers_order_rows(written, newest):
    order = np.random.default_rng(1).permutation(56)
    frame = pd.DataFrame({"n": [written[i] for i in order]})
    parts = split_rows(frame, (order % 2).astype(np.int8), 0, "n")
    assert newest in set(parts.test.frame["n"]) and len(parts.test.y) == 11


# --- weights


def test_weights_change_the_model_and_calibrate_to_the_population(tmp_path, monkeypatch):
    """Bad rows that stand for four in the population: four times the odds of default."""
    frame = risk_frame(2000, 7)
    frame["weight"] = np.where(frame["BAD"] == 1, 4, 1)
    for name in ("plain", "weighted"):
        (tmp_path / name).mkdir()
    plain = metrics_of(train(tmp_path / "plain", monkeypatch, frame))
    options = ["--weights", "weight"]
    weighted = metrics_of(train(tmp_path / "weighted", monkeypatch, frame, *options))

    def odds(metrics):
        return np.mean([line["approved_share"] for line in metrics["cut_offs"]])

    assert odds(weighted) < odds(plain) - 0.1
    assert weighted["test"]["approved_share"] < plain["test"]["approved_share"] - 0.1
    assert weighted["data"]["weights"] == "weight"


def test_class_weights():
    y = np.array([1, 1, 1, 0], np.int8)
    balanced = class_weights("balanced", y)
    assert balanced[:3].sum() == pytest.approx(balanced[3]) and balanced.sum() == pytest.approx(4)
    assert class_weights("5", y).tolist() == [1, 1, 1, 5]
    for wrong in ("0", "-1", "nan", "inf", "much"):
        with pytest.raises(TrainingDataInvalid, match="--class-weight"):
            class_weights(wrong, y)


@pytest.mark.parametrize("texts", [["1", "x"], ["1", "-1"], ["1", "inf"], [None, "1"], ["0", "0"]])
def test_unusable_sample_weights_are_refused(texts):
    with pytest.raises(TrainingDataInvalid, match="Column w cannot weigh"):
        sample_weights(pd.Series(texts), "w")


def test_option_naming_an_unknown_column_or_the_label_is_refused(tmp_path, monkeypatch, capsys):
    for name in ("nothing", "BAD"):
        train(tmp_path, monkeypatch, risk_frame(60, 1), "--weights", name, code=1)
        assert "training.train: " in capsys.readouterr().err.splitlines()[-1]


# --- warnings


def test_label_read_the_wrong_way_round_warns(tmp_path, monkeypatch, capsys):
    """GOOD with 0 as approved approves the bad; every statement about it is on stderr."""
    frame = risk_frame(300, 8)
    frame["GOOD"] = 1 - frame["BAD"]
    options = ["--target", "GOOD", "--approval-rate", 0.98]
    model = train(tmp_path, monkeypatch, frame, *options)
    printed = capsys.readouterr()
    assert "Label GOOD: 0 means approved" in printed.out
    said = metrics_of(model)["warnings"]
    assert any("called GOOD" in s and "decision.approved_value" in s for s in said)
    assert any("good outcomes become rarer" in s for s in said)  # more income
    assert any("would approve" in s and "--approve-below" in s for s in said)
    assert all(s in printed.err for s in said)


def test_meaning_of_other_labels_is_said_once():
    """The note on labels 1 and 2 and the sentence after it agree on the label of approval."""
    read = read_labels("BAD", SCHEMA.decision, ["1", "2"], [3, 1])
    said = meaning_of_label(SCHEMA.decision, "BAD", np.array([1, 1, 1, 0], np.int8), read.notes)
    assert "1 means approval" in read.notes[0] and "75.0% of 4 rows" in said
    assert "means" not in said


@pytest.mark.parametrize(
    ("target", "value", "share", "warns"),
    [
        ("BAD", 0, 0.8, False),
        ("BAD", 1, 0.2, True),
        ("GOOD", 1, 0.8, False),
        ("loan_paid", 0, 0.8, True),
        ("isDefault", 1, 0.8, True),
        ("default_payment", 0, 0.8, False),
        ("TARGET", 0, 0.2, True),
        ("TARGET", 0, 0.8, False),
        ("status", "good", 0.8, False),
        ("status", "bad", 0.3, True),
        ("status", "charged off: loss", 0.8, True),
    ],
)
def test_words_and_shares_tell_the_wrong_way_round(target, value, share, warns):
    decision = SCHEMA.decision.model_copy(update={"approved_value": value})
    y = (np.arange(1000) < 1000 * share).astype(np.int8)
    assert bool(label_warnings(decision, target, y)) == warns


def test_direction_that_the_rows_contradict_warns():
    rows = risk_rows(800, 3)
    assert direction_warnings(SCHEMA, LAYOUT, rows.bits, rows.y) == []
    turned = direction_warnings(SCHEMA, LAYOUT, rows.bits, 1 - rows.y)
    assert len(turned) == 2 and "income" in turned[0] + turned[1]


@pytest.mark.parametrize("stated", [{}, {"direction": "more"}])
def test_contrary_direction_that_is_only_assumed_warns_in_few_rows(stated):
    """Without `direction`, a debt of which less is better is told however few the rows are."""
    explanation = {"column": "debt", "phrase": "of debt", "monotone": False}
    document = json.loads(json.dumps(FREE.model_dump(mode="json")))
    layout = Layout(Schema.parse(document | {"explanation": explanation | stated}))
    rows = risk_rows(40, 3)
    said = direction_warnings(layout.schema, layout, rows.bits, rows.y)
    assert [("debt" in each, "explanation.direction" in each) for each in said] == (
        [] if stated else [(True, True)]
    )


def test_approved_with_more_defaults_warn():
    found = {"approved_share": 0.5, "bad_rate_approved": 0.3, "bad_rate_denied": 0.2}
    (warning,) = result_warnings(found)
    assert "30.0% against 20.0%" in warning
    assert result_warnings(found | {"bad_rate_denied": 0.4}) == []


# --- monotone programs


def test_directions_are_proven_and_an_unconstrained_booster_is_refused():
    rows = risk_rows(1500, 2)
    shape = Shape("deep", (Stage(12, 3),))
    constrained = model_json(fit(shape, LAYOUT, rows.bits, rows.y))
    program = decision_program(constrained, LAYOUT, rows.bits, 12)
    assert require_monotone(program, LAYOUT) == {"income": 1, "debt": -1}
    assert kept_by_trees(parse_booster(constrained, LAYOUT), LAYOUT, directions(SCHEMA))
    text = monotone_text([program], LAYOUT)
    assert "never falls as `income` grows, and it never rises as `debt` grows" in text
    free = model_json(fit(shape, Layout(FREE), rows.bits, rows.y))
    with pytest.raises(NotMonotone, match=r"debt.*monotone to free"):
        decision_program(free, LAYOUT, rows.bits, 12)
    unproven = decision_program(free, Layout(FREE), rows.bits, 12)
    assert "debt" not in proven_directions(unproven, LAYOUT)
    assert monotone_text([unproven], Layout(FREE)) == ""


def test_column_against_its_explanation_is_refused():
    document = json.loads(json.dumps(DOCUMENT))
    document["explanation"]["direction"] = "less"
    with pytest.raises(TrainingDataInvalid, match=r'Set explanation\.direction to "more"'):
        require_consistent(Schema.parse(document))
    require_consistent(SCHEMA)


# --- agreement with the float model


def test_evaluation_fails_if_the_booster_is_another(levelled_deployment, monkeypatch, capsys):
    """As a library that reads the base score differently, here by 1.4 log-odds."""
    right = LibraryModel.log_odds
    command = ["--deployment", str(levelled_deployment), "--applicants", "0"]
    assert training.evaluate.main(command) == 0
    monkeypatch.setattr(LibraryModel, "log_odds", lambda self, bits: right(self, bits) + 1.4)
    assert training.evaluate.main(command) == 1
    assert "like the float model on only" in capsys.readouterr().err


def test_agreement_floor_is_99_percent():
    agreement = {"beyond_rows": 1000, "beyond": 0.99}
    require_agreement(agreement)
    require_agreement(agreement | {"beyond": None})
    with pytest.raises(ResultDiffers, match=r"98\.90%"):
        require_agreement(agreement | {"beyond": 0.989})


def test_dates_become_months_before_the_reference_date_in_training_and_evaluation(
    tmp_path, monkeypatch
):
    frame = risk_frame(2200, 5)
    months = frame["income"]
    dates = [f"{2033 - m // 12}-{12 - m % 12:02d}-15" for m in months]
    dated = frame.assign(income=dates)
    for name in ("numbers", "dates", "newest"):
        (tmp_path / name).mkdir()
    day = ("--reference-date", "2034-01-01")
    numbers = train(tmp_path / "numbers", monkeypatch, frame.assign(income=months + 0.5))
    model = train(tmp_path / "dates", monkeypatch, dated, *day)
    newest = train(tmp_path / "newest", monkeypatch, dated)
    saved = {m.parent.name: np.load(m / "training_rows.npz")["bits"] for m in (numbers, model)}
    assert (saved["numbers"] == saved["dates"]).all()
    assert (saved["dates"] != np.load(newest / "training_rows.npz")["bits"]).any()
    assert metrics_of(model)["data"]["reference_date"] == "2034-01-01"
    assert metrics_of(newest)["data"]["reference_date"] is None
    # Months of files that lack the newest dates are counted from the same day.
    old = dated[months > 40].reset_index(drop=True)
    old.to_csv(tmp_path / "old.csv", index=False)
    found = held_out(SimpleNamespace(layout=LAYOUT, folder=model), [tmp_path / "old.csv"])
    assert found.frame["income"].min() == pytest.approx(months[months > 40].min() + 0.5, abs=0.1)
