"""The shipped deployment: complete, small, fast, and correct under encryption."""

from pathlib import Path

import pytest

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, REASONS
from engines.registry import ENGINES
from features.schema import Schema
from model.explanation import Outcome, explain_scores
from training.encrypted_runs import EncryptedRuns
from training.held_out import held_out
from ui.examples import load_examples

FOLDER = Path(__file__).resolve().parents[1] / "deployment_files"
EXPECTED = {
    "approved": Outcome.ALREADY_APPROVED,
    "denied, more years at work would change it": Outcome.TURNED,
    "denied, more years at work would not change it": Outcome.NOT_TURNED,
}
EXAMPLES = load_examples(Schema.load(FOLDER / "schema.json"))


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


def explained(deployment, record):
    bits = deployment.layout.encode(record)[None, :]
    score = deployment.programs[DECIDE].scores(bits)[0, 0]
    scores = deployment.programs[EXPLAIN].scores(bits)[0].tolist()
    return explain_scores(deployment.schema, record, score >= 0, scores)


def test_examples_cover_every_outcome():
    assert {example.expect for example in EXAMPLES} == set(EXPECTED)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.label)
def test_example_has_its_stated_outcome(deployment, example):
    assert explained(deployment, example.record).outcome is EXPECTED[example.expect]


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
