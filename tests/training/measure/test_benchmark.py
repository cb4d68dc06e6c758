"""The benchmark with tiny settings: its figures are right, and every part can be skipped."""

import json
import os
from functools import partial

import numpy as np
import pytest

import training.measure.benchmark
from contract.http import Traffic
from engines.deployment import Deployment, write_manifest
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, REASONS, SIGN_OF
from engines.levelled.build import build
from engines.levelled.ceremony import CEREMONY_STEPS
from engines.levelled.parameters import DEFAULT
from model.booster import parse_ensemble
from tests.conftest import write_small_deployment
from tests.training.measure.fragile import Fragile
from training.frontier import programs_for
from training.held_out import HeldOut, held_out
from training.measure import scaling, unmodified
from training.measure.application_time import application_time, traffic_by_step
from training.measure.benchmark_tables import PARTS, markdown_sections, marks, replace_table, table
from training.measure.engine_process import EngineProcess
from training.measure.interleaved import Contender, explained_first, in_turn, medians, paired
from training.measure.levelled_steps import LevelledSteps
from training.measure.levelled_tables import LEVELLED, UNMODIFIED, levelled_rows
from training.measure.machine import descendants, peak_bytes
from training.measure.noise_table import noise_table
from training.measure.remote import Remote
from utils.errors import EvaluationFailed, MalformedMessage, OutOfStep, TrainingDataInvalid

PARTIES = ["applicant", "bank", "credit_agency"]


@pytest.fixture(scope="session")
def small_levelled(tmp_path_factory, schema, layout, small_booster, small_programs, credit_data):
    """A small levelled model whose metrics record training on 1000 synthetic rows."""
    folder = tmp_path_factory.mktemp("levelled_deployment")
    write_small_deployment(folder, schema, small_booster, small_programs, {})
    own = partial(programs_for, small_booster, layout, credit_data[0][0], seconds=0.5)
    write_manifest(folder, {LEVELLED: build(own, layout, folder)})
    recorded = {"data": {"drawn": 1000, "seed": 5, "target": "Denied"}}
    (folder / "metrics.json").write_text(json.dumps(recorded))
    return Deployment.load(folder)


@pytest.fixture(scope="session")
def rows(small_levelled):
    return held_out(small_levelled)


@pytest.fixture(scope="session")
def quick(small_levelled, tmp_path_factory):
    """Return the command's output for one engine, without the longest parts."""
    written = tmp_path_factory.mktemp("written") / "result.json"
    arguments = ["--deployment", small_levelled.folder, "--engines", LEVELLED, "--quick"]
    left_out = ["--no-unmodified", "--no-application"]
    arguments = [*map(str, arguments), *left_out, "--json", str(written)]
    assert training.measure.benchmark.main(arguments) == 0
    return json.loads(written.read_text())


def test_the_levelled_engine_is_measured_step_by_step(quick):
    own = quick["engines"][LEVELLED]
    assert own[DECIDE]["runs"] == 2 and own[DECIDE]["equal_scores"] == 2
    assert own[EXPLAIN]["runs"] == 1 and own[EXPLAIN]["equal_scores"] == 11
    assert own["agreement"] > 0.98 and abs(own["auc_difference"]) < 0.01
    steps = own["steps"]
    assert steps["rounds"] == 2
    assert list(steps["keys"]["step_seconds"]) == list(CEREMONY_STEPS)
    assert steps["keys"]["slowest_step_seconds"] == max(steps["keys"]["step_seconds"].values())
    assert list(steps["encrypt_seconds"]) == PARTIES
    for name in PROGRAMS:
        times = steps["programs"][name]
        assert 0 < times["transform_seconds"] < times["evaluate_seconds"] < 5
        assert times["open_seconds"] > 3 * times["part_seconds"]
        assert 0 < times["sign"]["part_seconds"] < times["compare_seconds"] < 5
        assert times["masks_seconds"] > 0
        masks = steps["bytes"][f"masks, {name}"] - own["recorded"]["mask_bytes"][name]
        assert 0 < masks < 1024  # the envelope
        # The engine's own process runs the program, with the check, and the comparison.
        if name == REASONS:
            continue  # measured step by step only
        both = times["evaluate_seconds"] + times["compare_seconds"]
        # A single run of a fifth of a second on a busy machine can take several times as long.
        assert both / 4 < own[name]["evaluate_seconds"] < 10 * both
    assert 0 < steps["check_seconds"] < 5
    sizes = own["recorded"]["input_bytes"]
    for party in PARTIES:
        assert 0 < steps["bytes"][f"inputs, {party}"] - sizes[party][0] < 1024  # the envelope
    assert 20e6 < own["peak_bytes"] < 4e9


