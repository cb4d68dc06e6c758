"""Masks: uniform words, their encoding under the key, and masked openings that hide all scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.levelled import opening
from engines.levelled.ceremony import pairwise_keys
from engines.levelled.masked_opening import masked_partial, masked_scores, rerandomise_for_masks
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, PROFILES
from engines.levelled.randomness import Expander
from engines.levelled.words import round_to_bits, words_from_bytes, words_to_bytes
from tests.engines.levelled.joint_keys import PARTIES, errors_of, joint_keys
from utils.errors import ForeignMessage, MalformedMessage, OpeningFailed

BITS = 12
FORMAT = MaskFormat.of(DEFAULT, BITS, 3)
SMALL = MaskFormat.of(DEFAULT.model_copy(update={"n": 64}), 4, 2)
FLOOD = SMUDGE = 2.0**-18
DIGEST = bytes(range(32))


def test_sizes_are_within_their_goals():
    assert FORMAT.mask_bytes(1) == 32 + 14 * 2 * 2048 * (6 + 5)
    for profile in PROFILES.values():
        own = MaskFormat.of(profile, BITS, 3)
        assert (own.mask_bytes(1), own.mask_bytes(6)) < (700_000, 4_000_000)
        assert (own.parameters.n, own.parameters.sigma_log) == (profile.n, profile.sigma_log)


@pytest.mark.parametrize(("parties", "extra"), [(2, 2), (3, 2), (4, 3), (5, 3), (6, 3), (7, 4)])
def test_words_keep_a_quarter_of_half_a_step_for_noise(parties, extra):
    own = MaskFormat.of(DEFAULT, BITS, parties)
    assert own.word_bits == BITS + extra
    assert 3 / 8 < own.truncation / 2.0 ** -(BITS + 1) <= 3 / 4


def test_encrypted_words_have_the_top_bits_of_every_word(joint):
    words = draw_words(2, Expander.fresh())
    sent = encrypt_masks(words, joint.public, FORMAT, Expander.fresh())
    assert len(sent) == FORMAT.mask_bytes(2)
    decoded = decode_masks(sent, joint.public, FORMAT, 2).decode()
    wanted = "".join(f"{int(word):064b}"[: FORMAT.word_bits] for word in words)
    assert decoded.bits == len(wanted) == 28
    gadget = int(FORMAT.parameters.gadget(0))
    for bit, masks, bodies in zip(wanted, decoded.masks, decoded.bodies, strict=True):
        message = np.zeros(DEFAULT.n, np.uint64)
        message[0] = gadget * int(bit)
        # A row's noise is 2^-41.7; a wrong bit would be an error of 2^-21.
        assert np.abs(errors_of(joint, masks[1], bodies[1], message)).max() < 2.0**-38


def test_words_and_their_encryptions_are_fresh(joint):
    first, second = draw_words(1000, Expander.fresh()), draw_words(1000, Expander.fresh())
    assert first.dtype == np.uint64
    assert len({*first.tolist(), *second.tolist()}) == 2000
    ones = np.unpackbits(first.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 6 * 0.5 / math.sqrt(64_000)
    word = first[:1]
    sent = [encrypt_masks(word, joint.public, FORMAT, Expander.fresh()) for _ in range(2)]
    assert sent[0][:32] == sent[1][:32] and sent[0] != sent[1]


@pytest.mark.parametrize("change", [-1, 1, -SMALL.parameters.ggsw_bytes(1), 32])
def test_masks_of_a_wrong_size_are_refused(change):
    key = joint_keys(SMALL.parameters).public
    sent = encrypt_masks(draw_words(2, Expander.fresh()), key, SMALL, Expander.fresh())
    assert decode_masks(sent, key, SMALL, 2).bits == 2 * SMALL.word_bits
    broken = sent[:change] if change < 0 else sent + bytes(change)
    with pytest.raises(MalformedMessage, match="bits have"):
        decode_masks(memoryview(broken), key, SMALL, 2)
    for outputs in (1, 3):
        with pytest.raises(MalformedMessage):
            decode_masks(sent, key, SMALL, outputs)


@given(data=st.binary(max_size=40), padded=st.booleans())
def test_arbitrary_bytes_are_refused_or_are_masks(data, padded):
    key = FUZZED.public
    payload = data.ljust(SMALL.mask_bytes(1), b"\xff") if padded else data
    with pytest.raises((ForeignMessage, MalformedMessage)):
        decode_masks(payload, key, SMALL, 1)
    if padded:
        decoded = decode_masks(key.digest + payload[32:], key, SMALL, 1).decode()
        assert decoded.masks.shape == (SMALL.word_bits, 2, 64)


FUZZED = joint_keys(SMALL.parameters)


def test_masks_under_another_key_are_refused():
    one, other = joint_keys(SMALL.parameters).public, FUZZED.public
    sent = encrypt_masks(draw_words(1, Expander.fresh()), one, SMALL, Expander.fresh())
    with pytest.raises(ForeignMessage, match="masks"):
        decode_masks(sent, other, SMALL, 1)


def masked(joint, scores, words, pairwise=None):
    """Return a masked result of the scores, and all parties' parts."""
    body = np.zeros(joint.parameters.n, np.uint64)
    body[: len(scores)] = scores.astype(np.int64).view(np.uint64) << np.uint64(64 - BITS)
    result = rerandomise_for_masks(
        np.zeros_like(body),
        body,
        len(scores) + KNOWN_ZEROS,
        FLOOD,
        joint.public,
        joint.parameters,
        Expander.fresh(),
    )
    keys = pairwise or pairwise_keys(PARTIES)
    parts = {
        p: masked_partial(result, DIGEST, p, joint.public, secret, words[p], SMUDGE, keys[p])
        for p, secret in joint.secrets.items()
    }
    return result, parts


