"""What a party gains by encrypted masks that are not bits, as stated in docs/PROTOCOL.md.

Nobody checks the masks. The first party in the schema's order is the first whose mask acts on the
comparison's public table, so it could add whatever it likes to the table, if the table's digits
were known to it. They are not, since the table is covered by an encryption of zero that nobody can
foresee; and nothing but the sign is opened of the comparison. The controls are without the cover,
and with known zeros opened from the comparison.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest

from engines.envelope import seal, unseal
from engines.interface import DECIDE, MASKED_OF, SIGN_OF
from engines.levelled import server as server_module
from engines.levelled.build import SIGN
from engines.levelled.ceremony import WholeKey, pairwise_keys
from engines.levelled.comparison import combine_signs, rotated_bits, signs, table_cover, turned
from engines.levelled.encryption import encrypt_bits
from engines.levelled.ggsw import Ggsw
from engines.levelled.levels import level_table, levels
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.messages import join_inputs, split_inputs
from engines.levelled.opening import Result, partial, rerandomise
from engines.levelled.parameters import KNOWN_ZEROS, LEVEL_BITS, WIDE_NOISE, mask_parameters
from engines.levelled.party import LevelledParty
from engines.levelled.randomness import Expander
from engines.levelled.results import coefficients_of_parts, split_results, split_shares
from engines.levelled.ring import decompose
from engines.levelled.sign_budgets import sign_budget
from engines.levelled.words import sum_of_words
from model.levels import LEVELS, shift
from tests.privacy.misbehaving import lying
from tests.privacy.small import PARTIES, EngineHalves, random_bits, small_deployment
from tests.privacy.table import Table

FORMAT = MaskFormat.of(WIDE_NOISE, 12, len(PARTIES))
KEPT, OWN = FORMAT.word_bits, mask_parameters(WIDE_NOISE)
ROTATING = rotated_bits(OWN.n, 1, KEPT)
STRIDE = 2 * OWN.n >> ROTATING
LIFT_LOG = 20
"""log2 of the public table's digits: it differs from its negative by 1/2, which is 2^20 / 2^21."""
CODED = 1 << 60
"""1/16: half of what a known zero may differ from 0, so that no reader notices."""


@dataclass(frozen=True)
class Opened:
    """The parts of a result of a sign, and all parties' shares of them."""

    results: list[Result]
    shares: list[dict[str, bytes]]

    @property
    def phases(self):
        """The phases that open, shape (1 + KNOWN_ZEROS,)."""
        return np.concatenate(
            [
                (result.bodies - sum_of_words(parts, len(result.bodies))).view(np.int64)
                for result, parts in zip(self.results, self.shares, strict=True)
            ]
        )

    @property
    def approved(self):
        """What readers see; raises OpeningFailed if they notice something."""
        return bool(combine_signs(self.results, self.shares)[0])


@pytest.fixture(scope="module")
def key():
    return WholeKey.make(PARTIES, WIDE_NOISE)


def opened(key, masks, y, covered=True, apart=True):
    """Open the sign of y as the parties do; as controls, uncovered, or with its own known zeros."""
    budget, pairwise = sign_budget(FORMAT, 1), pairwise_keys(PARTIES)
    mask, body = compared(key, y, masks, covered)
    none = np.zeros_like(mask)
    zeros = (none, none) if apart else (turned(mask, -1), turned(body, -1))
    results, shares = [], []
    for own, count in (((mask, body), 1), (zeros, KNOWN_ZEROS)):
        flood, digest = budget.sigma_flood, os.urandom(32)
        results.append(rerandomise(*own, count, flood, key.public, WIDE_NOISE, Expander.fresh()))
        shares.append(
            {
                name: partial(
                    results[-1], digest, name, key.public, own, budget.sigma_smudge, pairwise[name]
                )
                for name, own in key.secrets.items()
            }
        )
    return Opened(results, shares)


