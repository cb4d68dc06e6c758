"""Shamir's scheme: any enough shares give the secret, fewer say nothing, bad ones are refused."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.aggregation.shamir import ELEMENT_BYTES, PRIME, recover, share_at
from tests.strategies import QUICK
from utils.errors import MalformedMessage, TooFewShares

ELEMENTS = st.integers(0, PRIME - 1)
POLYNOMIALS = st.lists(ELEMENTS, min_size=2, max_size=14)


def drawn_places(data, count):
    places = st.lists(st.integers(1, 64), min_size=count, max_size=count, unique=True)
    return data.draw(places)


@QUICK
@given(POLYNOMIALS, st.data())
def test_any_enough_shares_recover_the_secret(coefficients, data):
    threshold = len(coefficients)
    places = drawn_places(data, threshold + data.draw(st.integers(0, 3)))
    shares = [(place, share_at(coefficients, place)) for place in places]
    secret = coefficients[0].to_bytes(ELEMENT_BYTES, "little")
    assert recover(shares, threshold) == secret
    with pytest.raises(TooFewShares):
        recover(shares[: threshold - 1], threshold)


@QUICK
@given(POLYNOMIALS, ELEMENTS, st.data())
def test_fewer_shares_fit_every_other_secret(coefficients, other, data):
    places = drawn_places(data, len(coefficients) - 1)
    # Add the polynomial that is `other - secret` at 0 and 0 at all these places.
    added = [(other - coefficients[0]) % PRIME]
    for place in places:
        factor = -pow(place, -1, PRIME)
        shifted = [0, *(value * factor for value in added)]
        added = [(a + b) % PRIME for a, b in zip([*added, 0], shifted, strict=True)]
    changed = [(a + b) % PRIME for a, b in zip(coefficients, added, strict=True)]
    assert changed[0] == other
    for place in places:
        assert share_at(changed, place) == share_at(coefficients, place)


def test_a_share_is_the_value_of_the_polynomial():
    assert int.from_bytes(share_at([7, 5, 3], 10), "little") == 7 + 50 + 300
    assert int.from_bytes(share_at([PRIME - 1, 1], 3), "little") == 2


def test_the_modulus_is_prime():
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(40):  # Miller and Rabin
        power = pow(2 + secrets.randbelow(PRIME - 3), odd, PRIME)
        squares = [pow(power, 2**i, PRIME) for i in range(twos)]
        assert power == 1 or PRIME - 1 in squares


@pytest.mark.parametrize(
    "shares",
    [
        [(1, bytes(32)), (1, bytes(32))],
        [(0, bytes(32)), (1, bytes(32))],
        [(1, bytes(32)), (256, bytes(32))],
        [(1, bytes(31)), (2, bytes(32))],
        [(1, bytes(33)), (2, bytes(32))],
        [(1, PRIME.to_bytes(32, "little")), (2, bytes(32))],
        [(1, b"\xff" * 32), (2, bytes(32))],
    ],
    ids=["twice", "place 0", "far place", "short", "long", "the prime", "largest"],
)
def test_a_bad_share_is_refused(shares):
    with pytest.raises(MalformedMessage):
        recover(shares, 2)


@pytest.mark.parametrize("threshold", [-1, 0, 256])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(MalformedMessage):
        recover([(1, bytes(32))], threshold)
    with pytest.raises(MalformedMessage):
        share_at([1, 2], 0)
