"""The security figures: the stated ones, their least, and their dependence on the parameters."""

import pytest

from engines.levelled.parameters import DEFAULT, PROFILES, WIDE_NOISE, mask_parameters
from engines.levelled.security import (
    LATTICE_ESTIMATOR,
    STANDARD_MODULUS_BITS,
    cited,
    dual,
    least_log2,
    primal_usvp,
    report,
    standard_modulus_log2,
    table,
)

UNKNOWN = DEFAULT.model_copy(update={"sigma_log": -50})
"""Parameters for which nothing is cited."""


@pytest.mark.parametrize(("parameters", "least"), [(DEFAULT, 129.6), (WIDE_NOISE, 135.1)])
def test_least_figure_of_every_profile_is_as_stated(parameters, least):
    found, _ = least_log2(parameters)
    assert found == least >= 128
    computed = [attack(parameters).operations_log2 for attack in (primal_usvp, dual)]
    assert found == min(*computed, *(own.operations_log2 for own in cited(parameters)))
    assert f"Least: 2^{least:.1f}" in report(parameters)


def test_all_profiles_have_cited_figures():
    assert all(cited(parameters) for parameters in PROFILES.values())


def test_report_says_what_is_computed_and_what_is_cited():
    text = report(DEFAULT)
    for attack in (primal_usvp, dual):
        own = attack(DEFAULT)
        assert f"computed here: BKZ block size {own.block_size} with {own.samples} samples" in text
    assert text.count(f"cited ({LATTICE_ESTIMATOR})") == len(cited(DEFAULT)) == 5
    assert "not proofs" in text


def test_profile_without_a_cited_figure_says_so():
    text = report(UNKNOWN)
    assert "no figures of the lattice estimator" in text and LATTICE_ESTIMATOR not in text
    assert least_log2(UNKNOWN)[1].endswith("computed")
    assert least_log2(UNKNOWN)[0] > 129.6


def test_masks_have_the_same_problem_as_the_keys():
    for parameters in PROFILES.values():
        masks = mask_parameters(parameters)
        assert least_log2(masks) == least_log2(parameters)


def test_own_formula_agrees_with_the_lattice_estimator():
    """Primal uSVP with the same cost model, BDGL16."""
    (published,) = (own for own in cited(DEFAULT) if own.cost_model == "BDGL16")
    assert primal_usvp(DEFAULT).operations_log2 == pytest.approx(published.operations_log2, abs=0.1)


@pytest.mark.parametrize("parameters", [*PROFILES.values(), UNKNOWN], ids=lambda p: p.sigma_log)
def test_dual_attack_costs_about_as_much_as_the_primal(parameters):
    """As ADPS16 found for its own parameters."""
    primal = primal_usvp(parameters)
    assert dual(parameters).operations_log2 == pytest.approx(primal.operations_log2, abs=1)
    assert abs(dual(parameters).block_size - primal.block_size) <= 5


def test_profiles_are_within_the_standard():
    for parameters, bits in ((DEFAULT, 52.7), (WIDE_NOISE, 50.7)):
        assert round(standard_modulus_log2(parameters), 1) == bits
        assert bits <= STANDARD_MODULUS_BITS[parameters.n]
        assert f"modulus of {bits} bits" in report(parameters)


def test_estimates_of_known_schemes_match_published_values():
    """TFHE-rs and Concrete use σ about 2^-51 at N = 2048, 2^-25 at N = 1024, for 128 bits."""
    shorter = DEFAULT.model_copy(update={"n": 1024, "sigma_log": -25})
    for attack in (primal_usvp, dual):
        assert 120 < attack(shorter).operations_log2 < 145


@pytest.mark.parametrize("attack", [primal_usvp, dual])
def test_less_noise_and_shorter_polynomials_are_weaker(attack):
    bits = attack(DEFAULT).operations_log2
    assert attack(DEFAULT.model_copy(update={"sigma_log": -55})).operations_log2 < bits
    assert attack(DEFAULT.model_copy(update={"n": 1024})).operations_log2 < bits


def test_parameters_without_security_are_refused():
    with pytest.raises(ValueError, match="security of these parameters is too low"):
        primal_usvp(DEFAULT.model_copy(update={"n": 64}))
    with pytest.raises(ValueError, match="too small"):
        dual(DEFAULT.model_copy(update={"n": 16}))


def test_table_has_every_profile_with_its_least():
    lines = table()
    for name, parameters in PROFILES.items():
        own = [line for line in lines if f"`{name}`" in line]
        assert len(own) == 3 + len(cited(parameters))
        assert f"**{least_log2(parameters)[0]:.1f}**" in own[-1]
