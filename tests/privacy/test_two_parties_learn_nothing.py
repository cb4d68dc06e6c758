"""The values that fewer than all parties can decode do not depend on the truth.

Each coalition (no party, one party, any two) has its complete state: secrets, smudge keys, pairwise
keys, its own decryption shares; and everything that the server ever had, including the evaluation's
outcome before it was re-randomised. It decodes in the usual way, without the terms that it lacks.
The resulting phases are compared with the uniform distribution and with the truth, over complete
encrypted applications with fresh keys. The same decoding by all three parties is the control. This
deployment opens scores; test_readers_learn_only_signs.py does the same for one that opens signs.

A p-value below LEVEL fails a test. There are about 230 of them, so that one run in 40,000 fails by
chance. With 1,200 phases, a distribution function that is off by 0.09 anywhere is detected.
"""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from scipy import stats

from engines.levelled.messages import ClientFacts
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander, derive
from engines.levelled.words import words_from_bytes
from tests.privacy.small import PARTIES, combined, random_bits, run, torus

APPLICATIONS = 300
LEVEL = 1e-7
HALF = 0.5
COALITIONS = [c for size in range(3) for c in itertools.combinations(PARTIES, size)]
PAIRS = [c for c in COALITIONS if len(c) == 2]


def named(value):
    return "+".join(value) or "server alone"


@pytest.fixture(scope="module")
def applications(halves):
    draw = np.random.default_rng(11)
    rows = random_bits(halves.deployment.layout, draw, APPLICATIONS)
    return [run(halves, bits) for bits in rows]


def from_partials(halves, application, coalition, program):
    """Decode b - Σ d_p, without the decryption shares of parties outside the coalition."""
    opened = application.opened[program]
    phase = opened.result.bodies.copy()
    for name in coalition:
        phase -= words_from_bytes(opened.partials[name], len(phase))
    return torus(phase[: len(opened.truth)]), torus_of_scores(halves, opened)


def from_secrets(halves, application, coalition, program):
    """Decode b - a·Σ S_p, without smudging noise and zero shares."""
    opened = application.opened[program]
    phase = opened.result.bodies.copy()
    for name in coalition:
        phase -= application.secret(name).opens(opened.result.mask, len(phase))
    return torus(phase[: len(opened.truth)]), torus_of_scores(halves, opened)


def before_the_server_added_noise(halves, application, coalition, program):
    """Decode the evaluation's original outcome, which only the server has, in the same way."""
    opened = application.opened[program]
    mask, body = opened.before
    phase = body[: len(opened.truth)].copy()
    for name in coalition:
        phase -= application.secret(name).opens(mask, len(phase))
    return torus(phase), torus_of_scores(halves, opened)


def torus_of_scores(halves, opened):
    return opened.truth / 2.0 ** halves.score_bits(opened.program)


DECODINGS = [from_partials, from_secrets, before_the_server_added_noise]


def gathered(halves, applications, coalition, program, decode):
    """Return (phases, truths) in units of the torus, shape (values,) each."""
    found = [decode(halves, application, coalition, program) for application in applications]
    phases, truths = (np.concatenate(part) for part in zip(*found, strict=True))
    return phases, truths


def signed(phases):
    return (phases + HALF) % 1 - HALF


def p_values(phases, truths):
    """Return p-values of the hypotheses: the phases are uniform and independent of the truth."""
    error = (phases - truths) % 1
    cells = np.histogram(phases, 16, (0, 1))[0]
    agreeing = int(np.sum((signed(phases) >= 0) == (truths >= 0)))
    return {
        "phases are uniform (Kolmogorov)": stats.kstest(phases, "uniform").pvalue,
        "phases are uniform (chi square)": stats.chisquare(cells).pvalue,
        "errors are uniform (Kolmogorov)": stats.kstest(error, "uniform").pvalue,
        "ranks are unrelated (Spearman)": stats.spearmanr(signed(phases), truths).pvalue,
        "the sign is a coin (binomial)": stats.binomtest(agreeing, len(phases)).pvalue,
    }


def uniform(phases, truths):
    return {name: p for name, p in p_values(phases, truths).items() if p < LEVEL} == {}


