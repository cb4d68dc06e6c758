"""Evaluation stops at the first score that differs; the table shows the benchmark's figures."""

import json
import signal

import numpy as np
import pytest

import training.evaluate
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, REASONS
from model.polynomial import sample_states
from tests.conftest import write_small_deployment
from training import synthetic
from training.data import split, training_frame
from training.encrypted_runs import EncryptedRuns, same_scores
from training.held_out import held_out
from training.measure.benchmark import comparison_rows, table
from training.measure.engine_process import EngineProcess
from utils.errors import DeploymentMissing, EvaluationFailed, MalformedMessage, TrainingDataInvalid

BINS = 11
"""Scores of an explanation: the bins of the explained column, and of the other varied ones."""
STATED = 8


def evaluate(deployment, *more):
    arguments = ["--deployment", deployment, "--engine", "clear", "--applicants", 5]
    return training.evaluate.main([str(a) for a in (*arguments, "--explanations", 2, *more)])


def test_equal_scores_are_counted_printed_and_written(clear_deployment, tmp_path, capsys):
    assert evaluate(clear_deployment, "--json", tmp_path / "result.json") == 0
    printed = capsys.readouterr().out
    assert f"clear: 5 decisions and 2 explanations ({2 * BINS} scores) equal" in printed
    assert "random records of the schema" in printed  # this deployment does not record its data
    (result,) = json.loads((tmp_path / "result.json").read_text())
    assert result["scores_equal"] == {DECIDE: 5, EXPLAIN: 2 * BINS, REASONS: 2 * STATED}
    assert result["difference"] is None
    assert all(result[f"{name}_seconds"] > 0 for name in PROGRAMS)


def test_all_engines_of_the_deployment_are_evaluated(clear_deployment, capsys):
    assert evaluate(clear_deployment, "--engine", "all") == 0
    assert capsys.readouterr().out.count("equal to the reference") == 1


def test_the_levelled_engine_is_evaluated_with_its_own_programs(
    levelled_deployment, tmp_path, capsys
):
    arguments = ["--engine", "levelled", "--json", tmp_path / "result.json"]
    assert evaluate(levelled_deployment, *arguments) == 0
    printed = capsys.readouterr().out
    assert f"levelled: 5 decisions and 2 explanations ({2 * BINS} scores) equal" in printed
    assert "(scores of 12 bits) decide like the float model on" in printed
    (result,) = json.loads((tmp_path / "result.json").read_text())
    assert result["score_bits"] == result["agreement"]["score_bits"] == 12
    assert result["agreement"]["share"] > 0.95


def test_signs_and_levels_are_compared_if_only_they_are_opened(signs_deployment):
    runs = EncryptedRuns("levelled", signs_deployment)
    reasons = runs.programs["reasons"]
    opened = set()
    for row in runs.deployment.layout.bits_of_states(reasons.extreme_rows[[0, 5]]):
        runs.decide(row)
        found = runs.reasons().scores
        levels = [
            sum(points >= edge for edge in reasons.edges) for points in reasons.scores(row[None])[0]
        ]
        assert list(found) == levels and found == runs.expected("reasons", row)
        opened |= set(levels)
    assert len(opened) > 2
    row = runs.deployment.layout.bits_of_states(runs.programs["decide"].extreme_rows[:1])[0]
    for timed, name in ((runs.decide(row), "decide"), (runs.explain(row), "explain")):
        assert timed.scores == runs.expected(name, row)
        assert set(timed.scores) <= {0.0, -1.0}
    shared = EncryptedRuns("levelled", signs_deployment, shared=True)
    (score,) = shared.decide(row).scores
    assert (score,) == shared.expected("decide", row) and abs(score) > 1


def test_engine_both_requires_both_engines(levelled_deployment, capsys):
    assert evaluate(levelled_deployment, "--engine", "both") == 1
    assert "not compiled for engine concrete" in capsys.readouterr().err


def off_by_one(monkeypatch, wrong_program, wrong_applicant):
    """Make the reference differ from the engine by one unit; returns the compared scores."""
    true, compared = EncryptedRuns.expected, []

    def expected(self, program, bits):
        compared.append(program)
        scores = true(self, program, bits)
        if program == wrong_program and compared.count(program) == wrong_applicant + 1:
            return (*scores[:-1], scores[-1] + 1)
        return scores

    monkeypatch.setattr(EncryptedRuns, "expected", expected)
    return compared


