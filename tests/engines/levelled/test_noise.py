"""The noise model, compared with measurements, and its budgets."""

import math

import numpy as np
import pytest

from engines.levelled.encryption import encrypt_bits, zeros
from engines.levelled.noise import (
    MINIMUM_ROOM,
    NoiseModel,
    failure_log2,
    sigmas_for,
)
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import MAXIMUM_SIGMA, Expander
from engines.levelled.ring import PreparedPoly, decompose, forward, inverse
from tests.engines.levelled.joint_keys import errors_of
from utils.errors import NoiseBudgetExceeded

MODEL = NoiseModel(DEFAULT, parties=3)
COMPACT = DEFAULT.model_copy(update={"mask_bits": 48, "body_bits": 40})


def within_half_a_bit(errors, variance):
    bits = math.log2(errors.std() / math.sqrt(variance))
    print(f"measured 2^{math.log2(errors.std()):.2f}, model 2^{math.log2(variance) / 2:.2f}")
    assert abs(bits) < 0.5


def external_product(transformed, masks, bodies):
    """Multiply ciphertexts (mask, body), shape (rows, N) each, by one transformed GGSW."""
    digits = decompose(np.stack([masks, bodies], axis=1), DEFAULT.base_log, DEFAULT.levels)
    values = forward(digits).reshape(len(masks), DEFAULT.rows, 1, -1)
    product = inverse((values * transformed).sum(axis=1))
    return product[:, 0], product[:, 1]


def test_noise_of_public_key_zeros_matches_model(joint):
    masks, bodies = zeros(joint.public, 40, DEFAULT, Expander.fresh())
    within_half_a_bit(errors_of(joint, masks, bodies), MODEL.public_key_zero_variance())


@pytest.mark.parametrize("parameters", [DEFAULT, COMPACT])
def test_noise_of_rounded_words_matches_model(joint, parameters):
    bits = np.zeros(8, np.uint8)
    whole = encrypt_bits(bits, joint.public, parameters, Expander.fresh())
    cut = whole.cut(parameters)
    before = errors_of(joint, whole.masks, whole.bodies)
    after = errors_of(joint, cut.masks, cut.bodies)
    model = NoiseModel(parameters, parties=3)
    within_half_a_bit(after - before, model.cut_variance())
    within_half_a_bit(after, model.row_variance())


@pytest.mark.parametrize("bit", [0, 1])
def test_noise_of_external_products_matches_model(joint, bit):
    ciphertexts = encrypt_bits(np.array([bit], np.uint8), joint.public, DEFAULT, Expander.fresh())
    transformed = ciphertexts.cut(DEFAULT).transform()[0]
    masks = Expander.fresh().uniform_words((16, DEFAULT.n))
    bodies = Expander.fresh().uniform_words((16, DEFAULT.n))
    before = joint.phase(masks, bodies)
    product = external_product(transformed, masks, bodies)
    errors = errors_of(joint, *product, before * np.uint64(bit))
    within_half_a_bit(errors, MODEL.external_product_variance())


def test_transform_rounding_is_within_the_reserve(joint):
    """Rounding adds a few hundredths of V_ep, measured against exact products, row by row."""
    ciphertexts = encrypt_bits(np.ones(1, np.uint8), joint.public, DEFAULT, Expander.fresh())
    cut = ciphertexts.cut(DEFAULT)
    words = Expander.fresh().uniform_words((2, DEFAULT.n))
    rounded = external_product(cut.transform()[0], words[:1], words[1:])
    digits = forward(decompose(words, DEFAULT.base_log, DEFAULT.levels)).reshape(DEFAULT.rows, -1)
    exact = [PreparedPoly(rows[0]).times(digits).sum(axis=0) for rows in (cut.masks, cut.bodies)]
    errors = errors_of(joint, rounded[0] - exact[0], rounded[1] - exact[1])
    assert errors.var() < 0.1 * MODEL.external_product_variance()


def test_noise_of_chained_external_products_matches_model(joint):
    ciphertexts = encrypt_bits(np.ones(6, np.uint8), joint.public, DEFAULT, Expander.fresh())
    masks, bodies = zeros(joint.public, 8, DEFAULT, Expander.fresh())
    before = joint.phase(masks, bodies)
    for transformed in ciphertexts.cut(DEFAULT).transform():
        masks, bodies = external_product(transformed, masks, bodies)
    errors = errors_of(joint, masks, bodies, before)
    within_half_a_bit(errors, MODEL.program_variance(6, 0))


