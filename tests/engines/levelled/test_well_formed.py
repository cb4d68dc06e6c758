"""The check of inputs: valid uploads pass, forged ones are caught, and every term is needed."""

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from engines.interface import DECIDE
from engines.levelled.ceremony import WholeKey
from engines.levelled.evaluation import Evaluator
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.noise import MINIMUM_ROOM, REQUIRED_LOG2
from engines.levelled.parameters import WIDE_NOISE
from engines.levelled.randomness import Expander
from engines.levelled.relations import Relations
from engines.levelled.selection import SelectionTree
from engines.levelled.well_formed import (
    CHECK_BITS,
    CHECKED,
    Multipliers,
    check_budget,
    check_ciphertext,
    check_variance,
    combined,
    verdict,
)
from engines.levelled.words import round_to_bits, words_to_bytes
from features.encoding import Layout
from features.schema import CategoricalColumn, Schema
from model.polynomial import sample_states
from settings import ROOT
from tests.engines.levelled.joint_keys import errors_of, joint_keys
from tests.strategies import PARTIES
from trials.forged_inputs import (
    FORGED_BITS,
    FORGED_RECORDS,
    Forger,
    forged_upload,
    hole,
    missing_and_given,
    none,
    two_ones,
    with_bit,
)
from trials.well_formed import checks_of, extreme_rows, opened_checks, uploads_of
from utils.errors import MalformedMessage, NoiseBudgetExceeded

FIXED_CHECK = "d183e9f374f21351d6c17d4881741c227ad7714acc8c03a420be89df33b43b27"


def every_kind(parties):
    """Return a layout in which every party has columns of every kind, 15 bits."""

    def columns(party):
        thermometer = {"kind": "ordinal", "minimum": 0, "maximum": 9, "default": 1}
        named = {
            "flag": {"kind": "boolean"},
            "known": {"kind": "boolean", "optional": True, "default": None},
            "years": {**thermometer, "cuts": [2, 5, 7]},
            "bins": {**thermometer, "cuts": [3, 6], "optional": True, "form": "bins"},
            "home": {"kind": "categorical", "values": ["own", "rent", "other"], "default": "own"},
            "work": {"kind": "categorical", "values": ["yes", "no"], "optional": True},
        }
        return [
            {"name": f"{party}_{name}", "label": name, **column} for name, column in named.items()
        ]

    return Layout(
        Schema.parse(
            {
                "name": "kinds",
                "title": "Kinds",
                "parties": [{"name": p, "label": p, "columns": columns(p)} for p in parties],
                "decision": {"target": "Bad"},
                "explanation": {"column": f"{parties[0]}_years", "phrase": "years"},
            }
        )
    )


@pytest.fixture(scope="module")
def joint():
    """Return keys of the profile of deployments that check inputs."""
    return joint_keys(WIDE_NOISE)


@pytest.fixture(scope="module")
def kinds(joint):
    return every_kind(list(joint.secrets))


def phases_of(joint, check):
    return errors_of(joint, *check)


def opens(joint, check):
    """Return the values that would be opened without covering noise."""
    return round_to_bits(joint.phase(*check)[:CHECKED], CHECK_BITS)


def random_row(layout, seed=None):
    drawn = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    return layout.bits_of_states(sample_states(layout, 1, seed=drawn))[0]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_honest_records_never_alarm(count):
    layout = every_kind(list(PARTIES[:count]))
    joint = WholeKey.make(PARTIES[:count], WIDE_NOISE)
    budget = check_budget(layout, WIDE_NOISE)
    for row in [*extreme_rows(layout), random_row(layout), random_row(layout)]:
        checks, _ = checks_of(joint, layout, uploads_of(joint, layout, row))
        assert list(checks) == list(PARTIES[:count])
        assert verdict(opened_checks(joint, checks, budget)) == ()


