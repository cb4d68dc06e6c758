"""The profiles and the sizes derived from them."""

import pytest
from pydantic import ValidationError

from engines.levelled.parameters import DEFAULT, PROFILES, Parameters
from utils.errors import ForeignMessage


def test_default_profile_has_the_parameters_in_its_name():
    assert Parameters.by_profile("n2048-l2-b15") is DEFAULT
    assert (DEFAULT.base, DEFAULT.sigma, DEFAULT.rows) == (2**15, 2.0**-51, 4)
    assert [int(DEFAULT.gadget(j)) for j in range(2)] == [2**49, 2**34]
    assert set(PROFILES) == {p.profile for p in PROFILES.values()}


def test_unknown_profile_error_names_the_known_ones():
    with pytest.raises(ForeignMessage, match="n2048-l2-b15"):
        Parameters.by_profile("n4096-l9-b99")


def test_sizes_are_derived_from_the_parameters():
    assert DEFAULT.ggsw_bytes(1) == 4 * 2048 * (7 + 6)
    assert DEFAULT.ggsw_bytes(105) < 11_200_000
    assert DEFAULT.public_key_bytes == 32 + 16384
    assert DEFAULT.result_bytes(6 + 8) == 16384 + 8 * (6 + 8)
    assert DEFAULT.inputs_bytes(3) == 32 + DEFAULT.ggsw_bytes(3)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1000},
        {"levels": 5},
        {"base_log": 32},
        {"mask_bits": 52},
        {"body_bits": 24},
        {"sigma_log": 0},
        {"q": 1},
    ],
)
def test_impossible_parameters_are_refused(change):
    with pytest.raises(ValidationError):
        Parameters(**(DEFAULT.model_dump() | change))