def test_evaluation_stops_at_the_first_wrong_decision(
    clear_deployment, tmp_path, monkeypatch, capsys
):
    compared = off_by_one(monkeypatch, DECIDE, 3)
    assert evaluate(clear_deployment, "--json", tmp_path / "result.json") == 1
    assert compared == [*PROGRAMS, *PROGRAMS, DECIDE, DECIDE]
    assert "DIFFERENT at applicant 3, decide" in capsys.readouterr().out
    (result,) = json.loads((tmp_path / "result.json").read_text())
    difference = result["difference"]
    assert (difference["applicant"], difference["program"]) == (3, DECIDE)
    assert difference["expected"][0] - difference["opened"][0] == 1
    assert result["scores_equal"] == {DECIDE: 3, EXPLAIN: 2 * BINS, REASONS: 2 * STATED}


@pytest.mark.parametrize("wrong", [EXPLAIN, REASONS])
def test_evaluation_stops_at_the_first_wrong_explanation(
    clear_deployment, monkeypatch, capsys, wrong
):
    compared = off_by_one(monkeypatch, wrong, 1)
    assert evaluate(clear_deployment) == 1
    assert compared == [*PROGRAMS, *PROGRAMS[: PROGRAMS.index(wrong) + 1]]
    assert f"DIFFERENT at applicant 1, {wrong}" in capsys.readouterr().out


def test_an_engine_that_was_not_compiled_is_reported(clear_deployment, capsys):
    assert evaluate(clear_deployment, "--engine", "levelled") == 1
    assert "was not compiled for engine levelled" in capsys.readouterr().err


def test_a_missing_deployment_is_reported(tmp_path, capsys):
    assert evaluate(tmp_path) == 1
    assert "run `make compile`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("opened", "expected", "same"),
    [
        ((1.0, 2.0), (1.0, 2.0), True),
        ((2.0,), (1.0, 2.0), True),  # an engine that runs once per bin opens the highest bins only
        ((1.0,), (1.0, 2.0), False),
        ((), (1.0, 2.0), True),
        ((1.0,), (), False),
        ((1.0, 2.0, 3.0), (2.0, 3.0), False),
    ],
)
def test_same_scores_compares_opened_and_expected_scores(opened, expected, same):
    assert same_scores(opened, expected) is same


@pytest.fixture
def drawn_deployment(tmp_path, schema, small_booster, small_programs):
    """A deployment whose metrics record training on 1000 synthetic rows."""
    write_small_deployment(tmp_path, schema, small_booster, small_programs, {"clear": {}})
    recorded = {"data": {"drawn": 1000, "seed": 5, "target": "Denied"}}
    (tmp_path / "metrics.json").write_text(json.dumps(recorded))
    return EncryptedRuns("clear", tmp_path).deployment


def test_held_out_rows_are_the_test_part_of_the_training_data(drawn_deployment):
    rows = held_out(drawn_deployment)
    assert rows.bits.shape == (200, drawn_deployment.layout.n_bits)
    assert 0.4 < rows.y.mean() < 0.8 and rows.source == "held-out rows"


def test_other_data_is_refused_for_a_model_of_synthetic_data(drawn_deployment, tmp_path):
    with pytest.raises(TrainingDataInvalid, match="Omit --data"):
        held_out(drawn_deployment, [tmp_path / "my.csv"])


def test_report_alone_measures_all_held_out_rows(drawn_deployment, tmp_path, capsys):
    out = tmp_path / "report"
    assert evaluate(drawn_deployment.folder, "--report-only", "--report", out) == 0
    printed = capsys.readouterr().out
    assert "equal to the reference" not in printed and "## Stability" in printed
    report = json.loads((out / "validation.json").read_text())
    assert report["rows"]["count"] == 200 and report["stability"]["training_rows"] == 600
    assert set(report["groups"]) == {"Age", "Family_status", "Income_type"}
    assert {path.name for path in out.iterdir()} == {
        "validation.json",
        "validation.md",
        "calibration.png",
    }
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in out.iterdir())


