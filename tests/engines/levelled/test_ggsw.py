"""GGSW ciphertexts: rounding of words, exact sizes, and the encoding's round trip."""

import numpy as np
import pytest

from engines.levelled.encryption import encrypt_bits
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.levelled.ring import forward
from tests.engines.levelled.joint_keys import errors_of
from utils.errors import MalformedMessage

SMALL = DEFAULT.model_copy(update={"n": 16})


def random_ggsw(bits, parameters=SMALL):
    shape = (bits, parameters.rows, parameters.n)
    return Ggsw(Expander.fresh().uniform_words(shape), Expander.fresh().uniform_words(shape))


def test_bytes_decode_to_the_rounded_ciphertexts():
    ciphertexts = random_ggsw(5)
    data = ciphertexts.to_bytes(SMALL)
    assert len(data) == SMALL.ggsw_bytes(5) == 5 * 4 * 16 * 13
    read, cut = Ggsw.from_bytes(data, 5, SMALL), ciphertexts.cut(SMALL)
    assert np.array_equal(read.masks, cut.masks)
    assert np.array_equal(read.bodies, cut.bodies)
    assert read.to_bytes(SMALL) == data
    assert read.bits == 5


def test_words_are_packed_little_endian_by_their_most_significant_bytes():
    masks = np.full((1, 4, 16), 0x0102030405060700, np.uint64)
    bodies = np.full((1, 4, 16), 0x1112131415160000, np.uint64)
    data = Ggsw(masks, bodies).to_bytes(SMALL)
    assert data[:7] == bytes([7, 6, 5, 4, 3, 2, 1])
    assert data[-6:] == bytes([0x16, 0x15, 0x14, 0x13, 0x12, 0x11])


@pytest.mark.parametrize("widths", [(56, 48), (48, 40), (64, 64), (64, 48)])
def test_cut_rounds_to_nearest_and_wraps(widths):
    parameters = SMALL.model_copy(update={"mask_bits": widths[0], "body_bits": widths[1]})
    ciphertexts = random_ggsw(3)
    ciphertexts.masks[0, 0, 0] = 2**64 - 1
    cut = ciphertexts.cut(parameters)
    for before, after, bits in zip(
        (ciphertexts.masks, ciphertexts.bodies), (cut.masks, cut.bodies), widths, strict=True
    ):
        step = 2 ** (64 - bits)
        assert not (after % np.uint64(step)).any()
        assert np.abs((after - before).view(np.int64)).max() <= step // 2
    assert cut.masks[0, 0, 0] == (0 if widths[0] < 64 else 2**64 - 1)
    again = Ggsw.from_bytes(cut.to_bytes(parameters), 3, parameters)
    assert np.array_equal(again.masks, cut.masks)


@pytest.mark.parametrize("change", [-1, 1, -13, 13 * 64])
def test_wrong_length_is_refused(change):
    data = random_ggsw(2).to_bytes(SMALL)
    data = data[:change] if change < 0 else data + bytes(change)
    with pytest.raises(MalformedMessage, match="2 bits"):
        Ggsw.from_bytes(memoryview(data), 2, SMALL)


def test_subset_of_bits_can_be_decoded():
    data = random_ggsw(6).to_bytes(SMALL)
    every = Ggsw.from_bytes(data, 6, SMALL)
    for wanted in ([5, 0, 3], [2], []):
        encoded = EncodedGgsw(data, 6, SMALL, np.array(wanted, np.intp))
        some = encoded.decode()
        for i, bit in enumerate(wanted):
            assert np.array_equal(encoded.one(i).masks[0], every.masks[bit])
            assert np.array_equal(encoded.one(i).bodies[0], every.bodies[bit])
            for row in range(SMALL.rows):
                assert np.array_equal(encoded.row(i, row), every.row(bit, row))
        assert np.array_equal(some.masks, every.masks[wanted])
        assert np.array_equal(some.bodies, every.bodies[wanted])


def test_transforms_have_masks_then_bodies():
    ciphertexts = random_ggsw(3)
    values = ciphertexts.transform()
    assert values.shape == (3, 4, 2, 8)
    assert np.array_equal(values[2, 1, 0], forward(ciphertexts.masks[2, 1]))
    assert np.array_equal(values[0, 3, 1], forward(ciphertexts.bodies[0, 3]))


def test_joined_keeps_order():
    first, second = random_ggsw(2), random_ggsw(1)
    joined = Ggsw.joined([first, second])
    assert joined.bits == 3
    assert np.array_equal(joined.masks[2], second.masks[0])
    assert np.array_equal(joined.bodies[1], first.bodies[1])


def test_rows_encrypt_the_message_times_the_gadget(joint):
    bits = np.array([1, 0], np.uint8)
    ciphertexts = encrypt_bits(bits, joint.public, DEFAULT, Expander.fresh())
    secret = joint.secret_sum.astype(np.uint64)
    for m, masks, bodies in zip(bits, ciphertexts.masks, ciphertexts.bodies, strict=True):
        for j in range(DEFAULT.levels):
            message = DEFAULT.gadget(j) * np.uint64(m)
            constant = np.zeros(DEFAULT.n, np.uint64)
            constant[0] = message
            on_mask = errors_of(
                joint, masks[j], bodies[j], np.zeros(1, np.uint64) - message * secret
            )
            on_body = errors_of(joint, masks[2 + j], bodies[2 + j], constant)
            assert np.abs(on_mask).max() < 2.0**-41
            assert np.abs(on_body).max() < 2.0**-41