def test_noise_of_linear_terms_matches_model(joint):
    ciphertexts = encrypt_bits(np.ones(5, np.uint8), joint.public, DEFAULT, Expander.fresh())
    cut = ciphertexts.cut(DEFAULT)
    factors = np.array([3, -70, 511, -1000, 8], np.int64)
    weights = factors.view(np.uint64)[:, None]
    masks = (cut.masks[:, 2] * weights).sum(axis=0, dtype=np.uint64)
    bodies = (cut.bodies[:, 2] * weights).sum(axis=0, dtype=np.uint64)
    message = np.zeros(DEFAULT.n, np.uint64)
    message[0] = int(DEFAULT.gadget(0)) * int(factors.sum()) % 2**64
    errors = errors_of(joint, masks, bodies, message)
    within_half_a_bit(errors, MODEL.program_variance(0, float((factors**2).sum())))


def test_failure_probability_matches_erfc():
    for sigmas in (1.0, 3.0, 9.2, 13.1):
        expected = math.log2(math.erfc(sigmas / math.sqrt(2)))
        assert failure_log2(sigmas, 1.0, 1) == pytest.approx(expected)
        assert failure_log2(sigmas, 1.0, 6) == pytest.approx(expected + math.log2(6))
    assert failure_log2(1247.0, 1.0, 1) < -1e6
    assert sigmas_for(-128, 1) == pytest.approx(13.1, abs=0.05)
    assert sigmas_for(-64, 1) == pytest.approx(9.2, abs=0.05)
    for target in (-64.0, -128.0):
        assert failure_log2(sigmas_for(target, 6), 1.0, 6) == pytest.approx(target)


def test_default_profile_has_documented_noise_figures():
    """The parameter table states 1,247 σ for 40 trees of depth 3 at 10 bits, and 6 bits of room."""
    uncut = NoiseModel(DEFAULT.model_copy(update={"mask_bits": 64, "body_bits": 64}), 3)
    sigma = math.sqrt(uncut.program_variance(115, 0))
    assert 2.0**-11 / sigma == pytest.approx(1247, rel=0.1)
    assert MODEL.budget("decide", 10, 115, 0, 1).room == pytest.approx(6, abs=0.5)


@pytest.mark.parametrize(("bits", "products", "outputs"), [(12, 115, 1), (12, 79, 6), (7, 60, 1)])
def test_a_budget_meets_its_target_and_splits_the_room_evenly(bits, products, outputs):
    linear = 1e9
    budget = MODEL.budget("decide", bits, products, linear, outputs)
    assert budget.failure_log2 <= -128
    assert budget.room >= MINIMUM_ROOM
    own = 4 * MODEL.program_variance(products, linear) + MODEL.public_key_zero_variance()
    total = own + budget.sigma_flood**2 + 3 * budget.sigma_smudge**2
    assert budget.half_step >= sigmas_for(-128, outputs) * math.sqrt(total)
    assert 2**-0.26 < budget.sigma_smudge * 3**0.5 / budget.sigma_flood < 2**0.26 or (
        budget.sigma_flood == MAXIMUM_SIGMA
    )
    assert budget.client.score_bits == bits


def test_budgets_of_similar_programs_are_equal():
    """The parties see the budgets and should not learn the size of the model from them."""
    budgets = {MODEL.budget("decide", 10, n, 0, 1).client for n in range(20, 200, 20)}
    assert len(budgets) == 1


def test_budget_falls_back_to_required_failure_probability():
    found = [MODEL.budget("decide", 12, n, 0, 1) for n in (2000, 4000, 6000, 8000)]
    assert any(-128 < budget.failure_log2 <= -64 for budget in found)


@pytest.mark.parametrize(("bits", "products"), [(16, 2300), (12, 10**6), (20, 1)])
def test_program_that_fails_too_often_is_refused_with_its_probability(bits, products):
    with pytest.raises(NoiseBudgetExceeded, match=r"decide at .* fails with probability 2\^-\d"):
        MODEL.budget("decide", bits, products, 0, 1)
