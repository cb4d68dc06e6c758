"""Streams: repeatable from a seed, with the expected uniform and Gaussian distributions."""

import math

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from engines.levelled.randomness import MAXIMUM_SIGMA, Expander, derive

SEED = bytes(range(32))


def test_stream_equals_aes_256_in_counter_mode():
    encryptor = Cipher(algorithms.AES256(SEED), modes.CTR(bytes(16))).encryptor()
    expected = encryptor.update(bytes((1 << 20) + 100))
    assert Expander(SEED).octets((1 << 20) + 100).tobytes() == expected
    stream = Expander(SEED)
    assert stream.octets(37).tobytes() + stream.octets(100).tobytes() == expected[:137]
    assert Expander(SEED).uniform_words(3).tolist() == [
        int.from_bytes(expected[8 * i : 8 * i + 8], "little") for i in range(3)
    ]


def test_equal_seeds_give_equal_draws_and_fresh_streams_differ():
    first, second = Expander(SEED), Expander(SEED)
    assert np.array_equal(first.ternary((3, 50)), second.ternary((3, 50)))
    assert np.array_equal(first.gaussian(9, 2.0**-40), second.gaussian(9, 2.0**-40))
    assert not np.array_equal(Expander.fresh().uniform_words(4), Expander.fresh().uniform_words(4))
    with pytest.raises(ValueError, match="key"):
        Expander(b"short")


def test_derived_seeds_depend_on_labels_and_their_boundaries():
    seeds = {derive(SEED), derive(SEED, "a"), derive(SEED, "b"), derive(SEED, "a", "b")}
    seeds |= {derive(SEED, "ab"), derive(SEED, "b", "a"), derive(bytes(32), "a")}
    assert len(seeds) == 7
    assert {len(seed) for seed in seeds} == {32}
    assert derive(SEED, "a") == derive(SEED, b"a")


def test_ternary_numbers_are_uniform():
    draws = Expander.fresh().ternary((300, 1000))
    assert draws.shape == (300, 1000)
    assert draws.dtype == np.int64
    counts = np.array([(draws == value).sum() for value in (-1, 0, 1)])
    assert counts.sum() == draws.size
    assert np.abs(counts - 100_000).max() < 6 * math.sqrt(300_000 * 2 / 9)
    # Five values come from one byte and must be independent.
    neighbours = draws.reshape(-1)
    assert abs((neighbours[:-1] * neighbours[1:]).mean()) < 6 * (2 / 3) / math.sqrt(300_000)


@pytest.mark.parametrize("sigma", [2.0**-51, 2.0**-20, 2.0**-14.25, MAXIMUM_SIGMA])
def test_gaussian_words_have_requested_standard_deviation(sigma):
    draws = Expander.fresh().gaussian((2, 100_001), sigma).view(np.int64) / (sigma * 2.0**64)
    assert draws.shape == (2, 100_001)
    assert abs(draws.mean()) < 6 / math.sqrt(draws.size)
    assert abs(draws.std() - 1) < 6 / math.sqrt(2 * draws.size)
    assert abs((draws**4).mean() - 3) < 6 * math.sqrt(96 / draws.size)
    for bound in (1, 2, 3):
        expected = math.erfc(bound / math.sqrt(2))
        measured = (np.abs(draws) > bound).mean()
        assert abs(measured - expected) < 6 * math.sqrt(expected / draws.size)


def test_gaussian_beyond_half_the_torus_is_refused():
    with pytest.raises(ValueError, match="too wide"):
        Expander.fresh().gaussian(1, MAXIMUM_SIGMA * 1.01)
    assert math.sqrt(2 * 53 * math.log(2)) * MAXIMUM_SIGMA < 1 / 4


@pytest.mark.parametrize("sigma_log", [-17, -14.25, -10, -6])
def test_wide_gaussians_cover_the_lowest_bits(sigma_log):
    """The last eight bits are uniform, so that they cover those of what they are added to."""
    draws = Expander.fresh().gaussian(100_000, 2.0**sigma_log)
    counts = np.bincount((draws & np.uint64(255)).astype(np.int64), minlength=256)
    expected = len(draws) / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 8 * math.sqrt(2 * 255)
    # Control: doubles alone, beyond 53 bits, are even.
    alone = np.random.default_rng(1).normal(0, 2.0 ** (64 - 6), 100_000).astype(np.int64)
    assert ((alone & 15) == 0).mean() > 0.5


def test_wide_gaussian_repeats_for_the_same_seed():
    first, second = (Expander(SEED).gaussian(100, 2.0**-7) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("bits", [1, 8, 15, 32])
def test_centred_integers_are_uniform(bits):
    drawn = Expander(SEED).centred((4, 10_000), bits)
    half = 2.0 ** (bits - 1)
    assert drawn.shape == (4, 10_000)
    assert drawn.min() >= -half and drawn.max() < half
    assert abs(drawn.mean() + 0.5) < 5 * half / math.sqrt(3 * 40_000)
    assert drawn.var() == pytest.approx((4 * half**2 - 1) / 12, rel=0.03)
    # A fifth of the range holds its share on both sides, so low and high bits count alike.
    assert np.mean(drawn >= half * 0.6) == pytest.approx(0.2 if bits > 1 else 0, abs=0.02)
