"""Encryption under the collective key: randomised, and decrypted by all shares together."""

import numpy as np

from engines.levelled.encryption import encrypt_bits, zeros
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.levelled.ring import multiply_exact
from engines.levelled.words import round_to_bits


def test_all_shares_decrypt_public_key_encryption(joint):
    masks, bodies = zeros(joint.public, 20, DEFAULT, Expander.fresh())
    messages = Expander.fresh().uniform_words((20, DEFAULT.n)) >> np.uint64(44)
    opened = round_to_bits(joint.phase(masks, bodies + (messages << np.uint64(44))), 20)
    assert np.array_equal(opened % 2**20, messages.astype(np.int64))


def test_two_of_three_shares_do_not_decrypt(joint):
    masks, bodies = zeros(joint.public, 5, DEFAULT, Expander.fresh())
    for missing in joint.secrets.values():
        phases = bodies - multiply_exact(masks, joint.secret_sum - missing.polynomial)
        errors = phases.view(np.int64) * 2.0**-64
        # The standard deviation of the uniform distribution on the torus is 1/√12.
        assert abs(errors.std() - 12**-0.5) < 0.02


def test_no_randomness_is_used_twice(joint):
    bits = np.ones(6, np.uint8)
    one, two = (encrypt_bits(bits, joint.public, DEFAULT, Expander.fresh()) for _ in range(2))
    rows = np.concatenate([one.masks, two.masks]).reshape(-1, DEFAULT.n)
    assert len(np.unique(rows[:, 5])) == len(rows)


def test_encryptions_of_0_and_1_have_same_shape_and_distribution(joint):
    ciphertexts = encrypt_bits(np.array([0, 1], np.uint8), joint.public, DEFAULT, Expander.fresh())
    assert ciphertexts.masks.shape == ciphertexts.bodies.shape == (2, 4, 2048)
    for words in (*ciphertexts.masks, *ciphertexts.bodies):
        assert abs((words.view(np.int64) * 2.0**-64).std() - 12**-0.5) < 0.02
