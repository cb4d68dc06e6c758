"""The noise of signs: budgets that meet their target, and failures at a score's border."""

import math

import numpy as np
import pytest

from engines.interface import DECIDE, EXPLAIN
from engines.levelled.encryption import encrypt_bits
from engines.levelled.exact_products import products, transformed
from engines.levelled.masks import MaskFormat
from engines.levelled.noise import MINIMUM_ROOM, NoiseModel, failure_log2, sigmas_for
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, PROFILES
from engines.levelled.randomness import Expander
from engines.levelled.selection import SelectionTree
from engines.levelled.sign_budgets import (
    border_failure_log2,
    sign_budget,
    sign_budgets,
    sign_variance,
)
from tests.engines.levelled.joint_keys import errors_of
from utils.errors import NoiseBudgetExceeded

FORMAT = MaskFormat.of(DEFAULT, 12, 3)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("outputs", "room"), [(1, 6.0), (6, 4.7)])
def test_budget_meets_its_target_with_the_stated_room(profile, outputs, room):
    mask_format = MaskFormat.of(PROFILES[profile], 12, 3)
    budget = sign_budget(mask_format, outputs)
    assert budget.score_bits == 2 and budget.half_step == 1 / 8
    assert budget.failure_log2 <= -128
    assert budget.room >= room > MINIMUM_ROOM
    model = NoiseModel(mask_format.parameters, 3)
    total = model.opened_variance(sign_variance(mask_format, outputs))
    total += budget.sigma_flood**2 + 3 * budget.sigma_smudge**2
    assert budget.half_step >= sigmas_for(-128, outputs + KNOWN_ZEROS) * math.sqrt(total)
    assert budget.client.sigma_smudge == budget.sigma_smudge


def test_noise_of_one_product_of_a_mask_matches_the_model(joint):
    own = FORMAT.parameters
    bit = encrypt_bits(np.ones(1, np.uint8), joint.public, own, Expander.fresh()).cut(own)
    nodes = Expander.fresh().uniform_words((8, 2, DEFAULT.n))
    found = products(transformed(bit, own)[None], np.zeros(8, int), nodes, own)
    errors = errors_of(joint, found[:, 0], found[:, 1], joint.phase(nodes[:, 0], nodes[:, 1]))
    variance = NoiseModel(own, 3).external_product_variance()
    assert abs(math.log2(errors.std() / math.sqrt(variance))) < 0.25


def test_border_failure_counts_noise_and_the_lower_bits():
    """Compare with simulated integers, for noise wide enough to fail often."""
    step, kept, count = 1 << 52, FORMAT.word_bits, 200_000
    sigma = 2.0**-14.5
    own = NoiseModel(FORMAT.parameters, 3).opened_variance(0)
    stated = 2 ** border_failure_log2(FORMAT, 0, 1, sigma**2 - own)
    noise = Expander(bytes(32)).gaussian(count, sigma)
    y = Expander(bytes([1] * 32)).uniform_words((3, count))
    low = np.uint64((1 << (64 - kept)) - 1)

    def failures(score, words):
        opened = np.uint64(score * step % 2**64) + noise - words.sum(axis=0, dtype=np.uint64)
        shifted = (opened + np.uint64(FORMAT.offset)) >> np.uint64(64 - kept)
        total = shifted + (words >> np.uint64(64 - kept)).sum(axis=0, dtype=np.uint64)
        negative = total >> np.uint64(kept - 1) & np.uint64(1)
        return (negative != (score < 0)).mean()

    # The bound counts errors in both directions, of which one side is a border.
    worst = failures(0, y | low), failures(-1, y & ~low)
    assert worst == pytest.approx((stated / 2, stated / 2), rel=0.05)
    assert 0 < failures(0, y) < stated / 2 and 0 < failures(-1, y) < stated / 2
    assert failures(1, y | low) == failures(-2, y & ~low) == 0


def test_border_failure_grows_with_outputs_and_added_noise():
    half, variance = 2.0**-13, 2.0**-38
    alone = border_failure_log2(FORMAT, variance, 1)
    assert alone == pytest.approx(
        failure_log2(
            half / 4,
            math.sqrt(4 * variance + NoiseModel(DEFAULT, 3).public_key_zero_variance()),
            1,
        )
    )
    assert border_failure_log2(FORMAT, variance, 6) == pytest.approx(alone + math.log2(6))
    assert border_failure_log2(FORMAT, variance, 1, 2.0**-36) > alone


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", [DECIDE, EXPLAIN])
def test_real_programs_have_budgets_in_every_profile(small_programs_of, profile, name):
    trees = {name: SelectionTree.of(small_programs_of(12)[name])}
    found = sign_budgets(trees, 3, PROFILES[profile])[name]
    assert found.signs.failure_log2 <= -128 and found.signs.room > 4
    assert found.zeros.failure_log2 <= -128 and found.zeros.room > 7
    assert found.zeros.half_step == 2.0**-9
    assert found.border_log2 < -500


@pytest.mark.parametrize(("sigma_log", "match"), [(-43, "turns a sign with"), (-20, "2\\^-")])
def test_program_whose_noise_turns_signs_is_refused(small_programs_of, sigma_log, match):
    trees = {DECIDE: SelectionTree.of(small_programs_of(12)[DECIDE])}
    noisy = DEFAULT.model_copy(update={"sigma_log": sigma_log})
    with pytest.raises(NoiseBudgetExceeded, match=match):
        sign_budgets(trees, 3, noisy)


def test_signs_with_too_much_noise_are_refused():
    coarse = MaskFormat(FORMAT.parameters.model_copy(update={"base_log": 10}), 12, 3)
    with pytest.raises(NoiseBudgetExceeded, match="too little"):
        sign_budget(coarse, 1)