def test_training_rows_of_another_model_are_refused(drawn_deployment, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    options = (drawn_deployment.folder, "--report-only", "--model", other)
    assert evaluate(*options) == 1
    assert "There is no trained model in" in capsys.readouterr().err
    (other / "booster.json").write_bytes(b"{}")
    assert evaluate(*options) == 1
    assert "is not the deployed one" in capsys.readouterr().err


def test_a_report_needs_labelled_rows(clear_deployment, capsys):
    assert evaluate(clear_deployment, "--report-only") == 1
    assert "needs labelled rows" in capsys.readouterr().err


@pytest.fixture
def from_file(tmp_path, schema, small_booster, small_programs):
    """A deployment that was trained on a file, the file's rows, and the training rows."""
    frame, folder = synthetic.draw(600, 8), tmp_path / "deployment"
    folder.mkdir()
    write_small_deployment(folder, schema, small_booster, small_programs, {"clear": {}})
    recorded = {"data": {"drawn": None, "seed": 5, "target": "Denied"}}
    (folder / "metrics.json").write_text(json.dumps(recorded))
    deployment = Deployment.load(folder)
    part = split(*training_frame(schema, [as_csv(tmp_path, frame)], None, 0, 5), 5).train
    return deployment, frame, (deployment.layout.encode_frame(part.frame), part.y)


def as_csv(folder, frame):
    frame.to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


def test_rows_of_a_file_are_held_out_only_if_they_were_not_trained_on(from_file, tmp_path):
    deployment, frame, training = from_file
    rows = held_out(deployment, [as_csv(tmp_path, frame)], training)
    assert (len(rows.y), rows.source) == (120, "held-out rows")
    unknown = held_out(deployment, [as_csv(tmp_path, frame)])
    assert len(unknown.y) == 120 and "if these are the files of training" in unknown.source
    copy = held_out(deployment, [as_csv(tmp_path, frame.sample(frac=1, random_state=1))], training)
    assert len(copy.y) == len(copy.frame) == 240
    assert "without 360 rows of the file that the model was trained on" in copy.source
    other = held_out(deployment, [as_csv(tmp_path, synthetic.draw(600, 9))], training)
    assert len(other.y) == 600 and "rows of other files" in other.source
    trained = split(frame, (1 - frame["Denied"]).to_numpy(np.int8), 5).train.frame
    with pytest.raises(TrainingDataInvalid, match="trained on all of these rows"):
        held_out(deployment, [as_csv(tmp_path, trained.sample(frac=1, random_state=2))], training)


def test_all_rows_test_an_imported_model(from_file, tmp_path):
    """The rows of an import are not its training rows, so they are neither refused nor left out."""
    deployment, frame, _ = from_file
    (deployment.folder / "metrics.json").unlink()
    y = (1 - frame["Denied"]).to_numpy(np.int8)
    given = deployment.layout.encode_frame(frame), y
    rows = held_out(deployment, [as_csv(tmp_path, frame)], given)
    assert len(rows.y) == 600 and "may have been trained" in rows.source
    assert rows.training is None  # the same rows: no shift to measure
    other = as_csv(tmp_path, synthetic.draw(300, 9))
    assert held_out(deployment, [other], given).training is given


def test_an_engine_runs_in_its_own_process(clear_deployment, layout):
    bits = layout.bits_of_states(sample_states(layout, 2, seed=1))
    here = EncryptedRuns("clear", clear_deployment)
    with EngineProcess("clear", clear_deployment) as engine:
        assert set(engine.facts) == {
            "load_seconds",
            "key_seconds",
            "key_loading_seconds",
            "evaluation_key_bytes",
            "secret_bytes",
        }
        for row in bits:
            timed, expected = engine.decide(row)
            assert timed.scores == expected == here.expected(DECIDE, row)
            timed, expected = engine.explain(row)
            assert timed.scores == expected == here.expected(EXPLAIN, row)
            assert min(timed.encrypt, timed.evaluate, timed.open) >= 0
        assert 20e6 < engine.peak_bytes() < 4e9


def test_an_engine_process_reports_why_it_cannot_start(clear_deployment):
    with pytest.raises(DeploymentMissing, match="not compiled for engine levelled"):
        EngineProcess("levelled", clear_deployment)


@pytest.fixture
def broken_pipes_are_errors():
    """Ignore SIGPIPE: once Concrete has run in this process, a broken pipe would end it."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    yield
    if before is not None:  # None: a handler set by native code, which need not be restored
        signal.signal(signal.SIGPIPE, before)


@pytest.mark.usefixtures("broken_pipes_are_errors")
def test_an_engine_process_that_has_ended_is_reported(clear_deployment):
    with EngineProcess("clear", clear_deployment) as engine:
        with pytest.raises(MalformedMessage, match=r"not the \d+ bits of applicant"):
            engine.decide(np.zeros(3, np.uint8))
        for _ in range(3):  # an error ends the process
            with pytest.raises(EvaluationFailed, match="engine clear has ended"):
                engine.peak_bytes()


def program_figures(seconds, runs, scores):
    return {
        "encrypt_seconds": 0.01,
        "evaluate_seconds": seconds,
        "open_seconds": 0.001,
        "runs": runs,
        "equal_scores": scores,
        "evaluate_min_seconds": seconds,
        "evaluate_max_seconds": seconds,
    }


def engine_figures(seconds, bootstraps, explained=True):
    return {
        "load_seconds": 0.1,
        "key_seconds": 1.0,
        "key_loading_seconds": 0.5,
        "evaluation_key_bytes": 20_000_000,
        "secret_bytes": 1000,
        "peak_bytes": 500_000_000,
        "auc": 0.79,
        "accuracy": None,
        "recorded": {
            "lookups": {DECIDE: bootstraps, EXPLAIN: bootstraps},
            "input_bytes": {"applicant": [1000, 2000], "bank": [500, 500]},
            **({} if bootstraps < 100 else {"bootstraps": bootstraps}),
        },
        DECIDE: program_figures(seconds, 30, 30),
        EXPLAIN: program_figures(2 * seconds, 10, 60) if explained else None,
    }


@pytest.fixture
def measured():
    result = {
        "engines": {
            "concrete": engine_figures(0.1, 10),
            "concrete_ml": engine_figures(20.0, 2280, explained=False),
        },
        "http": {"POST /send_file": 3.25},
        "machine": {"cores": "2"},
    }
    return result | {"rows": comparison_rows(result)}


def test_comparison_has_ratios_of_common_measurements(measured):
    rows = {row["name"]: row for row in measured["rows"]}
    assert rows["decide"] == {
        "name": "decide",
        "unit": "s",
        "value": 0.1,
        "concrete_ml": 20.0,
        "ratio": pytest.approx(200),
    }
    explained = rows["explain, every remaining bin"]
    assert (explained["value"], explained["concrete_ml"], explained["ratio"]) == (0.2, None, None)
    assert rows["accuracy"]["ratio"] is None
    assert rows["all parties' encrypted inputs"]["value"] == pytest.approx(4.0)
    assert rows["evaluation key"]["value"] == pytest.approx(20.0)
    bootstraps = rows["bootstraps per decision"]
    assert (bootstraps["value"], bootstraps["concrete_ml"]) == (10, 2280)


def test_table_shows_every_figure_and_dashes_for_none(measured):
    lines = table(measured).splitlines()
    assert len(lines[1:]) == len(measured["rows"]) + 2 + 2 + 1  # engines, HTTP, machine
    assert lines[1].split() == ["decide,", "s", "0.1", "20", "200"]
    assert lines[2].split()[-2:] == ["-", "-"]
    text = "\n".join(lines)
    assert "10 x explain (60 scores equal to the reference)" in text
    assert "concrete_ml: 30 x decide (30 scores equal to the reference)\n" in text
    assert "POST /send_file" in text and text.endswith("machine: cores 2")


def test_table_omits_http_if_not_measured(measured):
    assert "HTTP" not in table(measured | {"http": None})


def test_rows_that_were_trained_on_are_left_out(tmp_path, schema, small_booster, small_programs):
    frame, files = synthetic.draw(600, 8), tmp_path / "my.csv"
    deployment = tmp_path / "deployment"
    deployment.mkdir()
    write_small_deployment(deployment, schema, small_booster, small_programs, {"clear": {}})
    recorded = {"data": {"drawn": None, "seed": 5, "target": "Denied"}}
    (deployment / "metrics.json").write_text(json.dumps(recorded))
    loaded = EncryptedRuns("clear", deployment).deployment

    def rows(table, training=None):
        table.to_csv(files, index=False)
        return held_out(loaded, [files], training)

    frame.to_csv(files, index=False)
    parts = split(*training_frame(schema, [files], "Denied", 0, 5), 5)
    trained = loaded.layout.encode_frame(parts.train.frame), parts.train.y
    assert (len(rows(frame).y), "if these are the files" in rows(frame).source) == (120, True)
    assert (len(rows(frame, trained).y), rows(frame, trained).source) == (120, "held-out rows")
    copy = rows(frame.sample(frac=1, random_state=1), trained)
    assert len(copy.y) == 240 and "without 360 rows" in copy.source
    table = parts.train.frame.assign(Denied=1 - parts.train.y)
    with pytest.raises(TrainingDataInvalid, match="trained on all of these rows"):
        rows(table.sample(frac=1, random_state=2), trained)