def test_noise_matches_model(joint, layout):
    """The deployed schema's applicant has the widest noise."""
    rows = layout.bits_of_states(sample_states(layout, 2, seed=3))
    squares = {party: [] for party in joint.secrets}
    for row in rows:
        for party, check in checks_of(joint, layout, uploads_of(joint, layout, row))[0].items():
            squares[party].append((phases_of(joint, check) ** 2).mean())
    for party, found in squares.items():
        own = Relations.of(layout, party)
        variance = check_variance(own, WIDE_NOISE, len(joint.secrets))
        assert abs(np.log2(np.mean(found) / variance)) < 2 * 0.25


def test_budget_has_room_and_a_rare_false_alarm(layout):
    budget = check_budget(layout, WIDE_NOISE)
    assert budget.half_step == 2.0 ** -(CHECK_BITS + 1)
    assert budget.failure_log2 <= REQUIRED_LOG2
    assert budget.room > 4.6
    assert budget.sigma_flood == 0
    narrower = check_budget(layout, WIDE_NOISE.model_copy(update={"sigma_log": -51}))
    assert narrower.failure_log2 <= REQUIRED_LOG2
    assert narrower.room > 6.4


def test_checks_of_the_largest_schemas_have_room_or_are_refused():
    """A party of 512 bits has room; with 8 parties of 4,096 bits there is none."""

    def wide(parties, columns):
        values = [str(i) for i in range(64)]
        own = [
            {"name": f"c{i}", "label": "c", "kind": "categorical", "values": values, "default": "0"}
            for i in range(columns)
        ]
        flat = [
            {"name": p, "label": p, "columns": [{**c, "name": f"{p}_{c['name']}"} for c in own]}
            for p in parties
        ]
        years = {"name": "y", "label": "y", "kind": "ordinal", "minimum": 0, "maximum": 9}
        flat[0]["columns"][-1] = {**years, "cuts": [5], "default": 1}
        explained = {"column": "y", "phrase": "years"}
        meta = {"name": "w", "title": "W", "decision": {"target": "Bad"}, "explanation": explained}
        return Layout(Schema.parse({**meta, "parties": flat}))

    assert check_budget(wide(PARTIES[:3], 8), WIDE_NOISE).room > MINIMUM_ROOM
    with pytest.raises(NoiseBudgetExceeded):
        check_budget(wide([f"p{i}" for i in range(8)], 64), WIDE_NOISE)


@pytest.mark.parametrize("kind", [*FORGED_BITS, *FORGED_RECORDS])
def test_forged_upload_is_caught_and_its_party_named(joint, kinds, kind):
    generator = np.random.default_rng(17)
    forger = Forger(joint.public, WIDE_NOISE)
    budget = check_budget(kinds, WIDE_NOISE)
    for cheat in generator.permutation(list(joint.secrets))[:2]:
        row = random_row(kinds)
        uploads = uploads_of(joint, kinds, row)
        uploads[cheat] = forged_upload(
            kind, kinds.party_codes(cheat), row[kinds.party_bits(cheat)], forger, generator
        )
        checks, _ = checks_of(joint, kinds, uploads)
        assert verdict(opened_checks(joint, checks, budget)) == (cheat,)


ROWS = ("mask0", "mask1", "body0", "body1")


def with_rows(forger, **units):
    """Return a ciphertext of 1 with differences in units of the least significant gadget."""
    gadget = [int(WIDE_NOISE.gadget(row % WIDE_NOISE.levels)) for row in range(WIDE_NOISE.rows)]
    messages = np.zeros((WIDE_NOISE.rows, WIDE_NOISE.n), np.uint64)
    messages[:, 0] = gadget
    for name, count in units.items():
        messages[ROWS.index(name), 0] += np.uint64(count * gadget[1])
    return forger.rows(messages)


