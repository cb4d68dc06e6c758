"""Key shares, and their sum."""

import numpy as np
import pytest

from engines.levelled import keys
from engines.levelled.keys import (
    PublicKey,
    SecretShare,
    collective_key,
    common_mask,
)
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.levelled.ring import multiply_exact
from engines.levelled.words import words_from_bytes
from utils.errors import MalformedMessage


def test_public_key_matches_sum_of_secrets(joint):
    mask = common_mask(joint.public.common, DEFAULT.n)
    errors = (joint.public.body - multiply_exact(mask, joint.secret_sum)).view(np.int64) * 2.0**-64
    assert 0.8 < errors.std() / (DEFAULT.sigma * 3**0.5) < 1.2


def test_every_share_carries_the_full_noise(joint):
    mask = common_mask(joint.public.common, DEFAULT.n)
    for party, share in joint.shares.items():
        own = words_from_bytes(share, DEFAULT.n)
        errors = (own - multiply_exact(mask, joint.secrets[party].polynomial)).view(np.int64)
        assert 0.85 < errors.std() * 2.0**-64 / DEFAULT.sigma < 1.15


def test_keys_round_trip_with_exact_sizes(joint):
    data = joint.public.to_bytes()
    assert len(data) == DEFAULT.public_key_bytes
    assert PublicKey.from_bytes(data, DEFAULT).to_bytes() == data
    for secret in joint.secrets.values():
        packed = secret.to_bytes()
        assert len(packed) == 1 + 32 + 512
        read = SecretShare.from_bytes(packed, DEFAULT)
        assert np.array_equal(read.polynomial, secret.polynomial)
        assert read.smudge_key == secret.smudge_key
    assert {len(share) for share in joint.shares.values()} == {16384}


def test_secrets_are_fresh_and_hidden_in_repr(joint):
    secrets = list(joint.secrets.values())
    assert len({secret.to_bytes() for secret in secrets}) == len(secrets)
    assert repr(secrets[0]) == "SecretShare()"


def test_the_sum_does_not_depend_on_the_order(joint):
    turned = dict(reversed(joint.shares.items()))
    assert collective_key(joint.public.common, turned, DEFAULT).digest == joint.public.digest


@pytest.mark.parametrize("change", [-1, 1, -16384])
def test_bytes_of_wrong_length_are_refused(joint, change):
    def changed(data):
        return data[:change] if change < 0 else data + bytes(change)

    with pytest.raises(MalformedMessage, match="public key"):
        PublicKey.from_bytes(changed(joint.public.to_bytes()), DEFAULT)
    with pytest.raises(MalformedMessage):
        SecretShare.from_bytes(changed(joint.secrets["bank"].to_bytes()), DEFAULT)
    with pytest.raises(MalformedMessage):
        wrong = joint.shares | {"bank": changed(joint.shares["bank"])}
        collective_key(joint.public.common, wrong, DEFAULT)


def test_secrets_with_impossible_coefficients_or_another_format_are_refused(joint):
    data = bytearray(joint.secrets["bank"].to_bytes())
    for position, value in ((0, 2), (40, 0b11)):
        broken = bytearray(data)
        broken[position] = value
        with pytest.raises(MalformedMessage, match="secret key"):
            SecretShare.from_bytes(bytes(broken), DEFAULT)


def test_fresh_randomness_gives_different_secrets():
    common = bytes(32)
    one, two = (keys.key_share(common, DEFAULT, Expander.fresh()) for _ in range(2))
    assert one[1] != two[1]
    assert one[0].smudge_key != two[0].smudge_key