def test_opened_scores_are_measured_without_a_comparison(levelled_deployment, rows):
    steps = LevelledSteps(levelled_deployment)
    steps.round(rows.bits[0])
    figures = steps.figures()
    assert not {"compare_seconds", "masks_seconds", "sign"} & set(figures["programs"][DECIDE])
    assert not [name for name in figures["bytes"] if "mask" in name]


def test_skipped_parts_are_none(quick):
    assert quick["http"] is None and quick["application"] is None
    assert quick["ratios"] == {} and quick["rows"] == []
    assert UNMODIFIED not in quick["engines"]
    assert len(quick["scaling"]["models"]) == 2 and len(quick["noise"]) == 15


def test_the_tables_show_what_was_measured(quick, tmp_path):
    text = table(quick)
    for shown in (
        "external products of a decision",
        "decide: comparison with 0, counted within",
        "decide: check that all inputs are bits, counted within",
        "masks of an explanation, each party",
        "public-key zero",
        "5 x 2",
        "machine: ",
    ):
        assert shown in text
    document = tmp_path / "text.md"
    begin, end = marks("noise")
    absent = "\n".join(marks("application"))
    document.write_text(f"before\n{begin}\nold\n{end}\nbetween\n{absent}\nafter\n")
    replace_table(document, quick)
    found = document.read_text()
    assert "old" not in found and "| cut of the words |" in found
    assert found.endswith(f"between\n{absent}\nafter\n")  # not measured: left as it was
    assert marks("scaling")[0] not in found  # no marks: not added
    replace_table(document, quick)
    assert document.read_text() == found
    assert (
        found[found.index(begin) : found.index(end) + len(end)]
        == (markdown_sections(quick)[begin, end])
    )


def test_every_part_has_a_flag(capsys):
    with pytest.raises(SystemExit):
        training.measure.benchmark.main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"--no-{part}" in printed for part in PARTS)


def test_ratios_compare_models_of_the_same_shape(quick):
    own = quick["engines"][LEVELLED]
    peer = {**own, DECIDE: {**own[DECIDE], "evaluate_seconds": 10.0}}
    faster = {**own, DECIDE: {**own[DECIDE], "evaluate_seconds": 0.01}}
    engines = {LEVELLED: own, UNMODIFIED: faster, "concrete_ml": peer}
    lines = {row["name"]: row for row in levelled_rows({"engines": engines})}
    assert lines["decide"]["ratio"] == pytest.approx(1000)
    assert lines["decide"]["ratio_deployed"] == pytest.approx(
        10.0 / own[DECIDE]["evaluate_seconds"]
    )
    assert lines["opened to the readers"][LEVELLED] == "sign"
    assert lines["decide"]["concrete"] is None
    assert lines["bits of the score"]["ratio"] is None
    total = lines["encrypted inputs, all parties"][LEVELLED]
    assert total == pytest.approx(
        sum(lines[f"encrypted inputs, {party}"][LEVELLED] for party in PARTIES)
    )