def words_of(count):
    return {party: draw_words(count, Expander.fresh()) for party in PARTIES}


def test_masked_opening_gives_the_score_less_all_words(joint):
    scores, words = np.array([5, -17, 2047, -2047, 0, -1]), words_of(6)
    result, parts = masked(joint, scores, words)
    phases = masked_scores(result, parts) + sum(words.values())
    assert round_to_bits(phases, BITS).tolist() == scores.tolist()
    # No noise moves a score towards the border but that of the re-randomisation.
    errors = (phases - (scores.view(np.uint64) << np.uint64(52))).view(np.int64) * 2.0**-64
    assert np.abs(errors).max() < 2.0**-41


def test_known_zeros_are_covered_and_detect_wrong_parts(joint):
    scores, words = np.array([700]), words_of(1)
    result, parts = masked(joint, scores, words)
    total = sum(words_from_bytes(part, 1 + KNOWN_ZEROS) for part in parts.values())
    zeros = (result.bodies - total)[1:].view(np.int64) * 2.0**-64
    assert FLOOD / 2 < zeros.std() < 5 * FLOOD
    wrong = {
        "another key": masked(joint_keys(), scores, words)[1]["bank"],
        "another result": masked(joint, scores, words)[1]["bank"],
        "random": words_to_bytes(Expander.fresh().uniform_words(1 + KNOWN_ZEROS)),
    }
    for part in wrong.values():
        with pytest.raises(OpeningFailed, match="Nothing is compared"):
            masked_scores(result, parts | {"bank": part})
    with pytest.raises(MalformedMessage):
        masked_scores(result, parts | {"bank": parts["bank"][:-8]})


def test_parts_are_deterministic_and_need_one_word_per_score(joint):
    scores, words, keys = np.array([3, 4]), words_of(2), pairwise_keys(PARTIES)
    result, parts = masked(joint, scores, words, keys)
    secret = joint.secrets["bank"]
    again = (result, DIGEST, "bank", joint.public, secret)
    assert masked_partial(*again, words["bank"], SMUDGE, keys["bank"]) == parts["bank"]
    for count in (1, 3):
        with pytest.raises(ValueError, match="one word per score"):
            masked_partial(*again, draw_words(count, Expander.fresh()), SMUDGE, keys["bank"])


@pytest.mark.parametrize("lacking", PARTIES)
def test_without_one_party_masked_scores_are_uniform_and_with_it_they_open(
    joint, lacking, monkeypatch
):
    """All others and the server remove the masks that they know from what opened."""
    # A sample of many scores from one opening, which a party's bounds would refuse.
    monkeypatch.setattr(opening, "check_coefficients", lambda _: None)
    scores = np.full(2000, 700)
    words = words_of(len(scores))
    y = masked_scores(*masked(joint, scores, words))
    known = y + sum(own for party, own in words.items() if party != lacking)
    counts, _ = np.histogram(round_to_bits(known, BITS), bins=16, range=(-2048, 2048))
    expected = len(scores) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 60  # 15 degrees of freedom
    # Control: with all words, or if the last party masks nothing, the score is read at once.
    assert (round_to_bits(known + words[lacking], BITS) == 700).all()
    words[lacking] = np.zeros(len(scores), np.uint64)
    unmasked = masked_scores(*masked(joint, scores, words))
    known = unmasked + sum(words.values())
    assert (round_to_bits(known, BITS) == 700).all()


def test_words_used_twice_show_the_difference_of_two_scores(joint):
    """The attack that makes a second opening under the same words impossible to allow."""
    words = words_of(1)
    one, two = (masked_scores(*masked(joint, np.array([s]), words)) for s in (300, -45))
    assert round_to_bits(one - two, BITS).tolist() == [345]
    fresh = masked_scores(*masked(joint, np.array([-45]), words_of(1)))
    assert round_to_bits(one - fresh, 20).tolist() != [345 << 8]
