"""Signs of masked scores: exact in integers and under encryption, and the same on every machine."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.interface import DECIDE, EXPLAIN
from engines.levelled.comparison import (
    combine_signs,
    largest_carries,
    rotated_bits,
    signs,
    table_cover,
    turned,
)
from engines.levelled.ggsw import Ggsw
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, SIGN_BITS
from engines.levelled.randomness import Expander
from engines.levelled.words import words_to_bytes
from features.encoding import Layout
from features.schema import Schema
from model.polynomial import sample_states
from model.program import explain_program
from settings import ROOT
from tests.engines.levelled.joint_keys import joint_keys
from trials.signs import SignRun
from utils.errors import OpeningFailed

TINY = DEFAULT.model_copy(update={"n": 64})
QUARTER = 1 << 62
PARTIES = ("one", "two", "three", "four")


def bare(words, mask_format):
    """Return noiseless GGSW ciphertexts of words' top bits that need no key: phase = body."""
    kept, own = mask_format.word_bits, mask_format.parameters
    places = np.arange(63, 63 - kept, -1, dtype=np.uint64)
    bits = (words[:, None] >> places & np.uint64(1)).reshape(-1)
    masks = np.zeros((len(bits), own.rows, own.n), np.uint64)
    bodies = masks.copy()
    masks[:, 0, 0] = bodies[:, 1, 0] = bits * own.gadget(0)
    return Ggsw(masks, bodies)


def compared(y, words, mask_format):
    """Return the signs of a comparison with bare ciphertexts: 1 or -1 for each score."""
    none = np.zeros((len(y), 2, mask_format.parameters.n), np.uint64)
    mask, body = signs(y, [bare(own, mask_format) for own in words], mask_format, none)
    assert not mask.any()
    found = body[: len(y)].view(np.int64)
    assert set(np.abs(found).tolist()) == {QUARTER}
    return np.sign(found)


def reference(y, words, mask_format):
    """Return the signs by Python's integers, from the definition in comparison.py."""
    kept = mask_format.word_bits
    sums = [
        ((int(own) + mask_format.offset) % 2**64 >> (64 - kept))
        + sum(int(word[j]) >> (64 - kept) for word in words)
        for j, own in enumerate(y)
    ]
    return np.array([-1 if total >> (kept - 1) & 1 else 1 for total in sums])


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize(("score_bits", "outputs"), [(12, 24), (10, 8)])
def test_random_sums_match_integers(parties, score_bits, outputs):
    """With more outputs, fewer bits rotate and more are carried."""
    mask_format = MaskFormat.of(TINY, score_bits, parties)
    y, *words = Expander(bytes([parties] * 32)).uniform_words((1 + parties, outputs))
    assert np.array_equal(compared(y, words, mask_format), reference(y, words, mask_format))


words_64 = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])


@settings(max_examples=25)
@given(data=st.data(), parties=st.integers(2, 4), score_bits=st.integers(4, 12))
def test_any_sum_matches_integers(data, parties, score_bits):
    outputs = data.draw(st.sampled_from([1, 3]))
    mask_format = MaskFormat.of(TINY, score_bits, parties)
    row = st.lists(words_64, min_size=outputs, max_size=outputs)
    y, *words = (np.array(data.draw(row), np.uint64) for _ in range(1 + parties))
    assert np.array_equal(compared(y, words, mask_format), reference(y, words, mask_format))


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("low", ["least", "largest", "random"])
def test_scores_are_right_with_the_largest_noise_that_the_model_allows(parties, low):
    """Next to both borders, with the worst lower bits of words; beyond half a step it fails."""
    mask_format = MaskFormat.of(TINY, 12, parties)
    step, kept = 1 << 52, mask_format.word_bits
    left = step // 2 - int(mask_format.truncation * 2**64)
    scores = [-2047, -1, 0, 1, 2047]
    randomness = Expander(bytes([parties] * 32))
    below = np.uint64((1 << (64 - kept)) - 1)

    def found(noise):
        words = randomness.uniform_words((parties, len(scores)))
        if low != "random":
            words &= ~below
            words |= below if low == "largest" else np.uint64(0)
        phases = np.array([(s * step + noise) % 2**64 for s in scores], np.uint64)
        y = phases - words.sum(axis=0, dtype=np.uint64)
        return compared(y, list(words), mask_format).tolist()

    expected = [-1, -1, 1, 1, 1]
    for noise in (0, left - parties, parties - left):
        assert found(noise) == expected
    most = step // 2 + int(mask_format.truncation * 2**64) + parties
    assert found(most) == [-1, 1, 1, 1, -1]  # -1 counts as 0, and 2047 wraps around
    assert found(-most) == [-1, -1, -1, 1, 1]  # 0 counts as -1


