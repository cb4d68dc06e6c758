"""What readers can compute in an application that opens signs does not depend on the score.

The whole state of every coalition that lacks a party (tests/privacy/coalitions.py) is compared with
the score, among the scores of one sign: masked scores, results, comparisons and encrypted masks,
which should be uniform; and the noise of known zeros, checks and signs, which should have the same
distribution for every score. The engine and its parameters are those deployed, the model is small;
one application has the deployed model. As controls, the same tests have to find the score
if a party's words are missing, narrow or used twice, and if scores are opened.

A p-value below LEVEL fails a test. There are about 1,500 of them, so that one run in 70,000 fails
by chance. The records are drawn from a fixed seed, keys and noise by the operating system.
Phases of an explanation with Gaussian noise of up to 0.15 of the torus around the score are
detected, and noise whose mean or width follows the score by half of its standard deviation; for
signs, of which a decision opens one, by twice.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engines.deployment import Deployment
from engines.envelope import unseal
from engines.interface import DECIDE, EXPLAIN, MASKED_OF, MASKS_OF, SIGN_OF
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS
from engines.levelled.party import LevelledParty
from engines.levelled.results import coefficients_of_parts, split_results, split_shares
from engines.levelled.words import round_to_bits, sum_of_words
from model.polynomial import sample_states
from parties.joint.messages import Partial, partial_step
from parties.joint.state import ProtocolState
from settings import ROOT
from tests.privacy.coalitions import COALITIONS, Signed, centred, covered, noise, zeros_of
from tests.privacy.small import PARTIES, EngineHalves, random_bits, run, small_deployment
from tests.privacy.table import Table

APPLICATIONS = 70
COMPARED = {DECIDE: APPLICATIONS, EXPLAIN: 4}
LEVEL = 1e-8
SCORE_BITS = 12
SIGNS = {program: SIGN_OF[program] for program in (DECIDE, EXPLAIN)}
PARTS = (*SIGNS, *SIGNS.values(), *map(zeros_of, SIGNS.values()), *PARTIES)
READERS = [coalition for coalition in COALITIONS if coalition]
PAIR, MISSING = PARTIES[:2], PARTIES[2]


def named(coalition):
    return "+".join(coalition) or "server alone"


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("signs"), opens="sign"))


@pytest.fixture(scope="module")
def applications(signs):
    rows = random_bits(signs.deployment.layout, np.random.default_rng(12), APPLICATIONS)
    return [
        Signed.run(signs, bits, [p for p, count in COMPARED.items() if i < count])
        for i, bits in enumerate(rows)
    ]


def phases_of(applications, coalition, program):
    """Return phases and scores in units of the torus, shape (values,) each, by number."""
    found = {}
    for application in applications:
        scores = application.scores[program] / 2.0**SCORE_BITS
        for name, words in covered(application, coalition, program).items():
            found.setdefault(name, []).append((centred(words), scores))
    return {
        name: tuple(map(np.concatenate, zip(*pairs, strict=True))) for name, pairs in found.items()
    }


def differences_of(applications, coalition, program):
    """Return the differences between a program's first masked score and every bin's, and the truth.

    If one word serves for both scores, it is not in the difference.
    """
    phases, scores = [], []
    for own in applications:
        first, bins = (covered(own, coalition, p)["masked score"] for p in (program, EXPLAIN))
        kept = slice(1, None) if program == EXPLAIN else slice(None)
        phases.append(centred(first[0] - bins[kept]))
        scores.append((own.scores[program][0] - own.scores[EXPLAIN][kept]) / 2.0**SCORE_BITS)
    return np.concatenate(phases), np.concatenate(scores)


def noise_of(applications, coalition, name):
    """Return the noise of a part and a score of its program for each value of it."""
    found, paired = [], []
    program = EXPLAIN if name in (EXPLAIN, SIGN_OF[EXPLAIN], zeros_of(SIGN_OF[EXPLAIN])) else DECIDE
    for application in applications:
        if name in application.parts:
            found.append(noise(application, coalition, name))
            paired.append(np.resize(application.scores[program], len(found[-1])))
    return np.concatenate(found), np.concatenate(paired).astype(float)


def by_sign(values, scores):
    """Return values and scores of each sign that occurs often enough to be tested."""
    both = [(values[own], scores[own]) for own in (scores >= 0, scores < 0)]
    return [(v, s) for v, s in both if len(set(s)) > 2]


def dependences(phases, scores):
    """Return the low p-values of: phases are uniform and independent of scores of one sign."""
    low = {}
    for sign, (v, s) in enumerate(by_sign(phases, scores)):
        p = {
            "uniform": stats.kstest(v, "uniform", (-0.5, 1)).pvalue,
            "errors uniform": stats.kstest((v - s) % 1, "uniform").pvalue,
            "place within a step uniform": stats.kstest(v * 2**SCORE_BITS % 1, "uniform").pvalue,
            "ranks unrelated": stats.spearmanr(v, s).pvalue,
            "halves equally likely": stats.binomtest(int((v >= 0).sum()), len(v)).pvalue,
        }
        low |= {(sign, name): value for name, value in p.items() if value < LEVEL}
    return low


def noise_dependences(values, scores):
    """Return the low p-values of: the noise has one distribution for all scores of one sign."""
    low = {}
    for sign, (v, s) in enumerate(by_sign(values, scores)):
        large = np.abs(s) > np.median(np.abs(s))
        p = {
            "mean": stats.spearmanr(v, s).pvalue,
            "width": stats.spearmanr(np.abs(v), s).pvalue,
            "distribution": stats.ks_2samp(v[large], v[~large]).pvalue,
        }
        low |= {(sign, name): value for name, value in p.items() if value < LEVEL}
    return low


@pytest.mark.parametrize("program", [DECIDE, EXPLAIN])
@pytest.mark.parametrize("coalition", COALITIONS, ids=named)
def test_covered_numbers_are_uniform_whatever_the_score(applications, coalition, program):
    found = phases_of(applications, coalition, program)
    assert {"masked score", "outcome", "result", "comparison"} <= set(found)
    assert {name: low for name, own in found.items() if (low := dependences(*own))} == {}


@pytest.mark.parametrize("program", [DECIDE, EXPLAIN])
@pytest.mark.parametrize("coalition", COALITIONS, ids=named)
def test_no_two_scores_share_a_word(applications, coalition, program):
    assert dependences(*differences_of(applications, coalition, program)) == {}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("coalition", READERS, ids=named)
def test_noise_is_the_same_whatever_the_score(applications, coalition, name):
    assert noise_dependences(*noise_of(applications, coalition, name)) == {}


def regression(applications, coalition):
    """Return the p-value that the decision's score is no linear function of all numbers at once.

    The score of each sign has a mean of its own. Phases enter with cosine and sine, noise with its
    mean and mean square.
    """
    rows = []
    for own in applications:
        decide, explain = (covered(own, coalition, p) for p in (DECIDE, EXPLAIN))
        kept = ("masked score", "outcome", "result", "shares of the others")
        phases = [*(decide[name] for name in kept), explain["masked score"]]
        phases.append(decide["masked score"] - explain["masked score"])
        angles = 2 * np.pi * centred(np.concatenate(phases))
        left = [noise(own, coalition, name) for name in (*SIGNS, *PARTIES)]
        widths = [f(v) for v in left for f in (np.mean, lambda x: np.mean(x**2))]
        rows.append(np.concatenate([np.cos(angles), np.sin(angles), widths]))
    scores = np.array([own.scores[DECIDE][0] for own in applications], float)
    signs = np.column_stack([scores >= 0, scores < 0]).astype(float)
    count, columns = len(rows[0]), np.hstack([signs, stats.zscore(np.array(rows))])
    least, left = residuals(scores, columns), residuals(scores, signs)
    free = len(scores) - columns.shape[1]
    return stats.f.sf((left - least) / count / (least / free), count, free)


def residuals(values, columns):
    """Return the sum of squares that a linear function of the columns leaves."""
    return np.sum((values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]) ** 2)


@pytest.mark.parametrize("coalition", READERS, ids=named)
def test_no_linear_function_of_all_numbers_tells_the_score(applications, coalition):
    assert regression(applications, coalition) > LEVEL


def test_control_all_parties_together_compute_every_score_and_remove_all_noise(applications):
    for program in SIGNS:
        found = phases_of(applications, PARTIES, program)
        for name in ("masked score", "outcome", "result"):
            phases, scores = found[name]
            assert (np.rint((phases - scores) * 2**SCORE_BITS) == 0).all()
        for name in ("comparison", "result of the comparison"):
            phases, scores = found[name]
            assert ((phases >= 0) == (scores >= 0)).all()
    for name in PARTS:
        left, most = (noise_of(applications, own, name)[0].std() for own in (PARTIES, PAIR))
        assert left < most / 8


class WeakWords(LevelledParty):
    """A party whose words `change` makes of uniform ones."""

    def __init__(self, halves, change):
        super().__init__(halves.server.public, halves.server.client_files())
        self.change = change

    def _words(self, program, key, secret):
        return self.change(super()._words(program, key, secret))


class ReusedWords(LevelledParty):
    """A party that uses one word for the decision and every bin."""

    def _words(self, program, key, secret):
        return super()._words(program, key, secret) * 0 + super()._words(DECIDE, key, secret)


def weakened(applications, engine):
    return [
        own.with_share_of(engine, MISSING, DECIDE).with_share_of(engine, MISSING, EXPLAIN)
        for own in applications
    ]


@pytest.mark.parametrize("kept_bits", [0, 60, 63])
def test_control_a_missing_or_narrow_word_shows_the_score(signs, applications, kept_bits):
    """The missing party's words have 0, 60 or 63 bits instead of 64."""
    shift = 64 - kept_bits
    engine = WeakWords(signs, lambda words: words >> np.uint64(shift) if kept_bits else words * 0)
    weak = weakened(applications, engine)
    phases, scores = phases_of(weak, PAIR, EXPLAIN)["masked score"]
    assert dependences(phases, scores)
    if not kept_bits:
        assert (np.rint((phases - scores) * 2**SCORE_BITS) == 0).all()
        assert regression(weak, PAIR) < LEVEL


