"""Encrypted evaluation: every decrypted score equals the integer reference, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from engines.levelled.budgets import linear_row, noise_budgets, noise_terms
from engines.levelled.encryption import encrypt_bits
from engines.levelled.evaluation import Evaluator, stepped
from engines.levelled.noise import NoiseModel
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.levelled.selection import SelectionTree
from engines.levelled.words import round_to_bits
from model.polynomial import sample_states
from model.program import explain_program
from model.reference import reference_scores
from tests.engines.levelled.joint_keys import joint_keys
from tests.strategies import SLOW, decide_programs, layouts
from utils.errors import NoiseBudgetExceeded

SMALL = DEFAULT.model_copy(update={"profile": "small", "n": 256})
"""Fast parameters with an insecurely small ring."""


class Played:
    """A program, with the operations of the server and all parties on it."""

    def __init__(self, program, joint):
        self.program, self.joint = program, joint
        self.tree = SelectionTree.of(program)
        self.evaluator = Evaluator(self.tree, joint.parameters)

    def operands(self, row):
        """Return the operands of a fresh encryption of one row of bits."""
        parameters = self.joint.parameters
        own = row[self.tree.bits]
        sent = encrypt_bits(own, self.joint.public, parameters, Expander.fresh())
        return self.evaluator.prepare(sent.cut(parameters))

    def phases(self, result):
        mask, body = result
        return self.joint.phase(mask, body)

    def scores(self, result):
        opened = self.phases(result)[: self.tree.outputs]
        return tuple(round_to_bits(opened, self.tree.score_bits).tolist())

    def evaluated(self, row):
        return self.scores(self.evaluator.evaluate([self.operands(row)])[0])

    def error(self, row):
        """Return the RMS error of a result's phase over all coefficients, in units of the torus."""
        phases = self.phases(self.evaluator.evaluate([self.operands(row)])[0])
        expected = np.array(reference_scores(self.program, row), np.int64).view(np.uint64)
        phases[: self.tree.outputs] -= expected * np.uint64(1 << (64 - self.tree.score_bits))
        return np.sqrt(((phases.view(np.int64) * 2.0**-64) ** 2).mean())


@pytest.fixture(scope="module")
def small_joint():
    return joint_keys(SMALL)


@pytest.fixture(scope="module", params=[7, 12])
def programs(request, small_programs_of):
    return small_programs_of(request.param)


@pytest.fixture(scope="module")
def rows(layout, programs, credit_data):
    """Return the extreme rows, held-out rows with both decisions, and random ones."""
    held_out = credit_data[1][0]
    scores = programs[DECIDE].scores(held_out)[:, 0]
    near = held_out[[np.abs(scores - wanted).argmin() for wanted in (-1, 0)]]
    extreme = layout.bits_of_states(programs[DECIDE].extreme_rows)
    random = layout.bits_of_states(sample_states(layout, 3, seed=31))
    return np.concatenate([extreme, near, held_out[:3], random])


@pytest.mark.parametrize("name", PROGRAMS)
def test_scores_equal_the_reference_in_every_bin(joint, programs, rows, name):
    played = Played(programs[name], joint)
    assert played.tree.products > 0
    for row in rows:
        assert played.evaluated(row) == reference_scores(programs[name], row)


def test_rows_reach_both_ends_of_the_score_range(programs, rows):
    program = programs[DECIDE]
    scores = program.scores(rows)[:, 0].tolist()
    assert {program.low, program.high} <= set(scores)
    assert max(-program.low, program.high) > 0.9 * 2 ** (program.score_bits - 1)


@SLOW
@given(data=st.data())
def test_random_programs_match_reference_on_random_rows(small_joint, data):
    layout = data.draw(layouts())
    decide = data.draw(decide_programs(layout))
    for program in (decide, explain_program(decide, layout)):
        played = Played(program, small_joint)
        for row in layout.bits_of_states(sample_states(layout, 2, seed=9)):
            assert played.evaluated(row) == reference_scores(program, row)


@pytest.mark.parametrize("name", PROGRAMS)
def test_batch_gives_same_scores_as_single_applicants(small_joint, small_programs, rows, name):
    played = Played(small_programs[name], small_joint)
    operands = [played.operands(row) for row in rows[:4]]
    told = []
    together = played.evaluator.evaluate(operands, told.append)
    assert together.shape == (4, 2, SMALL.n)
    for own, result in zip(operands, together, strict=True):
        assert np.array_equal(played.evaluator.evaluate([own])[0], result)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_evaluation_is_deterministic(small_joint, small_programs, rows):
    """Another evaluator computes the same mask and body from the same ciphertexts, bit for bit."""
    program = small_programs[EXPLAIN]
    one, other = Played(program, small_joint), Played(program, small_joint)
    own = rows[0][one.tree.bits]
    sent = encrypt_bits(own, small_joint.public, SMALL, Expander.fresh())
    results = [p.evaluator.evaluate([p.evaluator.prepare(sent)]) for p in (one, other)]
    assert np.array_equal(*results)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_noise_stays_below_the_bound_of_its_budget(joint, small_programs_of, rows, name):
    played = Played(small_programs_of(12)[name], joint)
    terms = noise_terms(played.tree, DEFAULT)
    bound = NoiseModel(DEFAULT, 3).program_variance(terms.products, terms.linear) ** 0.5
    errors = [played.error(row) for row in rows[:6]]
    assert max(errors) < 1.15 * bound  # measured with one key and 2048 coefficients
    # A loose bound would leave too little of the budget for the covering noise.
    assert max(errors) > bound / 4


@pytest.mark.parametrize(
    ("score_bits", "row", "factor"), [(12, 0, 8), (15, 0, 1), (16, 1, 1 << 14), (7, 0, 256)]
)
def test_linear_row_is_the_coarsest_sufficient_row(score_bits, row, factor):
    assert linear_row(score_bits, DEFAULT) == (row, factor)


def test_a_score_finer_than_all_digits_is_refused():
    coarse = DEFAULT.model_copy(update={"levels": 1, "base_log": 8})
    with pytest.raises(NoiseBudgetExceeded, match="Scores of 12 bits are too fine"):
        linear_row(12, coarse)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_with_too_much_noise_is_refused_with_its_probability(small_programs, name):
    noisy = DEFAULT.model_copy(update={"sigma_log": -36})
    trees = {name: SelectionTree.of(small_programs[name])}
    with pytest.raises(NoiseBudgetExceeded, match=rf"{name} at \d bits fails .* 2\^-\d"):
        noise_budgets(trees, 3, noisy)
    budget = noise_budgets(trees, 3, DEFAULT)[name]
    assert budget.failure_log2 < -100 and budget.room > 3


@pytest.mark.parametrize("outputs", [1, 2, 6])
def test_stepped_rows_equal_products_with_power_sums(outputs):
    """Compare with a sum of shifted rows, with the sign from X^N = -1."""
    rows = Expander.fresh().uniform_words((3, 2, 16))
    steps = np.array([(bit, t) for bit in (0, 2) for t in range(outputs)])
    found = stepped(rows, steps, outputs)
    for (bit, t), got in zip(steps, found, strict=True):
        expected = np.zeros((2, 16), np.uint64)
        for k in range(t, outputs):
            turned = np.roll(rows[bit], k, axis=-1)
            turned[:, :k] = -turned[:, :k]
            expected += turned
        assert np.array_equal(got, expected)