def test_measured_noise_matches_the_model(small_levelled, rows):
    programs = small_levelled.programs_of(LEVELLED)
    lines = {
        line["noise"]: line for line in noise_table(programs, PARTIES, DEFAULT, rows.bits[:2], 30)
    }
    for name, line in lines.items():
        few = line["samples"] < 100  # signs before the opening: too few to compare closely
        assert abs(line["difference_bits"]) < (2 if few else 0.5), name
        if line["bound_log2"] is not None and not few:
            assert line["measured_log2"] < line["bound_log2"] + 0.5
            assert line["model_log2"] <= line["bound_log2"] + 1e-9
    for name in ("public-key zero", "cut of the words", "external product"):
        assert lines[name]["samples"] > 30_000 and abs(lines[name]["difference_bits"]) < 0.1


def test_scores_of_rounded_leaves_stay_within_range(layout, credit_data, small_booster):
    ensemble = parse_ensemble(json.loads(small_booster), layout)
    programs = scaling.leafwise_programs(ensemble, layout, 10)
    scores = programs[DECIDE].scores(credit_data[0][0])
    assert -512 <= scores.min() < 0 < scores.max() < 512
    assert programs[EXPLAIN].scores(credit_data[0][0][:1]).shape == (1, 11)


def test_model_refused_by_the_noise_guard_is_reported(layout, credit_data, monkeypatch):
    monkeypatch.setattr(scaling, "SCORE_WIDTHS", (24,))
    monkeypatch.setattr(scaling, "QUICK_SHAPES", ((3, 2),))
    found = scaling.scaling(layout, credit_data[0], credit_data[1][0], quick=True)
    assert found["models"] == [{"trees": 3, "depth": 2, "score_bits": None}]
    result = {"rows": [], "engines": {}, "http": None, "machine": {}, "scaling": found}
    assert "refused by the noise guard" in table(result)


def test_scaling_stops_at_a_wrong_score(layout, credit_data, monkeypatch):
    monkeypatch.setattr(scaling, "round_to_bits", lambda phases, bits: np.zeros(len(phases), int))
    with pytest.raises(EvaluationFailed, match="trees of depth"):
        scaling.scaling(layout, credit_data[0], credit_data[1][0], quick=True)


def test_unmodified_model_uses_xgboost_defaults(small_levelled, rows, tmp_path):
    training_rows = unmodified.rows_of_training(small_levelled)
    assert training_rows[0].shape == (600, small_levelled.layout.n_bits)
    made = unmodified.write_unmodified(small_levelled, training_rows, tmp_path, trees=4, depth=2)
    parsed = parse_ensemble(json.loads((tmp_path / "booster.json").read_text()), made.layout)
    assert len(parsed.trees) == 4 and list(made.manifest.engines) == [LEVELLED]
    found = unmodified.quality(made, rows)
    assert found["rows"] == 200 and found["agreement"] > 0.98
    assert found["auc_difference"] == pytest.approx(found["float_auc"] - found["auc"])
    unlabelled = unmodified.quality(made, HeldOut(rows.bits, None, "without labels"))
    assert unlabelled["auc"] is None and unlabelled["agreement"] == found["agreement"]


def test_model_without_training_rows_cannot_be_compared(clear_deployment):
    with pytest.raises(TrainingDataInvalid, match="--no-unmodified"):
        unmodified.rows_of_training(Deployment.load(clear_deployment))


def test_wrong_score_stops_the_step_measurement(small_levelled, rows, monkeypatch):
    steps = LevelledSteps(small_levelled.folder)
    combine = type(steps._engine).combine
    monkeypatch.setattr(
        type(steps._engine), "combine", lambda *a: tuple(s + 1 for s in combine(*a))
    )
    with pytest.raises(EvaluationFailed, match=r"but expected"):
        steps.round(rows.bits[0])