def masked(key, score):
    """Return a masked score, the first party's top bit, and the encrypted masks of all parties."""
    words = {name: draw_words(1, Expander.fresh()) for name in PARTIES}
    phase = np.array([score << 52], np.int64).view(np.uint64)
    y = phase - sum(words.values(), np.zeros(1, np.uint64))
    masks = [
        decode_masks(
            encrypt_masks(own, key.public, FORMAT, Expander.fresh()), key.public, FORMAT, 1
        )
        for own in words.values()
    ]
    return y, int(words[PARTIES[0]][0] >> np.uint64(63)), masks


def with_addition(mask, added_mask, added_body):
    """Return masks of which the body row of the most significant bit has something added."""
    own = mask.decode()
    masks, bodies = own.masks.copy(), own.bodies.copy()
    masks[0, 1] += added_mask
    bodies[0, 1] += added_body
    return Ggsw(masks, bodies).cut(OWN)


def chosen_table(table):
    """Return what a first party adds so that coefficient i opens table[i, T'], signed by T' ≥ N/s.

    `table` has shape (1 + KNOWN_ZEROS, N / STRIDE), in words; T' is the sum of all words' top bits,
    but for the party's own most significant one.
    """
    wanted = np.zeros(OWN.n, np.int64)
    for i, values in enumerate(table):
        wanted[i::STRIDE] = values
    once = turned(wanted.view(np.uint64), STRIDE).view(np.int64)
    return np.zeros(OWN.n, np.uint64), (-(wanted - once) >> (LIFT_LOG + 1)).view(np.uint64)


def copied(rows):
    """Return what a first party adds to have RLWE rows' messages opened on coefficients 1, 2, …"""
    parts = [[turned(words, i) << np.uint64(12) for words in row] for i, row in enumerate(rows, 1)]
    mask, body = (sum(own, np.zeros(OWN.n, np.uint64)) for own in zip(*parts, strict=True))
    body[1:KNOWN_ZEROS] -= np.uint64(CODED)
    body[KNOWN_ZEROS] += np.uint64(CODED)  # tells the sign of all
    shift = np.uint64(LIFT_LOG)
    return (np.uint64(0) - mask) >> shift, (np.uint64(0) - body) >> shift


def compared(key, y, masks, covered):
    """Compare as the server does, or with the table uncovered: the control."""
    cover = table_cover(key.public, os.urandom(32), 1)
    return signs(y, masks, FORMAT, cover if covered else np.zeros_like(cover))


def reading_the_score(masks):
    """Replace the first party's masks by those with which it reads the score's top 8 bits."""
    table = np.full((1 + KNOWN_ZEROS, OWN.n // STRIDE), CODED, np.int64)
    table[0] = 0
    sums = np.arange(OWN.n // STRIDE)
    for i in range(1, KNOWN_ZEROS):
        table[i] = np.where(sums >> (i - 1) & 1, CODED, -CODED)
    return [with_addition(masks[0], *chosen_table(table)), *masks[1:]]


def reading_a_record(key, masks, bits):
    """Replace the first party's masks by those with which it reads another's bits.

    It needs their ciphertexts, which only the server and the witnesses have.
    """
    record = encrypt_bits(bits, key.public, WIDE_NOISE, Expander.fresh()).cut(WIDE_NOISE)
    rows = [record.row(i, WIDE_NOISE.levels) for i in range(len(bits))]
    return [with_addition(masks[0], *copied(rows)), *masks[1:]]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("masks"), opens=SIGN))


def decided_by_cheat(small):
    """Return a table after the sign of a decision whose first party forges its masks, and it."""

    def forged(self, program, party, public_key, secret):
        honest = LevelledParty.encrypt_masks(self, program, party, public_key, secret)
        header, payload = unseal(honest)
        digest, ciphertexts = split_inputs(payload, KEPT, OWN)
        made = reading_the_score([ciphertexts])[0]
        return seal(header, join_inputs(digest, made, OWN))

    assert small.score_bits(DECIDE) == FORMAT.score_bits
    table = Table(small, engines={PARTIES[0]: lying(small, encrypt_masks=forged)}).keys()
    bits = random_bits(small.deployment.layout, np.random.default_rng(6), 1)[0]
    uploads = table.sent(bits)
    table.agree(DECIDE, uploads)
    first = small.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, first)
    uploads[PARTIES[0], MASKED_OF[DECIDE]] = table[PARTIES[1]].masked_scores(DECIDE, first)
    result = small.server.evaluate(SIGN_OF[DECIDE], uploads)
    table.open(SIGN_OF[DECIDE], result)
    return table, result, small.scores(DECIDE, bits)[0] >= 0


