"""Both engines on one deployment give the same applicants the same integers."""

import json
from dataclasses import replace
from functools import lru_cache

import pytest

import training.evaluate
from training.encrypted_runs import EncryptedRuns
from training.evaluate import BOTH


@pytest.fixture(scope="module", autouse=True)
def one_key_for_each_engine():
    """Make the keys of an engine once for both tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.evaluate, "EncryptedRuns", lru_cache(EncryptedRuns))
        yield


SCORES = 11  # of an explanation: 6 bins, 3 values of alternatives and 2 of a pair


def evaluate(deployment, *more):
    arguments = ["--deployment", deployment, "--applicants", 5, "--explanations", 2, *more]
    return training.evaluate.main([str(argument) for argument in arguments])


def test_both_engines_return_equal_scores(both_deployment, tmp_path, capsys):
    arguments = ["--engine", "both", "--applicants", 2, "--explanations", 1]
    assert evaluate(both_deployment, *arguments, "--json", tmp_path / "result.json") == 0
    printed = capsys.readouterr().out
    assert printed.count(f"2 decisions and 1 explanations ({SCORES} scores) equal") == 2
    levelled, concrete = json.loads((tmp_path / "result.json").read_text())
    assert (levelled["engine"], concrete["engine"]) == BOTH
    assert levelled["score_bits"] == concrete["score_bits"] == 7
    compared = concrete["scores_equal"]
    assert {name: levelled["scores_equal"][name] for name in compared} == compared


def test_evaluation_of_both_engines_stops_at_first_difference(both_deployment, monkeypatch, capsys):
    """Of the second engine; that of a single one is tested in tests/training/test_evaluate.py."""
    wrong = BOTH[1]
    true = EncryptedRuns.explain

    def explain(self, bits):
        timed = true(self, bits)
        if self.engine != wrong:
            return timed
        return replace(timed, scores=(*timed.scores[:-1], timed.scores[-1] + 1))

    monkeypatch.setattr(EncryptedRuns, "explain", explain)
    assert evaluate(both_deployment, "--engine", "both") == 1
    printed = capsys.readouterr().out
    assert f"{wrong}: DIFFERENT at applicant 0, explain" in printed
    assert printed.count("DIFFERENT") == 1
