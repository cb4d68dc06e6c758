"""The shipped deployment on Concrete: small, fast, and correct under encryption."""

from pathlib import Path

import numpy as np
import pytest

from engines.deployment import Deployment
from engines.envelope import unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLAIN
from training.encrypted_runs import EncryptedRuns
from training.held_out import held_out

FOLDER = Path(__file__).resolve().parents[2] / "deployment_files"


@pytest.fixture(scope="module")
def deployment():
    return Deployment.load(FOLDER)


@pytest.fixture(scope="module")
def rows(deployment):
    return held_out(deployment).bits[:3]


@pytest.fixture(scope="module")
def runs():
    """Concrete with keys of its own."""
    return EncryptedRuns("concrete", FOLDER)


@pytest.fixture(scope="module")
def other_keys(runs):
    return runs.party.make_keys()


def test_keys_and_inputs_are_small(deployment):
    recorded = deployment.manifest.engines["concrete"]
    assert recorded["evaluation_key_bytes"] <= 30e6
    assert set(recorded["input_bytes"]) == set(deployment.schema.party_names)
    assert all(sum(sizes) <= 10_000 for sizes in recorded["input_bytes"].values())


def test_every_bootstrap_has_one_level_and_the_documented_error(deployment):
    parameters = deployment.manifest.engines["concrete"]["parameters"]
    assert [key["level"] for key in parameters["bootstrap"]] == [1]
    assert parameters["p_error"] <= 2.0**-40


def test_recorded_lookups_match_the_programs(deployment):
    recorded = deployment.manifest.engines["concrete"]
    for name in (DECIDE, EXPLAIN):
        program = deployment.programs[name]
        assert recorded["lookups"][name] == len(program.plan.lookups)
        assert recorded["score_bits"] == program.score_bits


def test_held_out_applicants_match_the_reference_under_encryption(runs, rows):
    for bits in rows:
        assert runs.decide(bits).scores == runs.expected(DECIDE, bits)
        explained = runs.explain(bits).scores
        assert explained == runs.expected(EXPLAIN, bits)
        assert len(explained) == runs.deployment.schema.explained_outputs


def test_extreme_records_do_not_wrap_under_encryption(runs):
    layout, program = runs.deployment.layout, runs.deployment.programs[DECIDE]
    extremes = layout.bits_of_states(program.extreme_rows[:4])
    assert {program.low, program.high} <= set(program.scores(extremes)[:, 0].tolist())
    opened = [runs.decide(bits).scores for bits in extremes]
    assert opened == [runs.expected(DECIDE, bits) for bits in extremes]


def test_sizes_match_the_manifest(runs, rows):
    runs.decide(rows[0])
    recorded = runs.deployment.manifest.engines["concrete"]
    _, key = unseal(runs.keys.evaluation)
    assert len(key) == recorded["evaluation_key_bytes"]
    for party, sizes in recorded["input_bytes"].items():
        assert sum(sizes) < runs.upload_bytes[party] < sum(sizes) + 400


def test_two_key_generations_give_different_keys(runs, other_keys):
    assert runs.keys.secret != other_keys.secret
    one, other = (bytes(unseal(k.evaluation)[1]) for k in (runs.keys, other_keys))
    assert len(one) == len(other)
    assert differing(one, other) > 0.9  # in nearly every byte, not only in a header


def test_two_encryptions_of_the_same_bits_differ(runs, rows):
    layout = runs.deployment.layout
    for party in layout.schema.party_names:
        bits = rows[0][layout.party_bits(party)]
        one, other = (
            bytes(unseal(runs.party.encrypt(party, bits, runs.keys.secret))[1]) for _ in range(2)
        )
        assert len(one) == len(other)
        assert differing(one, other) > 0.3  # headers and lengths are the same


def differing(one, other):
    """Return the fraction of bytes that differ; independent random bytes would give 0.996."""
    pair = (np.frombuffer(data, np.uint8) for data in (one, other))
    return float(np.not_equal(*pair).mean())


def test_ciphertext_length_is_independent_of_values(runs, deployment):
    """The first and the last value of every column give messages of equal length."""
    layout = deployment.layout
    for party in layout.schema.party_names:
        first = layout.bits_of_states(np.array([c.first_state for c in layout.codes]))
        last = layout.bits_of_states(
            np.array([c.first_state + c.n_states - 1 for c in layout.codes])
        )
        lengths = {
            len(runs.party.encrypt(party, bits[layout.party_bits(party)], runs.keys.secret))
            for bits in (first, last)
        }
        assert len(lengths) == 1


def test_another_key_does_not_decrypt_the_scores(runs, rows, other_keys):
    """Six scores of three applicants: all 18 are correct by chance with probability 2**-100."""
    layout = runs.deployment.layout
    wrong = 0
    for bits in rows:
        messages = {(layout.schema.party_names[0], EVALUATION_KEY): runs.keys.evaluation}
        for party in layout.schema.party_names:
            own = bits[layout.party_bits(party)]
            messages[party, ENCRYPTED_INPUTS] = runs.party.encrypt(party, own, runs.keys.secret)
        result = runs.server.evaluate(EXPLAIN, messages)
        expected = runs.expected(EXPLAIN, bits)
        assert runs.party.open(EXPLAIN, result, runs.keys.secret) == expected
        opened = runs.party.open(EXPLAIN, result, other_keys.secret)
        wrong += sum(a != b for a, b in zip(opened, expected, strict=True))
    assert wrong >= 14