def test_largest_carries_are_those_that_are_reached():
    randomness = np.random.default_rng(3)
    for parties in (2, 3, 4):
        bits = randomness.integers(0, 2, (20, 5))
        carries = largest_carries(bits, parties)
        for own, most in zip(bits, carries, strict=True):
            reached = {0}
            for level, bit in enumerate(own):
                assert reached == set(range(most[level] + 1))
                reached = {(c + bit + s) // 2 for c in reached for s in range(parties + 1)}
            assert reached == set(range(most[-1] + 1))


def test_rotations_leave_room_for_all_signs():
    assert [rotated_bits(2048, outputs, 14) for outputs in (1, 6, 16, 17)] == [8, 8, 8, 7]
    for n in (64, 2048):
        for outputs in (1, 6, 8, 9, 24, n):
            stride = 2 * n >> rotated_bits(n, outputs, 14)
            assert outputs <= stride <= n


def test_turning_multiplies_by_a_monomial():
    polynomial = Expander.fresh().uniform_words(8)
    assert np.array_equal(turned(polynomial, 8), -polynomial)
    assert np.array_equal(turned(polynomial, -16), polynomial)
    assert turned(polynomial, 3).tolist() == [*(-polynomial[5:]).tolist(), *polynomial[:5].tolist()]
    assert np.array_equal(turned(turned(polynomial, -5), 5), polynomial)


def test_masks_that_do_not_fit_are_refused():
    mask_format = MaskFormat.of(TINY, 12, 3)
    y = np.zeros(2, np.uint64)
    two, three = (bare(np.zeros(count, np.uint64), mask_format) for count in (2, 3))
    for masks in ([two, two], [two, two, three], []):
        with pytest.raises(ValueError, match="every party"):
            signs(y, masks, mask_format, np.zeros((2, 2, TINY.n), np.uint64))


@pytest.mark.parametrize("parties", [2, 3, 4])
@pytest.mark.parametrize("outputs", [1, 6])
def test_encrypted_comparison_is_exact_for_any_number_of_parties(parties, outputs):
    key = joint_keys(DEFAULT, PARTIES[:parties])
    mask_format = MaskFormat.of(DEFAULT, 12, parties)
    scores = np.array([-1, 0, 1, 2047, -2047, 5])[:outputs]
    words = [draw_words(outputs, Expander.fresh()) for _ in range(parties)]
    y = (scores.view(np.uint64) << np.uint64(52)) - sum(words)
    sent = [encrypt_masks(own, key.public, mask_format, Expander.fresh()) for own in words]
    decoded = [decode_masks(own, key.public, mask_format, outputs) for own in sent]
    cover = table_cover(key.public, os.urandom(32), outputs)
    phases = key.phase(*signs(y, decoded, mask_format, cover))
    errors = phases[:outputs].view(np.int64) * 2.0**-64 - np.where(scores >= 0, 0.25, -0.25)
    assert np.abs(errors).max() < 2.0**-8


def explains_more(decide, layout):
    """Return an explanation with 20 scores, so many that fewer than 8 top bits rotate."""
    document = layout.schema.model_dump(mode="json")
    income, _ = document["explanation"]["alternatives"]
    income["steps"] = layout.schema.column("Total_income").cuts[:12]
    document["explanation"]["pairs"] = []
    return explain_program(decide, Layout(Schema.parse(document)))


@pytest.mark.parametrize("name", [DECIDE, EXPLAIN, "more"])
def test_signs_of_real_programs_equal_the_reference(joint, layout, small_programs_of, name):
    """With the program's own noise and all covering noise, as it is and moved to the borders.

    Public constants move the scores of one evaluation to -1, 0 and +1 and to the extremes.
    """
    programs = small_programs_of(12)
    program = explains_more(programs[DECIDE], layout) if name == "more" else programs[name]
    kept = rotated_bits(DEFAULT.n, len(program.outputs), 14)
    assert (len(program.outputs), kept) == {DECIDE: (1, 8), EXPLAIN: (11, 8), "more": (20, 7)}[name]
    run = SignRun.of(EXPLAIN if name == "more" else name, program, joint)
    row = layout.bits_of_states(sample_states(layout, 1, seed=5))
    scores = program.scores(row)[0]
    outcome = run.evaluated(row[0])
    borders = np.resize([-1, 0, 1, 2047, -2047, 12], (max(6, len(scores)),))
    cases = [scores, *(np.roll(borders, k)[: len(scores)] for k in range(6))]
    for wanted in cases[: {DECIDE: 7, EXPLAIN: 3}.get(name, 2)]:
        mask, body = outcome[0], outcome[1].copy()
        body[: len(scores)] += (wanted - scores).view(np.uint64) << np.uint64(52)
        assert run.approvals(mask, body).tolist() == (wanted >= 0).tolist()
    measured, model = np.sqrt(np.mean(np.square(run.errors))), run.budgets.signs.sigma_program
    print(f"measured 2^{np.log2(measured):.2f}, model 2^{np.log2(model):.2f}")
    assert model / 2 < measured < 1.25 * model


def test_values_other_than_a_sign_are_errors():
    def results(values):
        """Return the parts of a result whose masks are 0: signs, and known zeros."""
        phases = [np.array(own, np.int64).view(np.uint64) for own in (values, [0] * KNOWN_ZEROS)]
        return [Result(np.zeros(16, np.uint64), own << np.uint64(64 - SIGN_BITS)) for own in phases]

    none = [{"one": bytes(8 * count)} for count in (2, KNOWN_ZEROS)]
    assert combine_signs(results([1, -1]), none).tolist() == [True, False]
    for wrong in ([0, 1], [1, -2], [2, -1]):
        with pytest.raises(OpeningFailed, match="neither approved nor denied"):
            combine_signs(results(wrong), none)
    added = np.zeros(KNOWN_ZEROS, np.uint64)
    added[-1] = QUARTER
    with pytest.raises(OpeningFailed, match="do not open this result"):
        combine_signs(results([1, 1]), [none[0], {"one": words_to_bytes(added)}])


_CHAINS = """
import hashlib
import numpy as np
from engines.levelled.comparison import signs, table_cover
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.masks import MaskFormat
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from engines.levelled.ring import decompose, forward, inverse

own, randomness = MaskFormat.of(DEFAULT, 12, 3), Expander(bytes(32))
shape = (own.word_bits, own.parameters.rows, DEFAULT.n)
masks = [
    Ggsw(randomness.uniform_words(shape), randomness.uniform_words(shape)).cut(own.parameters)
    for _ in range(own.parties)
]
key = PublicKey(bytes(32), randomness.uniform_words(DEFAULT.n))
cover = table_cover(key, bytes(32), 1)
exact = signs(randomness.uniform_words(1), masks, own, cover)
rounded = randomness.uniform_words((2, DEFAULT.n))
for values in masks[0].transform():
    digits = forward(decompose(rounded, own.parameters.base_log, own.parameters.levels))
    rounded = inverse((digits * values).sum(axis=0))
for words in (np.stack(exact), rounded):
    print(hashlib.sha256(words.tobytes()).hexdigest())
"""


def digests_without(features):
    """Return the digests of an exact comparison and of a chain of rounded products."""
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(features)}
    run = subprocess.run(
        [sys.executable, "-c", _CHAINS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return run.stdout.split()


def test_comparison_gives_the_same_words_without_fused_multiplication():
    """A witness on another machine compares words; a chain of rounded products differs there."""
    umath = np._core._multiarray_umath
    used = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
    if not used:
        pytest.skip("this machine has no instructions that NumPy could switch off")
    exact, rounded = digests_without([])
    exact_elsewhere, rounded_elsewhere = digests_without(used)
    assert exact == exact_elsewhere
    assert rounded != rounded_elsewhere
