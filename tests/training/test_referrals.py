"""A grey zone from training to encrypted decisions: approved, referred and denied, exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import training.compile
import training.train
from engines.interface import DECIDE, EXPLAIN, REASONS
from engines.levelled.bounds import check_outputs
from features.encoding import Layout
from features.schema import Schema
from model.program import Program, decide_program, explain_program
from model.quantise import quantise
from model.referral import outcome_of, referred_rows
from tests.strategies import QUICK
from tests.training.referring import deployed, model
from tests.training.risk_data import DOCUMENT, SCHEMA, risk_frame
from tests.training.test_training_options import TINY, metrics_of, train
from training.calibration import from_document
from training.encrypted_runs import EncryptedRuns
from training.library import LibraryModel
from training.measure import readers
from training.models import fit, model_json
from utils.errors import OpeningFailed, UnsafeParameters

__all__ = ["deployed", "model"]


def rows_of(deployment, rows=400):
    return deployment.layout.encode_frame(risk_frame(rows, 11))


def test_training_writes_the_zone_between_two_probabilities_of_default(model):
    schema, metrics = Schema.load(model / "schema.json"), metrics_of(model)
    width = schema.decision.refer_below
    calibration = from_document(metrics["calibration"])
    ends = 1 - calibration.good(np.array([0.0, -width]))
    assert ends == pytest.approx([0.25, 0.5], abs=1e-6)
    found = metrics["test"]
    assert 0 < found["referred_share"] < 1 - found["approved_share"]
    assert found["bad_rate_approved"] < found["bad_rate_referred"] < found["bad_rate_denied"]
    decided = metrics["validation"]["decisions"]
    assert decided["referred"]["value"] == pytest.approx(found["referred_share"])
    assert metrics["decision_rule"]["deny_from_probability"] == pytest.approx(0.5, abs=1e-6)


def test_the_integer_program_refers_the_zone_within_its_rounding(model, deployed):
    width = Schema.load(model / "schema.json").decision.refer_below
    booster = LibraryModel((model / "booster.json").read_bytes(), deployed.schema)
    bits = rows_of(deployed)
    margins = booster.log_odds(bits)
    for engine in ("clear", "levelled"):
        program = deployed.programs_of(engine)[DECIDE]
        scores = program.scores(bits)
        grey = scores[:, 1] - scores[:, 0]
        assert (grey == round(width * program.scale)).all()
        assert scores.max() <= program.high < 2 ** (program.score_bits - 1)
        off = np.abs(scores[:, 1] + 0.5 - program.scale * (margins + width))
        assert off.max() <= program.rounding_bound + 0.5 + 1e-6
        referred = referred_rows(scores)
        sure = np.minimum(np.abs(margins), np.abs(margins + width)) * program.scale
        clear = sure > program.rounding_bound + 1
        assert (referred == ((margins < 0) & (margins > -width)))[clear].all()
        assert 0 < referred.sum() < len(referred)


def test_encrypted_decisions_open_the_outcome_and_nothing_else(deployed):
    """Rows next to both edges and at the extremes, under real encryption with joint keys."""
    runs = EncryptedRuns("levelled", deployed.folder)
    program = deployed.programs_of("levelled")[DECIDE]
    bits = np.concatenate([rows_of(deployed), deployed.layout.bits_of_states(program.extreme_rows)])
    scores = program.scores(bits)
    nearest = [np.where(s >= 0, s, 1 << 20).argmin() for s in scores.T]
    nearest += [np.where(s < 0, s, -1 << 20).argmax() for s in scores.T]
    seen = set()
    for row in {*map(int, nearest), len(bits) - 2, len(bits) - 1}:
        opened = runs.decide(bits[row]).scores
        assert opened == tuple(0.0 if s >= 0 else -1.0 for s in scores[row])
        assert opened == runs.expected(DECIDE, bits[row])
        seen.add(outcome_of(opened))
    assert seen == {"approved", "referred", "denied"}
    assert runs.explain(bits[row]).scores == runs.expected(EXPLAIN, bits[row])
    assert runs.reasons().scores == runs.expected(REASONS, bits[row])
    clear = EncryptedRuns("clear", deployed.folder)
    for row in map(int, nearest):
        assert clear.decide(bits[row]).scores == clear.expected(DECIDE, bits[row])


def test_a_party_opens_two_signs_only_if_the_schema_has_a_zone(deployed):
    check_outputs(DECIDE, 2, deployed.schema)
    check_outputs("decide_sign", 2, deployed.schema)
    with pytest.raises(UnsafeParameters):
        check_outputs(DECIDE, 1, deployed.schema)
    with pytest.raises(UnsafeParameters):
        check_outputs("decide_sign", 2, SCHEMA)


def test_outcomes_of_opened_values():
    assert [outcome_of(v) for v in ((0,), (-1,), (0, 0), (-1, 0), (-1, -1), (5, 90))] == [
        *("approved", "denied", "approved", "referred", "denied", "approved")
    ]
    for impossible in ((0, -1), (), (0, 0, 0)):
        with pytest.raises(OpeningFailed):
            outcome_of(impossible)


@QUICK
@given(st.floats(0.01, 20), st.sampled_from([7, 10, 12]))
def test_any_zone_fits_and_leaves_explanations_of_the_score(width, score_bits):
    grey = zoned(width)
    layout = Layout(grey)
    bits = layout.encode_frame(risk_frame(200, 4))
    program = decide_program(quantise(ENSEMBLE, layout, score_bits, bits, 1.0), layout)
    program.check(layout)
    scores = program.scores(bits)
    assert (scores[:, 0] < scores[:, 1]).all()
    assert (np.abs(scores) <= 1 << (score_bits - 1)).all()
    explained = explain_program(program, layout)
    explained.check(layout)
    assert len(explained.outputs) == grey.explained_outputs


def test_without_a_zone_programs_and_fingerprints_are_those_of_before():
    layout = Layout(SCHEMA)
    bits = layout.encode_frame(risk_frame(200, 4))
    program = decide_program(quantise(ENSEMBLE, layout, 12, bits, 1.0), layout)
    assert program.outputs == ("score",) and program.score_polynomial is program.polynomial
    assert "refer_below" not in SCHEMA.model_dump(mode="json")["decision"]
    assert zoned(1.0).fingerprint() != SCHEMA.fingerprint()
    assert Program._parse(json.loads(program.to_json())).outputs == ("score",)


@pytest.mark.parametrize("between", [(0.5, 0.25), (0.2, 0.2), (0.0, 0.5), (0.2, 1.0)])
def test_two_probabilities_must_rise(tmp_path, monkeypatch, capsys, between):
    train(tmp_path, monkeypatch, risk_frame(300, 3), "--refer-between", *between, code=1)
    assert "two rising probabilities" in capsys.readouterr().err


def test_training_for_engines_with_one_key_refuses_a_zone(tmp_path, monkeypatch, capsys):
    wanted = ("--refer-between", 0.2, 0.4, "--engines", "levelled", "concrete", "--no-timing")
    train(tmp_path, monkeypatch, risk_frame(300, 3), *wanted, code=1)
    assert "cannot refer applications to a person" in capsys.readouterr().err


def test_what_readers_learn_is_not_measured_for_a_zone(deployed, capsys):
    assert readers.main(["--deployment", str(deployed.folder)]) == 1
    assert "refers applications to a person" in capsys.readouterr().err


def test_engines_with_one_key_refuse_a_zone(model, capsys, monkeypatch):
    monkeypatch.setattr(training.compile, "can_run", lambda engine: True)
    out = model.parent / "other"
    options = ["--model", model, "--out", out, "--engines", "levelled", "concrete"]
    assert training.compile.main([*map(str, options)]) == 1
    assert "compile with --engines clear levelled" in capsys.readouterr().err
    assert not out.exists()


def zoned(width):
    return Schema.parse(DOCUMENT | {"decision": DOCUMENT["decision"] | {"refer_below": width}})


def _ensemble():
    from model.booster import parse_booster

    layout, frame = Layout(SCHEMA), risk_frame(400, 2)
    y = (1 - frame["BAD"]).to_numpy(np.int8)
    return parse_booster(model_json(fit(TINY[0], layout, layout.encode_frame(frame), y)), layout)


ENSEMBLE = _ensemble()