PASSING_LOG2 = {
    "2": (lambda f: f.number(2), -10),
    "4096": (lambda f: f.number(4096), -3),
    "1 + 2^-14": (lambda f: f.number(1 + 2**-14), -25 / 16),
    "1 + 2^15": (lambda f: f.number(1 + 2**15), -41 / 16),
    "mask by 4 units": (lambda f: with_rows(f, mask1=4), -40 / 16),
    "mask by 1 unit": (lambda f: with_rows(f, mask1=1), -11 / 16),
    "first body by 2^-9": (lambda f: with_rows(f, body0=WIDE_NOISE.base >> 9), -19 / 16),
    "first body by 2^-10": (lambda f: with_rows(f, body0=WIDE_NOISE.base >> 10), -6 / 16),
    "body by 4 units": (lambda f: with_rows(f, body1=4), -math.log2(3)),
    "body by 1 unit": (lambda f: with_rows(f, body1=1), 0.0),
}
"""log2 of the probability that one opened coefficient of a forgery passes, by well_formed.py."""


@pytest.mark.parametrize("name", PASSING_LOG2)
def test_coefficient_of_a_forgery_passes_as_often_as_stated(joint, kinds, name):
    """All coefficients are alike, except to the last sum, which acts on those that are opened."""
    forge, stated = PASSING_LOG2[name]
    forger, party = Forger(joint.public, WIDE_NOISE), "bank"
    relations, own = Relations.of(kinds, party), kinds.party_bits(party)
    budget = check_budget(kinds, WIDE_NOISE)
    cover = math.hypot(budget.sigma_flood, budget.sigma_smudge * math.sqrt(len(joint.secrets)))
    counted = slice(CHECKED) if "body by" in name and "first" not in name else slice(None)
    passed = []
    for _ in range(20 if counted.stop else 6):
        row, flag = random_row(kinds)[own], position(kinds, party, "flag")
        row[flag] = 1
        upload = with_bit(forger.encrypted(row), flag, forge(forger))
        by = Multipliers.draw(os.urandom(32), party, relations, WIDE_NOISE)
        check = combined(joint.public, upload, relations, by, WIDE_NOISE)
        opened = phases_of(joint, check)[counted]
        opened = opened + np.random.default_rng().normal(0, cover, opened.shape)
        passed.append(np.abs(opened) < 2.0 ** -(CHECK_BITS + 1))
    share, expected = np.mean(passed), 2.0**stated
    # Six standard deviations, and a tenth for the noise model.
    deviation = math.sqrt(max(expected * (1 - expected), 1e-4) / np.size(passed))
    assert abs(share - expected) < 6 * deviation + 0.1 * expected


def test_every_cheating_party_is_named(joint, kinds):
    forger = Forger(joint.public, WIDE_NOISE)
    uploads = uploads_of(joint, kinds, random_row(kinds))
    first, _, last = joint.secrets
    for cheat in (last, first):
        uploads[cheat] = with_bit(uploads[cheat], 0, forger.number(7))
    checks, _ = checks_of(joint, kinds, uploads)
    assert verdict({p: opens(joint, check) for p, check in checks.items()}) == (first, last)


def position(layout, party, name):
    """Return the first of the party's bits in its column of this name."""
    return layout.code(f"{party}_{name}").first_bit - layout.party_bits(party).start


def forged_codes(layout, party, name, code_of):
    row = random_row(layout)[layout.party_bits(party)]
    code = layout.code(f"{party}_{name}")
    first = position(layout, party, name)
    row[first : first + code.n_bits] = code_of(code)
    return row


