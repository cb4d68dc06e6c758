"""The shipped deployment: complete, small, fast, and correct under encryption."""

from pathlib import Path

import pytest

from engines.concrete_ml.features import remaining_rows
from engines.concrete_ml.reference import reference_scores as quantised_scores
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, REASONS
from engines.levelled.server import LevelledServer
from engines.registry import ENGINES
from features.schema import Schema
from features.variations import variations
from model.explanation import Outcome, explain_scores
from model.reasons import principal_reasons
from training.encrypted_runs import EncryptedRuns
from training.held_out import held_out
from training.opened import opened_values
from ui.examples import load_examples

FOLDER = Path(__file__).resolve().parents[1] / "deployment_files"
SCHEMA = Schema.load(FOLDER / "schema.json")
EXAMPLES = load_examples(SCHEMA, Deployment.load(FOLDER).manifest.model_version)


@pytest.fixture(scope="module")
def deployment():
    return Deployment.load(FOLDER)


@pytest.fixture(scope="module")
def rows(deployment):
    return held_out(deployment).bits[:3]


@pytest.fixture(scope="module")
def runs():
    return EncryptedRuns("levelled", FOLDER)


def test_shipped_deployment_has_every_engine_and_the_default_schema(deployment, schema):
    assert set(deployment.manifest.engines) == set(ENGINES)
    assert deployment.schema.fingerprint() == schema.fingerprint()


def test_the_manifest_names_every_file_that_an_engine_needs(deployment):
    found = [p for e in ENGINES for p in (FOLDER / e).rglob("*") if p.is_file()]
    own = {p.relative_to(FOLDER).as_posix() for p in found}
    assert own and own <= set(deployment.manifest.files)


def explained(deployment, engine, record):
    """Return the explanation of an engine's integer reference, and its principal reasons.

    The reasons are None of an engine that states none.
    """
    layout, schema = deployment.layout, deployment.schema
    bits = layout.encode(record)[None, :]
    if engine == "concrete_ml":
        score = quantised_scores(FOLDER, layout, bits)[0]
        scores = quantised_scores(FOLDER, layout, remaining_rows(layout, bits[0])).tolist()
        return explain_scores(schema, record, score >= 0, scores), None
    programs = deployment.programs_of(engine)
    score = programs[DECIDE].scores(bits)[0, 0]
    scores = programs[EXPLAIN].scores(bits)[0].tolist()
    points = programs[REASONS].scores(bits)[0].tolist()
    if engine == "levelled":
        points = opened_values(LevelledServer(deployment).public, REASONS, points)
    return explain_scores(schema, record, score >= 0, scores), principal_reasons(schema, points)


def outcome_words(explanation):
    """Return the outcome as the pages state it for an example, in the explanation's own phrase."""
    phrase = SCHEMA.explanation.phrase
    if explanation.outcome is Outcome.ALREADY_APPROVED:
        return "approved"
    if explanation.outcome is Outcome.TURNED:
        years = variations(SCHEMA)[0].limit(explanation.turning_bin)
        return f"denied; {years} {phrase} would likely change it"
    assert explanation.outcome is Outcome.NOT_TURNED
    return f"denied; more {phrase} would likely not change it"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.label)
def test_every_engine_comes_to_the_stated_outcome_of_an_example(deployment, example):
    found = {engine: explained(deployment, engine, example.record) for engine in ENGINES}
    assert {outcome_words(one) for one, _ in found.values()} == {example.expect}
    own = [(one.texts, reasons) for one, reasons in found.values() if reasons is not None]
    assert len(own) == 3
    if example.expect != "approved":  # a denial has the same reasons too
        assert all(each == own[0] for each in own)


def test_examples_cover_every_outcome_and_state_none_for_another_model():
    assert [example.expect.partition(";")[0] for example in EXAMPLES] == [
        "approved",
        "denied",
        "denied",
    ]
    assert len({example.expect for example in EXAMPLES}) == 3
    assert not any(example.expect for example in load_examples(SCHEMA, "another model"))


def test_held_out_applicants_match_the_reference_under_encryption(runs, rows):
    for bits in rows:
        assert runs.decide(bits).scores == runs.expected(DECIDE, bits)
        explained = runs.explain(bits).scores
        assert explained == runs.expected(EXPLAIN, bits)
        assert len(explained) == runs.deployment.schema.explained_outputs
        assert runs.reasons().scores == runs.expected(REASONS, bits)


def test_extreme_records_do_not_wrap_under_encryption(runs):
    layout, program = runs.deployment.layout, runs.deployment.programs_of("levelled")[DECIDE]
    extremes = layout.bits_of_states(program.extreme_rows[:4])
    assert {program.low, program.high} <= set(program.scores(extremes)[:, 0].tolist())
    opened = [runs.decide(bits).scores for bits in extremes]
    assert opened == [runs.expected(DECIDE, bits) for bits in extremes]
    assert {sign for signs in opened for sign in signs} == {0.0, -1.0}
