"""The trial of manipulations on few tries, and that it tells of one that is not found."""

import random

import pytest

from trials import log_manipulations
from trials.log_manipulations import FAMILIES, TARGETS, WAYS, main, run
from trials.logged_uses import a_log


def test_every_manipulation_is_found_and_an_unverified_reader_accepts_it():
    counts = run(tries=70, seed=17)
    assert set(counts) == {(target, family) for target in TARGETS for family in FAMILIES}
    for place, each in counts.items():
        assert each["tried"] >= 3, place
        assert each["found"] == each["tried"] == each["unverified"], place


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("database", "audit"),
        ("log", "require_cosigners"),
        ("decision file", "decision_file.verify"),
    ],
)
def test_trial_tells_if_a_verifier_finds_nothing(monkeypatch, target, name):
    monkeypatch.setattr(f"trials.log_manipulations.{name}", lambda *_: None)
    found = [WAYS[target](family, a_log(1), random.Random(1)).found for family in FAMILIES]
    assert not all(found)


def test_exit_status_is_that_of_the_counts(monkeypatch, capsys):
    assert main(["--tries", "3", "--seed", "1"]) == 0
    assert "| all | | 3 | 3 | 3 |" in capsys.readouterr().out
    monkeypatch.setattr(log_manipulations, "audit", lambda *_: 0)
    assert main(["--tries", "18", "--seed", "1"]) == 1