def test_control_a_word_used_twice_shows_the_difference_of_two_scores(signs, applications):
    engine = ReusedWords(signs.server.public, signs.server.client_files())
    weak = weakened(applications, engine)
    # The decision's masked score alone is still covered, but no difference is.
    assert dependences(*phases_of(weak, PAIR, DECIDE)["masked score"]) == {}
    for program in SIGNS:
        assert dependences(*differences_of(weak, PAIR, program))


def test_control_opened_scores_are_found(halves):
    """`halves` is compiled with `--open score`: readers open the score with its noise."""
    rows = random_bits(halves.deployment.layout, np.random.default_rng(13), 15)
    opened = [run(halves, bits).opened[EXPLAIN] for bits in rows]
    phases = [
        centred(own.result.bodies - sum_of_words(own.partials, len(own.result.bodies)))
        for own in opened
    ]
    scores = [own.truth / 2.0**SCORE_BITS for own in opened]
    cut = [phase[: len(own)] for phase, own in zip(phases, scores, strict=True)]
    assert dependences(np.concatenate(cut), np.concatenate(scores))


@pytest.mark.parametrize("width", [0.05, 0.1, 0.15])
def test_control_a_weak_dependence_of_phases_is_found(applications, width):
    scores = np.concatenate([own.scores[EXPLAIN] / 2**SCORE_BITS for own in applications])
    blurred = scores + np.random.default_rng(5).normal(0, width, len(scores))
    assert dependences((blurred + 0.5) % 1 - 0.5, scores)


