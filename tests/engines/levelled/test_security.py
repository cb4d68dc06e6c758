"""The security estimate: the stated figures, and its dependence on the parameters."""

import pytest

from engines.levelled.parameters import DEFAULT, PROFILES
from engines.levelled.security import primal_usvp, report


def test_every_profile_has_about_128_bits_or_more():
    for parameters in PROFILES.values():
        assert primal_usvp(parameters).operations_log2 >= 128


def test_the_default_profile_has_the_stated_estimate():
    found = primal_usvp(DEFAULT)
    assert found.operations_log2 == pytest.approx(133, abs=1)
    assert f"{found.operations_log2:.1f}" in report(DEFAULT)
    assert "estimate" in report(DEFAULT)


def test_estimates_of_known_schemes_match_published_values():
    """TFHE-rs and Concrete use σ about 2^-51 at N = 2048, 2^-25 at N = 1024, for 128 bits."""
    shorter = DEFAULT.model_copy(update={"n": 1024, "sigma_log": -25})
    assert 120 < primal_usvp(shorter).operations_log2 < 145


def test_less_noise_and_shorter_polynomials_are_weaker():
    bits = primal_usvp(DEFAULT).operations_log2
    assert primal_usvp(DEFAULT.model_copy(update={"sigma_log": -55})).operations_log2 < bits
    assert primal_usvp(DEFAULT.model_copy(update={"n": 1024})).operations_log2 < bits
    with pytest.raises(ValueError, match="security of these parameters is too low"):
        primal_usvp(DEFAULT.model_copy(update={"n": 64}))