def phases_of(table, result):
    """Return the phases that open to a reader, shape (1 + KNOWN_ZEROS,)."""
    counts = coefficients_of_parts(table.halves.server.public, SIGN_OF[DECIDE])
    results = split_results(unseal(result)[1], WIDE_NOISE, counts)
    shares = split_shares(table[PARTIES[0]]._parts(SIGN_OF[DECIDE], result), counts)
    return Opened(results, shares).phases


def test_forged_masks_open_nothing_where_zeros_open(small):
    table, result, _ = decided_by_cheat(small)
    assert np.abs(phases_of(table, result)[1:]).max() < CODED


def test_control_without_both_defences_no_reader_notices_forged_masks(small, monkeypatch):
    rerandomise, last = server_module.rerandomise, []

    def of_the_comparison(mask, body, *rest):
        if mask.any():
            last[:] = mask, body
        else:
            mask, body = (turned(own, -1) for own in last)
        return rerandomise(mask, body, *rest)

    monkeypatch.setattr(server_module, "rerandomise", of_the_comparison)
    monkeypatch.setattr(
        server_module, "table_cover", lambda *given: np.zeros_like(table_cover(*given))
    )
    table, result, approved = decided_by_cheat(small)
    for name in PARTIES:
        assert table[name].scores(SIGN_OF[DECIDE], result) == (0.0 if approved else -1.0,)
    phases = phases_of(table, result)
    assert (np.abs(np.abs(phases[1:]) - CODED) < CODED).all()  # where zeros should open
    assert np.abs(phases[1:]).mean() > CODED / 2


def random_record():
    return np.random.default_rng().integers(0, 2, KNOWN_ZEROS - 1).astype(np.uint8)


@pytest.mark.parametrize("score", [-700, 3])
def test_honest_masks_open_the_sign(key, score):
    y, _, masks = masked(key, score)
    assert opened(key, masks, y).approved is (score >= 0)


def concentration(phases, unit=1):
    """Return |mean of e^(2πi·unit·phase)|: 1 for one value modulo 1/unit, about 0 if uniform.

    More than 0.85 for 20 uniform phases with probability 10^-6.
    """
    return np.exp(2j * np.pi * unit * np.array(phases) * 2.0**-64).mean()


def exact(key, masks, y):
    """Return the phases of the sign after 20 comparisons, without the noise that covers them."""
    return [key.phase(*compared(key, y, masks, True))[:1].view(np.int64)[0] for _ in range(20)]


def test_masks_with_a_table_or_anothers_record_open_a_random_number(key):
    """Whatever was added, digits that nobody could foresee multiply it; zeros show nothing."""
    y, _, masks = masked(key, 3)
    bits = random_record()
    for forged in (reading_the_score(masks), reading_a_record(key, masks, bits)):
        assert abs(concentration(exact(key, forged, y))) < 0.85
        assert np.abs(opened(key, forged, y).phases[1:]).max() < CODED