@pytest.mark.parametrize(
    ("name", "size"), [(DECIDE, 0.5), (EXPLAIN, 0.5), (PARTIES[0], 0.5), (SIGN_OF[DECIDE], 2.0)]
)
@pytest.mark.parametrize("leak", ["mean", "width"])
def test_control_noise_that_follows_the_score_is_found(applications, name, size, leak):
    """`size` is the change per standard deviation of the score's rank, of the noise or its log."""
    values, scores = noise_of(applications, PAIR, name)
    for own in (scores >= 0, scores < 0):
        rank = size * stats.zscore(stats.rankdata(scores[own]))
        values[own] = values[own] + (
            rank * values.std() if leak == "mean" else values[own] * np.expm1(rank)
        )
    assert noise_dependences(values, scores)


def words_from_state(halves, protocol, program):
    """Return a party's words, from the secret that it stores."""
    secret = SecretShare.from_bytes(protocol.secret, DEFAULT)
    return halves.party._words(program, PublicKey.from_bytes(protocol.public_key, DEFAULT), secret)


def test_no_coalition_computes_a_score_of_the_deployed_model():
    """One application as deployed, from the protocols that the coalition stores.

    A number that is independent of a score of 12 bits rounds to it with probability 2^-12, so that
    4 of 49 do in one of 10^9 runs. With the words of all parties, all do.
    """
    halves = EngineHalves.of(Deployment.load(ROOT / "deployment_files"))
    layout = halves.deployment.layout
    bits = layout.bits_of_states(sample_states(layout, 1, seed=4))[0]
    table = Table(halves).keys()
    uploads, equal = table.sent(bits), dict.fromkeys([*COALITIONS, PARTIES], 0)
    for program in SIGNS:
        table.agree(program, uploads)
        sealed = halves.server.evaluate(program, uploads)
        table.open(program, sealed)
        counts = coefficients_of_parts(halves.server.public, program)
        result = split_results(bytes(unseal(sealed)[1]), DEFAULT, counts)[0]
        for coalition in equal:
            stored = ProtocolState.from_bytes(table[(coalition or PARTIES)[0]].to_bytes())
            said = stored.said(Partial, partial_step(program))
            shares = split_shares({name: own.share for name, own in said.items()}, counts)[0]
            phases = result.bodies - sum_of_words(shares, len(result.bodies))
            words = [words_from_state(halves, table[name], program) for name in coalition]
            found = round_to_bits(sum(words, start=phases[:-KNOWN_ZEROS]), SCORE_BITS)
            equal[coalition] += int((found == halves.scores(program, bits)).sum())
        if program == DECIDE:
            (uploads[PARTIES[0], MASKED_OF[DECIDE]],) = {
                table[name].masked_scores(DECIDE, sealed) for name in PARTIES
            }
            signs = halves.server.evaluate(SIGN_OF[DECIDE], uploads)
            table.open(SIGN_OF[DECIDE], signs)
            approved = 0.0 if halves.scores(DECIDE, bits)[0] >= 0 else -1.0
            assert {table[name].scores(SIGN_OF[DECIDE], signs) for name in PARTIES} == {(approved,)}
    assert equal.pop(PARTIES) == 1 + len(halves.server.public.programs[EXPLAIN].outputs)
    assert sum(equal.values()) < 4
