"""Opening: correct with all shares, meaningless without one, and deterministic shares."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest

from engines.levelled.bounds import MOST_COEFFICIENTS
from engines.levelled.ceremony import pairwise_keys
from engines.levelled.opening import Result, combine, opened, partial, rerandomise
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS
from engines.levelled.randomness import Expander
from engines.levelled.words import words_from_bytes, words_to_bytes
from tests.engines.levelled.joint_keys import PARTIES, joint_keys
from utils.errors import MalformedMessage, OpeningFailed, UnsafeParameters

BITS = 12
FLOOD = SMUDGE = 2.0**-18
DIGEST = bytes(range(32))
SCORES = np.array([5, -17, 2047, -2048, 0, -1])


def result_of(joint, scores=SCORES, flood=FLOOD):
    """Return a re-randomised trivial ciphertext of the scores."""
    body = np.zeros(joint.parameters.n, np.uint64)
    body[: len(scores)] = scores.astype(np.int64).view(np.uint64) << np.uint64(64 - BITS)
    mask = np.zeros_like(body)
    return rerandomise(
        mask,
        body,
        len(scores) + KNOWN_ZEROS,
        flood,
        joint.public,
        joint.parameters,
        Expander.fresh(),
    )


def parts_of(joint, result, pairwise, smudge=SMUDGE, digest=DIGEST):
    return {
        party: partial(result, digest, party, joint.public, secret, smudge, pairwise[party])
        for party, secret in joint.secrets.items()
    }


def test_all_shares_open_the_scores(joint):
    result = result_of(joint)
    parts = parts_of(joint, result, pairwise_keys(PARTIES))
    assert combine(result, parts, BITS).tolist() == SCORES.tolist()
    assert combine(result, dict(reversed(parts.items())), BITS).tolist() == SCORES.tolist()
    assert {len(part) for part in parts.values()} == {8 * (len(SCORES) + KNOWN_ZEROS)}


def test_share_is_deterministic_per_result(joint):
    result, pairwise = result_of(joint), pairwise_keys(PARTIES)
    parts = parts_of(joint, result, pairwise)
    assert parts_of(joint, result, pairwise) == parts
    assert parts_of(joint, result, pairwise, digest=bytes(32)) != parts


def test_smudge_depends_on_result_and_has_requested_width(joint):
    count = MOST_COEFFICIENTS
    result = result_of(joint, np.zeros(count - KNOWN_ZEROS, np.int64))
    secret = joint.secrets["bank"]
    opened_part = secret.opens(result.mask, count)
    parts = (
        partial(result, bytes([i] * 32), "bank", joint.public, secret, SMUDGE, {})
        for i in range(100)
    )
    words = np.array([words_from_bytes(part, count) for part in parts])
    smudges = (words - opened_part).view(np.int64) * 2.0**-64
    assert abs(smudges.std() / SMUDGE - 1) < 0.1
    assert len({row.tobytes() for row in smudges}) == len(smudges)


def test_share_of_more_coefficients_than_any_opening_has_is_refused(joint):
    result = result_of(joint, np.zeros(MOST_COEFFICIENTS - KNOWN_ZEROS + 1, np.int64))
    with pytest.raises(UnsafeParameters, match=f"{MOST_COEFFICIENTS + 1} coefficients"):
        partial(result, DIGEST, "bank", joint.public, joint.secrets["bank"], SMUDGE, {})


def test_zero_shares_cancel_in_the_sum_and_mask_each_share(joint):
    result, pairwise = result_of(joint), pairwise_keys(PARTIES)
    bare = parts_of(joint, result, {party: {} for party in PARTIES})
    covered = parts_of(joint, result, pairwise)

    def words(part):
        return words_from_bytes(part, len(SCORES) + KNOWN_ZEROS)

    difference = sum(words(covered[party]) - words(bare[party]) for party in PARTIES)
    assert not difference.any()
    for party in PARTIES:
        assert (words(covered[party]) != words(bare[party])).all()


def test_share_masked_for_other_parties_opens_nothing(joint):
    result = result_of(joint)
    parts = parts_of(joint, result, pairwise_keys(PARTIES))
    parts["bank"] = parts_of(joint, result, pairwise_keys(PARTIES))["bank"]
    with pytest.raises(OpeningFailed):
        combine(result, parts, BITS)


@pytest.mark.parametrize("kind", ["random", "zero", "of another result", "of another key"])
def test_wrong_share_is_detected(joint, kind):
    result, pairwise = result_of(joint), pairwise_keys(PARTIES)
    parts = parts_of(joint, result, pairwise)
    count = len(result.bodies)
    parts["bank"] = {
        "random": words_to_bytes(Expander.fresh().uniform_words(count)),
        "zero": bytes(8 * count),
        "of another result": parts_of(joint, result_of(joint), pairwise)["bank"],
        "of another key": parts_of(joint_keys(DEFAULT), result, pairwise)["bank"],
    }[kind]
    with pytest.raises(OpeningFailed, match="cannot be trusted"):
        combine(result, parts, BITS)


def test_opened_noise_matches_the_budget(joint):
    count, pairwise, errors = MOST_COEFFICIENTS, pairwise_keys(PARTIES), []
    for _ in range(80):
        result = result_of(joint, np.zeros(count - KNOWN_ZEROS, np.int64))
        parts = parts_of(joint, result, pairwise, digest=os.urandom(32))
        total = sum(words_from_bytes(part, count) for part in parts.values())
        errors.append((result.bodies - total).view(np.int64) * 2.0**-64)
    assert abs(np.std(errors) / (FLOOD * math.sqrt(1 + len(PARTIES))) - 1) < 0.1


def test_results_are_rerandomised(joint):
    one, two = result_of(joint), result_of(joint)
    assert not (one.mask == two.mask).any()
    assert not (one.bodies == two.bodies).any()


def test_results_are_equal_within_the_tolerance_only(joint):
    result = result_of(joint)
    most = 1 << 38  # 2^-26 of the torus
    for name in ("mask", "bodies"):
        for off, equal in ((most, True), (-most, True), (most + 1, False), (1 << 63, False)):
            words = getattr(result, name).copy()
            words[3] = np.uint64((int(words[3]) + off) % (1 << 64))
            changed = replace(result, **{name: words})
            assert changed.equals(result) is result.equals(changed) is equal


def test_results_round_trip_as_bytes(joint):
    result = result_of(joint)
    data = result.to_bytes()
    assert len(data) == DEFAULT.result_bytes(len(SCORES) + KNOWN_ZEROS)
    read = Result.from_bytes(memoryview(data), DEFAULT, len(SCORES) + KNOWN_ZEROS)
    assert np.array_equal(read.mask, result.mask)
    assert np.array_equal(read.bodies, result.bodies)
    for broken in (data[:-1], data + b"\0", data[:-8], b""):
        with pytest.raises(MalformedMessage, match="result"):
            Result.from_bytes(broken, DEFAULT, len(SCORES) + KNOWN_ZEROS)


def test_malformed_shares_and_keys_are_refused(joint):
    result, pairwise = result_of(joint), pairwise_keys(PARTIES)
    parts = parts_of(joint, result, pairwise)
    with pytest.raises(MalformedMessage):
        combine(result, parts | {"bank": parts["bank"][:-1]}, BITS)
    with pytest.raises(MalformedMessage, match="32 bytes"):
        parts_of(joint, result, pairwise | {"bank": dict.fromkeys(pairwise["bank"], b"short")})


def test_two_parties_colluding_with_server_decode_at_chance_level():
    """Decoding over many keys is always right with three secrets, and random with two.

    The two parties know their own secrets, all key shares, the result and the third party's
    decryption share, without the noise that covers it. They lack only the third party's secret and
    its zero shares.
    """
    parameters = DEFAULT.model_copy(update={"n": 256})
    truths, guesses, controls = [], [], []
    for run in range(400):
        joint = joint_keys(parameters)
        truth = np.array([700 if run % 2 else -700])
        result = result_of(joint, truth)
        bare = {party: {} for party in PARTIES}
        parts = parts_of(joint, result, bare)
        truths.append(truth[0] > 0)
        controls.append(combine(result, parts, BITS)[0] == truth[0])
        del parts["bank"]
        guesses.append(opened(result, parts, BITS)[0] > 0)
    assert all(controls)
    agreement = np.mean(np.array(truths) == np.array(guesses))
    assert abs(agreement - 0.5) < 6 * 0.5 / math.sqrt(400)


def test_two_shares_and_a_guessed_third_decode_to_uniform_values(joint):
    scores, values = np.full(MOST_COEFFICIENTS - KNOWN_ZEROS, 700), []
    for _ in range(80):
        result, pairwise = result_of(joint, scores), pairwise_keys(PARTIES)
        parts = parts_of(joint, result, pairwise)
        parts["applicant"] = bytes(len(parts["applicant"]))
        values.extend(opened(result, parts, BITS))
    counts, _ = np.histogram(values, bins=16, range=(-2048, 2048))
    expected = len(values) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 60  # 15 degrees of freedom