def test_a_whole_application_over_http_is_timed(small_levelled, rows):
    programs = small_levelled.programs_of(LEVELLED)
    found = application_time(small_levelled.folder, programs, rows.bits, rounds=1)
    seconds = found["seconds"]
    assert seconds["opening_to_decision"] == pytest.approx(
        seconds["opening_to_keys"] + seconds["records_to_decision"]
    )
    assert 0 < seconds["encrypt, slowest party"] < seconds["records_to_decision"]
    steps = {step["step"]: step for step in found["bytes"]["steps"]}
    assert set(steps["encrypted_inputs"]["sent"]) == set(PARTIES)
    assert max(steps["decide_masks"]["sent"].values()) < 0.7e6
    assert max(steps["explain_masks"]["sent"].values()) < 7e6
    assert list(steps["decide_masked"]["sent"]) == PARTIES[:1]
    assert list(steps["challenge"]["sent"]) == PARTIES[:1]
    run = (DECIDE, EXPLAIN)
    assert {f"confirm:{SIGN_OF[name]}" for name in run} < set(steps)
    assert all(seconds[f"run of {final}"] > 0 for name in run for final in (name, SIGN_OF[name]))
    assert sum(found["bytes"]["sent"].values()) < 34e6
    assert {"server", "server's worker", "witness"} < set(found["peak_bytes"])
    assert len(found["peak_bytes"]) == 6 and min(found["peak_bytes"].values()) > 10e6


def test_traffic_is_counted_for_its_receivers():
    items = [
        {"sender": "a", "receiver": None, "what": "hello", "bytes": 10},
        {"sender": "b", "receiver": "a", "what": "partial:decide", "bytes": 5},
        {"sender": "b", "receiver": "server", "what": "encrypted_inputs", "bytes": 100},
        {"sender": "server", "receiver": None, "what": "ran decide", "bytes": 1000},
        {"sender": "server", "receiver": "a", "what": "result of decide", "bytes": 1000},
    ]
    items = [{"number": i, "at": "", **item} for i, item in enumerate(items)]
    found = traffic_by_step(Traffic.model_validate({"items": items}), ["a", "b"])
    assert found["sent"] == {"a": 10, "b": 105}
    assert found["received"] == {"a": 1005, "b": 10}
    assert [step["step"] for step in found["steps"]] == [
        "hello",
        "partial:decide",
        "encrypted_inputs",
        "result of decide",
    ]


def test_contenders_take_applicants_in_turn(clear_deployment, rows):
    deployment = Deployment.load(clear_deployment)
    order = explained_first(deployment, rows, 2)
    assert sorted(order) == list(range(len(rows.bits)))
    assert (deployment.programs[DECIDE].scores(rows.bits[order[:2]]) < 0).all()
    seen = []
    with (
        EngineProcess("clear", clear_deployment) as many,
        EngineProcess("clear", clear_deployment) as few,
    ):
        contenders = {"many": Contender(many, 3, 2, repeats=2), "few": Contender(few, 1, 0)}
        timings = in_turn(contenders, rows, order, lambda i, bits: seen.append(i))
    assert seen == [0, 1, 2]
    assert [len(timings["many"][p]) for p in (DECIDE, EXPLAIN)] == [3, 2]
    assert [len(timings["few"][p]) for p in (DECIDE, EXPLAIN)] == [1, 0]
    assert paired(timings) == {DECIDE: 1, EXPLAIN: 2}
    found = medians(timings["many"], paired(timings))
    assert found[DECIDE]["paired_runs"] == 1 and found[DECIDE]["equal_scores"] == 6
    assert medians(timings["few"], paired(timings))[EXPLAIN] is None


def test_remote_object_returns_results_and_survives_errors():
    with Remote("fragile", Fragile, 1) as remote:
        assert remote.call("add", 2) == 3
        with pytest.raises(OutOfStep, match="Only more"):
            remote.call("add", -1)
        remote.begin("add", 4)
        assert remote.answer() == 7
        process = remote._process.pid
        assert process in descendants(os.getpid())
        assert 5e6 < remote.peak_bytes() < 4e9
        assert abs(peak_bytes(process) - remote.peak_bytes()) < 50e6, "of that process alone"
        with pytest.raises(EvaluationFailed, match="fragile has ended"):
            remote.call("die")
    assert peak_bytes(process) == 0


def test_remote_object_reports_its_creation_error():
    with Remote("fragile", Fragile, None) as remote, pytest.raises(MalformedMessage, match="hold"):
        remote.call("add", 1)
