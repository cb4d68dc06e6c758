"""The trial of signs runs on the compiled model, and tells of a wrong sign."""

from engines.deployment import Deployment
from engines.interface import DECIDE
from engines.levelled.masks import MaskFormat
from engines.levelled.messages import NAME
from engines.levelled.parameters import DEFAULT
from settings import ROOT
from tests.engines.levelled.joint_keys import joint_keys
from trials.signs import SignRun, main, report, rows_near_the_border


def test_trial_of_both_programs_finds_no_wrong_sign(capsys):
    assert main(["--decisions", "4", "--explanations", "1"]) == 0
    printed = capsys.readouterr().out
    assert "4 signs of 4 rows, 0 wrong" in printed and "11 signs of 1 rows, 0 wrong" in printed


def test_trial_counts_signs_that_differ_from_the_reference(capsys):
    """An offset for wider steps moves the border, so that score -1 counts as approved."""
    deployment = Deployment.load(ROOT / "deployment_files")
    program = deployment.programs_of(NAME)[DECIDE]
    rows = rows_near_the_border(program, deployment.layout)
    scores = program.scores(rows)[:, 0]
    assert {-1, 0, 1, scores.max()} <= set(scores.tolist())
    chosen = [scores.tolist().index(score) for score in (-1, 0, 1)]
    run = SignRun.of(DECIDE, program, joint_keys())
    run.format = MaskFormat.of(DEFAULT, program.score_bits - 4, 3)
    assert report("another offset", run, rows[chosen]) == 1
    assert "3 signs of 3 rows, 1 wrong" in capsys.readouterr().out
