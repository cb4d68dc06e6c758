"""The bounds on leakage: all that opens is counted, and the formulas hold for sampled noise."""

import math

import numpy as np
import pytest

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, SIGN_OF
from engines.levelled.build import PARAMETERS_OF, SCORE, SIGN
from engines.levelled.leakage import (
    Opening,
    about_the_model,
    gain,
    gaussian_gain,
    information,
    main,
    renyi,
    score_openings,
    sign_openings,
)
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, WIDE_NOISE
from engines.levelled.results import coefficients_of_parts
from engines.levelled.selection import SelectionTree
from engines.levelled.server import LevelledServer
from settings import ROOT


def trees_of(folder):
    programs = Deployment.load(folder).programs_of("levelled")
    return {name: SelectionTree.of(program) for name, program in programs.items()}


def counted(openings, program):
    return sum(own.coefficients for own in openings if own.program == program)


def test_every_opened_coefficient_but_masked_scores_is_counted(signs_deployment, layout):
    public = LevelledServer(Deployment.load(signs_deployment)).public
    openings = sign_openings(trees_of(signs_deployment), layout, WIDE_NOISE)
    for program in PROGRAMS:
        masked = len(public.programs[program].outputs)
        parts = [
            count
            for name in (program, SIGN_OF[program])
            for count in coefficients_of_parts(public, name)
        ]
        assert counted(openings, program) == sum(parts) - masked


def test_every_opened_coefficient_of_scores_is_counted(levelled_deployment):
    public = LevelledServer(Deployment.load(levelled_deployment)).public
    openings = score_openings(trees_of(levelled_deployment), 3, DEFAULT)
    for program in PROGRAMS:
        (count,) = coefficients_of_parts(public, program)
        assert counted(openings, program) == count
        assert count == len(public.programs[program].outputs) + KNOWN_ZEROS


def test_smudges_are_those_of_the_parties(signs_deployment, layout):
    server = LevelledServer(Deployment.load(signs_deployment))
    openings = sign_openings(trees_of(signs_deployment), layout, WIDE_NOISE)
    smudges = {own.smudge for own in openings if "check" not in own.opens}
    assert smudges == {own.sigma_smudge for own in server._budgets.values()}


def test_shipped_deployment_stays_below_the_stated_bounds(layout):
    """At most 0.31 bit, half of it by the levels of reasons; σ = 2^-51 would tell less."""
    trees = trees_of(ROOT / "deployment_files")
    shipped = sign_openings(trees, layout, PARAMETERS_OF[SIGN][0])
    assert information(shipped) < 0.31
    assert information(sign_openings(trees, layout, DEFAULT)) < information(shipped)
    assert information(score_openings(trees, 3, PARAMETERS_OF[SCORE][0])) < 0.07
    assert about_the_model(trees, 3, WIDE_NOISE, SIGN) < 0.001
    assert about_the_model(trees, 3, DEFAULT, SCORE) < 0.02


def test_guess_of_a_sign_gains_what_is_stated_for_gaussian_noise():
    """The sign of one coefficient's noise is the question for which the bound is reached."""
    draw, count = np.random.default_rng(5), 400_000
    own = Opening(DECIDE, "one", 1, noise=1.0, smudge=4.0)
    noise, smudge = draw.normal(0, own.noise, count), draw.normal(0, own.smudge, count)
    right = ((noise > 0) == (noise + smudge > 0)).mean()
    deviation = 0.5 / math.sqrt(count)
    assert abs(right - 0.5 - gaussian_gain([own])) < 5 * deviation
    assert gaussian_gain([own]) < gain([own])
    # Neither does the mean of many coefficients help with a question about one direction of them.
    many = Opening(DECIDE, "many", 25, noise=1.0, smudge=4.0)
    noise, smudge = draw.normal(0, 1.0, (20_000, 25)), draw.normal(0, 4.0, (20_000, 25))
    right = ((noise.sum(axis=1) > 0) == ((noise + smudge).sum(axis=1) > 0)).mean()
    assert abs(right - 0.5 - gaussian_gain([many])) < 5 * 0.5 / math.sqrt(20_000)


def test_information_is_reached_by_gaussian_noise_and_not_exceeded_by_other():
    """Differential entropies, by numerical integration, of Gaussian and of two-valued noise."""
    own = Opening(DECIDE, "one", 1, noise=1.0, smudge=2.0)
    y = np.linspace(-30, 30, 200_001)
    step = y[1] - y[0]

    def density(mean, sigma):
        return np.exp(-((y - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    def entropy(p):
        return -(p[p > 0] * np.log2(p[p > 0])).sum() * step

    of_smudge = entropy(density(0, own.smudge))
    gaussian = entropy(density(0, math.hypot(own.noise, own.smudge))) - of_smudge
    two_valued = entropy((density(-1, own.smudge) + density(1, own.smudge)) / 2) - of_smudge
    assert gaussian == pytest.approx(own.information, rel=1e-6)
    assert 0 < two_valued < own.information
    shifted = (density(own.noise, own.smudge) ** 2 / density(0, own.smudge)).sum() * step
    assert math.log2(shifted) == pytest.approx(own.renyi, rel=1e-6)


def test_sums_are_over_coefficients_and_openings():
    one, many = Opening(DECIDE, "a", 1, 1.0, 8.0), Opening(EXPLAIN, "b", 10, 1.0, 8.0)
    assert information([one, many]) == pytest.approx(11 * one.information)
    assert renyi([one, many]) == pytest.approx(11 * one.renyi)
    assert gaussian_gain([one, many]) == gaussian_gain([one])


def test_command_prints_both_tables(signs_deployment, capsys):
    assert main([str(signs_deployment)]) == 0
    printed = capsys.readouterr().out
    for parameters in (DEFAULT, WIDE_NOISE):
        assert f"profile {parameters.profile}:" in printed
    assert printed.count("a decision and an explanation") == 2