FORGED = {
    "squares": lambda f, layout, p: with_bit(
        f.encrypted(random_row(layout)[layout.party_bits(p)]),
        position(layout, p, "flag"),
        f.number(7),
    ),
    "sums": lambda f, layout, p: f.encrypted(forged_codes(layout, p, "home", two_ones)),
    "sums, none": lambda f, layout, p: f.encrypted(forged_codes(layout, p, "work", none)),
    "partners": lambda f, layout, p: f.encrypted(forged_codes(layout, p, "years", hole)),
    "partners, missing": lambda f, layout, p: f.encrypted(
        forged_codes(layout, p, "bins", missing_and_given)
    ),
    "rows": lambda f, layout, p: with_bit(
        f.encrypted(random_row(layout)[layout.party_bits(p)]),
        position(layout, p, "flag"),
        FORGED_BITS["body rows of 1 and 5"](f),
    ),
    "zeros": lambda f, layout, p: with_bit(
        f.encrypted(random_row(layout)[layout.party_bits(p)]),
        position(layout, p, "flag"),
        Forger.without_mask(f),
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_each_term_catches_what_passes_without_it(joint, kinds, name):
    """The control: with the term's multipliers at 0, the same upload is not detected."""
    party = "bank"
    upload = FORGED[name](Forger(joint.public, WIDE_NOISE), kinds, party)
    relations = Relations.of(kinds, party)
    term = name.partition(",")[0]
    for _ in range(3):
        all_terms = Multipliers.draw(os.urandom(32), party, relations, WIDE_NOISE)
        without = replace(all_terms, **{term: np.zeros_like(getattr(all_terms, term))})
        found, missed = (
            opens(joint, combined(joint.public, upload, relations, by, WIDE_NOISE))
            for by in (all_terms, without)
        )
        assert found.any()
        assert not missed.any()


@pytest.mark.parametrize("forgery", ["7", "every value at once"])
def test_forgery_that_passes_without_its_term_moves_the_score(
    joint, layout, small_programs_of, forgery
):
    """The control on a program: a forged upload changes a score as no record could."""
    program = small_programs_of(12)[DECIDE]
    tree = SelectionTree.of(program)
    party, term = "applicant", "squares" if forgery == "7" else "sums"
    forger, relations = Forger(joint.public, WIDE_NOISE), Relations.of(layout, party)
    rows = layout.bits_of_states(program.extreme_rows)
    row = rows[int(np.argmin(program.scores(rows)[:, 0]))]
    own = layout.party_bits(party)
    honest = forger.encrypted(row[own])
    others = forger.encrypted(row[own.stop :])

    def score(upload):
        evaluator = Evaluator(tree, WIDE_NOISE)
        operands = evaluator.prepare(Ggsw.joined([upload, others]).at(tree.bits))
        result = evaluator.evaluate([operands])[0]
        return int(round_to_bits(joint.phase(*result)[:1], 12)[0])

    if forgery == "7":
        read = tree.bits[(tree.bits < own.stop) & (relations.group[tree.bits % own.stop] < 0)]
        forgeries = [with_bit(honest, bit, forger.number(7)) for bit in read[:12]]
    else:
        forgeries = []
        for code in layout.party_codes(party):
            if isinstance(code.column, CategoricalColumn):
                bits = row[own].copy()
                bits[code.first_bit : code.first_bit + code.n_bits] = 1
                forgeries.append(forger.encrypted(bits))
    right = program.scores(row[None])[0, 0]
    assert score(honest) == right
    moved = [abs(score(upload) - right) for upload in forgeries]
    upload = forgeries[int(np.argmax(moved))]
    assert max(moved) >= 20
    by = Multipliers.draw(os.urandom(32), party, relations, WIDE_NOISE)
    # Ordered codes have 7·(b - 1) = 0 as well, so a forged first bit needs only the squares.
    without = replace(by, **{term: np.zeros_like(getattr(by, term))}, partners=by.partners * 0)
    assert opens(joint, combined(joint.public, upload, relations, by, WIDE_NOISE)).any()
    assert not opens(joint, combined(joint.public, upload, relations, without, WIDE_NOISE)).any()


def test_check_is_the_same_for_decoded_and_encoded_uploads(joint, kinds):
    """The server and whoever repeats the check get the same words."""
    uploads = uploads_of(joint, kinds, random_row(kinds))
    data = {party: upload.to_bytes(WIDE_NOISE) for party, upload in uploads.items()}
    decoded = {p: Ggsw.from_bytes(d, uploads[p].bits, WIDE_NOISE) for p, d in data.items()}
    seed = os.urandom(32)
    one = check_ciphertext(joint.public, uploads, kinds, seed, WIDE_NOISE)
    two = check_ciphertext(joint.public, decoded, kinds, seed, WIDE_NOISE)
    other = check_ciphertext(joint.public, decoded, kinds, os.urandom(32), WIDE_NOISE)
    for party in one:
        assert np.array_equal(one[party], two[party])
        assert not np.array_equal(one[party], other[party])


def fixed_check():
    """Return the SHA-256 of the checks of fixed words, which are no ciphertexts."""
    layout = every_kind(list(PARTIES[:2]))
    words = Expander(bytes(32))
    key = PublicKey(bytes(32), words.uniform_words(WIDE_NOISE.n))
    shape = (15, WIDE_NOISE.rows, WIDE_NOISE.n)
    uploads = {p: Ggsw(*words.uniform_words((2, *shape))).cut(WIDE_NOISE) for p in PARTIES[:2]}
    checks = check_ciphertext(key, uploads, layout, bytes(32), WIDE_NOISE)
    return hashlib.sha256(b"".join(words_to_bytes(w) for c in checks.values() for w in c)).digest()


def test_check_is_the_same_on_every_processor():
    """Also without the vector instructions with which NumPy rounds differently."""
    assert fixed_check().hex() == FIXED_CHECK
    umath = sys.modules.get("numpy._core._multiarray_umath") or np.core._multiarray_umath
    code = "from tests.engines.levelled.test_well_formed import *; print(fixed_check().hex())"
    off = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(umath.__cpu_dispatch__)}
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        env=off,
        cwd=ROOT,
        text=True,
        check=True,
        timeout=120,
    )
    assert child.stdout.strip() == FIXED_CHECK