@pytest.mark.parametrize(("score", "bit"), [(500, 0), (1500, 1)])
def test_fraction_opens_one_other_bit_in_place_of_the_sign(key, score, bit):
    """The limit: with 1/16 in place of a bit, the phase modulo 1/16 is half of that, or 0.

    By whether the sign would be another a quarter of the range on. The multiple of 1/16 is
    uniform, so that the sign is not known in addition.
    """
    y, _, masks = masked(key, score)
    cheat, place, own = 1, 1, masks[1].decode()
    y = y + np.uint64(masked_bit(key, own, place) << (63 - place))
    forged = encrypt_bits(np.zeros(1, np.uint8), key.public, OWN, Expander.fresh())
    fraction = OWN.gadget(0) >> np.uint64(4)
    own.masks[place], own.bodies[place] = forged.masks[0], forged.bodies[0]
    own.masks[place, 0, 0] += fraction
    own.bodies[place, 1, 0] += fraction
    masks[cheat] = own.cut(OWN)
    phases = exact(key, masks, y)
    assert abs(concentration(phases)) < 0.85
    assert concentration(phases, 16).real * (1 - 2 * bit) > 0.99


@pytest.mark.parametrize("score", [-700, 3, 20, 1234])
def test_control_without_the_cover_the_first_party_reads_a_bit_beside_the_sign(key, score):
    """From whether the sign opens nearer to 1/2 or to 0.

    Here the parity of T', the score's top 8 bits less numbers that the party knows, and whether T'
    is in the upper half, which turns the added table as it does the sign's.
    """
    y, own, masks = masked(key, score)
    sums = np.arange(OWN.n // STRIDE)
    table = np.where(sums & 1, CODED, -CODED)[None]
    forged = [with_addition(masks[0], *chosen_table(table)), *masks[1:]]
    top = int((y + np.uint64(FORMAT.offset))[0]) >> (64 - ROTATING)
    rest = ((score >> 4) - top - (own << (ROTATING - 1))) % (1 << ROTATING)
    farther = bool(rest & 1) ^ (rest >= len(sums)) ^ (score < 0)
    for _ in range(3):
        found = opened(key, forged, y, covered=False)
        assert found.approved is (score >= 0)  # no reader notices anything
        assert (abs(int(found.phases[0])) > 1 << 62) is farther


@pytest.mark.parametrize("score", [-700, -2, 3, 20, 1234, 1250])
def test_integer_polynomial_turns_the_sign_by_the_score_unnoticed(key, score):
    """What remains: here, the sign opens turned if bit 4 of the score is 1.

    A ciphertext of v multiplies the table by 1 + v·(X^-s - 1), which turns the signs of T with
    T + 1 among the exponents of v, modulo N / s.
    """
    y, _, masks = masked(key, score)
    cheat = 1
    place = ROTATING - 1
    own = masks[cheat].decode()
    turns = [top for top in range(OWN.n // STRIDE) if top & 1]
    v = np.zeros(OWN.n, np.int64)
    for top in turns:
        at = STRIDE * (top + 1)
        v[at % OWN.n] += -1 if at >= OWN.n else 1
    forged = encrypt_bits(np.zeros(1, np.uint8), key.public, OWN, Expander.fresh())
    added = v.view(np.uint64) * OWN.gadget(0)
    forged.masks[0, 0] += added
    forged.bodies[0, 1] += added
    bits = Ggsw(own.masks.copy(), own.bodies.copy())
    bits.masks[place], bits.bodies[place] = forged.masks[0], forged.bodies[0]
    # The party leaves its word's bit out of what it adds to its part of the first opening too.
    masks[cheat] = bits.cut(OWN)
    y = y + np.uint64(masked_bit(key, own, place) << (63 - place))
    found = opened(key, masks, y)
    assert found.approved is ((score >= 0) ^ bool(score >> 4 & 1))


@pytest.mark.parametrize("bit", [0, 1])
def test_anothers_bit_as_a_mask_turns_the_sign_unnoticed(key, bit):
    """What remains: the less significant rows of a record's bit, times 2^9, are those of a mask."""
    y, _, masks = masked(key, -300)
    cheat, own = 1, masks[1].decode()
    y = y + np.uint64(masked_bit(key, own, 0) << 63)  # its own word has 0 as its top bit
    record = encrypt_bits(np.array([bit], np.uint8), key.public, WIDE_NOISE, Expander.fresh())
    record = record.cut(WIDE_NOISE)
    less = [level * WIDE_NOISE.levels + 1 for level in range(2)]
    scale = np.uint64(WIDE_NOISE.levels * WIDE_NOISE.base_log - OWN.base_log)
    bits = Ggsw(own.masks.copy(), own.bodies.copy())
    bits.masks[0], bits.bodies[0] = record.masks[0, less] << scale, record.bodies[0, less] << scale
    masks[cheat] = bits.cut(OWN)
    assert opened(key, masks, y).approved is bool(bit)


def masked_bit(key, masks, place):
    """Decrypt one bit of a mask, which its party knows."""
    mask, body = masks.row(place, 1)
    return round(int(key.phase(mask, body)[0]) / int(OWN.gadget(0))) % (1 << OWN.base_log)


@pytest.mark.parametrize("score", [-700, 3, 1234])
def test_control_first_party_reads_the_score(key, score):
    y, own, masks = masked(key, score)
    found = opened(key, reading_the_score(masks), y, covered=False, apart=False)
    assert found.approved is (score >= 0)  # no reader notices anything
    sign = np.sign(found.phases[KNOWN_ZEROS])
    total = sum(int(found.phases[i] * sign > 0) << (i - 1) for i in range(1, KNOWN_ZEROS))
    total += OWN.n // STRIDE * (own + int(sign < 0))
    top = int((y + np.uint64(FORMAT.offset))[0]) >> (64 - ROTATING)
    half = 1 << (ROTATING - 1)
    assert (total + top + half) % (2 * half) - half == score >> 4


def test_control_first_party_reads_anothers_record(key):
    bits = random_record()
    y, _, masks = masked(key, -5)
    found = opened(key, reading_a_record(key, masks, bits), y, covered=False, apart=False)
    assert found.approved is False  # no reader notices anything
    read = found.phases[1:KNOWN_ZEROS] * np.sign(found.phases[KNOWN_ZEROS]) > 0
    assert np.array_equal(read, bits == 1)


LOW, EDGES = -710, tuple(1 + 16 * place for place in (0, 1, 3, 8, 16, 30, 50))
"""Range and edges of a reasons program with one output, whose points have 12 bits."""


def level_at(position):
    """Return what the comparison opens at a position 0 to 255 of its table, in eighths."""
    table = level_table(LOW, EDGES, 12, 1, ROTATING) >> np.uint64(64 - LEVEL_BITS)
    own = np.concatenate([table, -table]).astype(np.int64) % LEVELS
    return int(own[position % (1 << ROTATING)])


def position_of(points):
    return (points + shift(LOW, 12, 1)) // STRIDE


def level_phase(key, masks, y, covered=True):
    """Return the phase of the level of y, in units of the torus, without the noise that covers."""
    cover = table_cover(key.public, os.urandom(32), 1)
    cover = cover if covered else np.zeros_like(cover)
    return int(key.phase(*levels(y, masks, FORMAT, cover, LOW, EDGES))[:1].view(np.int64)[0])


def added_to_levels(y, table):
    """Return what a first party adds to an uncovered table of levels, as in `chosen_table`.

    Solves the equation of the digits, which are a known polynomial, for the addition.
    """
    moved = y + (np.uint64(shift(LOW, 12, 1)) << np.uint64(52)) + np.uint64(FORMAT.offset)
    nodes = np.zeros((1, 2, OWN.n), np.uint64)
    nodes[0, 1, ::STRIDE] = level_table(LOW, EDGES, 12, 1, ROTATING)
    nodes = turned(nodes, -STRIDE * (int(moved[0]) >> (64 - ROTATING)))
    digits = decompose(turned(nodes, OWN.n) - nodes, OWN.base_log, 1)[0, 1].reshape(-1)[::STRIDE]
    columns = [turned(digits.astype(np.int64).view(np.uint64), i) for i in range(len(digits))]
    matrix = np.stack(columns, axis=1).view(np.int64).astype(np.float64)
    body = np.zeros(OWN.n, np.uint64)
    wanted = np.linalg.solve(matrix, table.astype(np.float64))
    body[::STRIDE] = np.rint(wanted).astype(np.int64).view(np.uint64)
    return np.zeros(OWN.n, np.uint64), body


@pytest.mark.parametrize("points", [-300, 40])
def test_control_without_the_cover_the_first_party_reads_a_bit_beside_the_level(key, points):
    """Test if the level opens above or below its eighth, within the tolerance; as for a sign."""
    y, own, masks = masked(key, points)
    assert round(level_phase(key, masks, y) * 2.0**-61) % LEVELS == level_at(position_of(points))
    sums = np.arange(OWN.n // STRIDE)
    forged = [with_addition(masks[0], *added_to_levels(y, np.where(sums & 1, CODED, -CODED) // 2))]
    forged += masks[1:]
    top = int((y + (np.uint64(shift(LOW, 12, 1)) << np.uint64(52)) + np.uint64(FORMAT.offset))[0])
    rest = position_of(points) - (top >> (64 - ROTATING)) - (own << (ROTATING - 1))
    above = bool(rest & 1) ^ (rest % (1 << ROTATING) >= len(sums))
    phase = level_phase(key, forged, y, covered=False)
    assert round(phase * 2.0**-61) % LEVELS == level_at(position_of(points))  # nobody notices
    assert ((phase + (1 << 60)) % (1 << 61) > 1 << 60) is above
    covered = [level_phase(key, forged, y) for _ in range(20)]
    assert abs(concentration(covered)) < 0.85


@pytest.mark.parametrize("points", [-700, 600])
def test_fraction_opens_three_other_bits_in_place_of_a_level(key, points):
    """The limit: with 1/16 in place of a bit, the phase modulo 1/16 tells one of 8 numbers.

    Here the level a quarter of the range on, less the level. The level itself is hidden.
    """
    y, _, masks = masked(key, points)
    own, place = masks[1].decode(), 1
    y = y + np.uint64(masked_bit(key, own, place) << (63 - place))
    forged = encrypt_bits(np.zeros(1, np.uint8), key.public, OWN, Expander.fresh())
    own.masks[place], own.bodies[place] = forged.masks[0], forged.bodies[0]
    own.masks[place, 0, 0] += OWN.gadget(0) >> np.uint64(4)
    own.bodies[place, 1, 0] += OWN.gadget(0) >> np.uint64(4)
    masks[1] = own.cut(OWN)
    phases = [level_phase(key, masks, y) for _ in range(20)]
    assert abs(concentration(phases)) < 0.85
    here = position_of(points)
    told = level_at(here + (1 << (ROTATING - 1 - place))) - level_at(here)
    assert (concentration(phases, 16) * np.exp(-2j * np.pi * told / LEVELS)).real > 0.99


@pytest.mark.parametrize("points", [-700, 3, 600])
def test_integer_polynomial_opens_another_level_unnoticed(key, points):
    """The limit: 1 + X^-s + ... in place of a 1 opens the level of so many positions on."""
    y, _, masks = masked(key, points)
    own, place, moved = masks[1].decode(), ROTATING - 1, 77
    y = y + np.uint64(masked_bit(key, own, place) << (63 - place))
    v = np.zeros(OWN.n, np.int64)
    for step in range(moved):
        at = -STRIDE * step % (2 * OWN.n)
        v[at % OWN.n] += -1 if at >= OWN.n else 1
    forged = encrypt_bits(np.zeros(1, np.uint8), key.public, OWN, Expander.fresh())
    own.masks[place], own.bodies[place] = forged.masks[0], forged.bodies[0]
    added = v.view(np.uint64) * OWN.gadget(0)
    own.masks[place, 0] += added
    own.bodies[place, 1] += added
    masks[1] = own.cut(OWN)
    phase = level_phase(key, masks, y) * 2.0**-61
    assert abs(phase - round(phase)) < 0.05
    assert round(phase) % LEVELS == level_at(position_of(points) + moved)