@pytest.mark.parametrize("decode", DECODINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("program", ["decide", "explain"])
@pytest.mark.parametrize("coalition", COALITIONS, ids=named)
def test_without_one_party_the_decoding_is_independent_of_the_truth(
    halves, applications, coalition, program, decode
):
    phases, truths = gathered(halves, applications, coalition, program, decode)
    assert len(phases) >= APPLICATIONS
    low = {name: p for name, p in p_values(phases, truths).items() if p < LEVEL}
    assert low == {}


@pytest.mark.parametrize("decode", DECODINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("program", ["decide", "explain"])
def test_all_three_parties_always_decode_the_truth(halves, applications, program, decode):
    phases, truths = gathered(halves, applications, PARTIES, program, decode)
    steps = 2 ** halves.score_bits(program)
    assert (np.rint(signed(phases) * steps) == np.rint(truths * steps)).all()
    assert len(set(truths)) > 20
    assert not uniform(phases, truths)


@pytest.mark.parametrize("program", ["decide", "explain"])
def test_engine_opens_the_truth_with_all_shares(halves, applications, program):
    for application in applications:
        opened = application.opened[program]
        assert combined(halves, opened, opened.partials) == opened.truth.tolist()


@pytest.mark.parametrize("width", [0.05, 0.1, 0.15])
def test_statistical_tests_detect_a_weak_dependence(halves, applications, width):
    """Phases with Gaussian noise of up to 0.15 of the torus around the truth fail the tests."""
    phases, truths = gathered(halves, applications, PARTIES, "explain", from_secrets)
    draw = np.random.default_rng(5)
    assert not uniform((phases + draw.normal(0, width, len(phases))) % 1, truths)


@pytest.mark.parametrize("coalition", PAIRS, ids=named)
def test_two_parties_cannot_decode_the_bits_of_the_third(halves, applications, coalition):
    """The most significant body row of each bit: its message is bit/B, of 1/2 of a step."""
    (third,) = set(PARTIES) - set(coalition)
    layout = halves.deployment.layout
    step = 1 / DEFAULT.base

    def phases(application, names):
        sent = application.inputs(third, layout)
        row = DEFAULT.levels
        found = []
        for mask, body in zip(sent.masks[:, row], sent.bodies[:, row], strict=True):
            opened = sum(application.secret(name).opens(mask, 1)[0] for name in names)
            found.append(body[0] - opened)
        return torus(np.array(found))

    with np.errstate(over="ignore"):
        some = np.concatenate([phases(application, coalition) for application in applications])
        alls = np.concatenate([phases(application, PARTIES) for application in applications[:20]])
    bits = np.concatenate([a.bits[layout.party_bits(third)] for a in applications])
    assert (np.rint(signed(alls) / step) == bits[: len(alls)]).all()
    found = stats.kstest(some, "uniform").pvalue, stats.spearmanr(some, bits).pvalue
    ones, zeros = some[bits == 1] / step % 1, some[bits == 0] / step % 1
    assert min(*found, stats.ks_2samp(ones, zeros).pvalue) > LEVEL


@pytest.mark.parametrize("program", ["decide", "explain"])
@pytest.mark.parametrize("reader", PARTIES)
def test_share_reveals_nothing_beyond_the_sum(halves, applications, reader, program):
    """A single reader gets the shares of two parties that have a pairwise key unknown to it.

    Even given the secret S_p of a share's sender, and the reader's own keys, the share is uniform.
    Given that last key as well, only the smudging noise remains, which is narrow: the control.
    """
    sender, other = (name for name in PARTIES if name != reader)
    masked, bare = [], []
    for application in applications:
        opened = application.opened[program]
        count = len(opened.result.bodies)
        part = words_from_bytes(opened.partials[sender], count)
        part -= application.secret(sender).opens(opened.result.mask, count)
        part -= zero_share(application, opened, sender, reader)
        masked.append(torus(part))
        bare.append(torus(part - zero_share(application, opened, sender, other)))
    phases = np.concatenate(masked)
    assert stats.kstest(phases, "uniform").pvalue > LEVEL
    assert stats.chisquare(np.histogram(phases, 16, (0, 1))[0]).pvalue > LEVEL
    client = ClientFacts.from_archive(halves.server.client_files())
    smudge = client.budgets[program].sigma_smudge
    left = signed(np.concatenate(bare))
    assert 0.8 * smudge < left.std() < 1.2 * smudge
    assert np.abs(left).max() < 9 * smudge


def zero_share(application, opened, party, other):
    """Return the zero share of `party` with `other`, as added to its decryption share."""
    key = application.pairwise[party][other]
    seed = derive(key, "zero", hashlib.sha256(opened.message).digest())
    words = Expander(seed).uniform_words(len(opened.result.bodies))
    return words if other > party else -words


def test_the_shares_of_one_party_differ_in_every_application(applications):
    parts = [a.opened["explain"].partials["bank"] for a in applications]
    assert len(set(parts)) == len(parts)