def test_parties_have_different_multipliers(kinds):
    seed = os.urandom(32)
    first, second = (
        Multipliers.draw(seed, party, Relations.of(kinds, party), WIDE_NOISE)
        for party in ("applicant", "bank")
    )
    assert not np.array_equal(first.squares, second.squares)
    assert abs(first.squares.min() + 2**14) < 20 and abs(first.squares.max() - 2**14) < 20
    assert set(np.unique(first.zeros)) == set(np.unique(first.rows)) == {-1, 0, 1}


@pytest.mark.parametrize("change", ["missing", "short"])
def test_upload_with_other_bits_is_refused(joint, kinds, change):
    uploads = uploads_of(joint, kinds, random_row(kinds))
    if change == "missing":
        del uploads["bank"]
    else:
        uploads["bank"] = uploads["bank"].one(0)
    with pytest.raises(MalformedMessage, match="all 15 bits of bank"):
        check_ciphertext(joint.public, uploads, kinds, bytes(32), WIDE_NOISE)


def test_verdict_names_parties_in_order_and_counts_values():
    good, bad = np.zeros(CHECKED, np.int64), np.zeros(CHECKED, np.int64)
    bad[-1] = -1
    assert verdict({"a": good, "b": good}) == ()
    assert verdict({"a": bad, "b": good, "c": bad}) == ("a", "c")
    assert verdict({"a": good[:0], "b": good}) == ("a",)


def test_garbage_from_a_stranger_is_caught(joint, kinds):
    """Words that belong to no key, as an upload may contain."""
    uploads = uploads_of(joint, kinds, random_row(kinds))
    shape = (15, WIDE_NOISE.rows, WIDE_NOISE.n)
    words = Expander.fresh().uniform_words((2, *shape))
    uploads["bank"] = Ggsw(*words).cut(WIDE_NOISE)
    checks, _ = checks_of(joint, kinds, uploads)
    assert verdict({p: opens(joint, check) for p, check in checks.items()}) == ("bank",)
