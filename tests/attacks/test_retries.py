"""Decryption shares asked for again, until the average of their noise is known.

Two parties and the server know everything in an opening but the third's smudge, which covers the
noise of the opened score. With a fresh smudge for every request they average it out; with one
share for one result, and one result for a program, they get the same bytes or nothing. The attack
is that on threshold decryption with retries (ePrint 2026/031; SECURITY.md of Lattigo).
"""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from engines.levelled import opening
from engines.levelled.keys import SecretShare
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS
from engines.levelled.randomness import Expander, derive
from engines.levelled.ring import multiply_exact
from engines.levelled.words import words_from_bytes
from parties.joint.messages import Partial, decode
from parties.joint.protocol import JointProtocol
from tests.privacy.misbehaving import DECIDE_PART
from tests.privacy.small import PARTIES, random_bits, run
from tests.privacy.table import Table, payload
from utils.errors import AlreadyOpened

VICTIM, COLLUDERS = PARTIES[0], PARTIES[1:]
REQUESTS, RESULTS = 900, 60
COUNT = 1 + KNOWN_ZEROS


@pytest.fixture(scope="module")
def application(halves):
    return run(halves, random_bits(halves.deployment.layout, np.random.default_rng(9), 1)[0])


def smudge(halves):
    """Return the standard deviation of a party's smudge on scores, in units of the torus."""
    return halves.party._budgets["decide"].sigma_smudge


def noise(halves, application):
    """Return the size of the noise that the smudge covers: the evaluation's, without flooding."""
    mask, body = application.opened["decide"].before
    secret = sum(application.secret(name).polynomial for name in PARTIES)
    phases = (body - multiply_exact(mask, secret))[:COUNT]
    phases[:1] -= application.opened["decide"].truth[:1].astype(np.uint64) << np.uint64(52)
    return size(phases)


def size(words):
    """Return the root mean square of words, in units of the torus."""
    return float(np.sqrt(np.mean((words.view(np.int64) / 2**64) ** 2)))


def covered(part, message, secret, pairwise):
    """Return what covers mask·S in the victim's share, from the zero shares' keys of the others.

    The test subtracts mask·S; its colluders subtract their own shares and the score instead, and
    have the noise of the score in addition.
    """
    digest, words = hashlib.sha256(message).digest(), words_from_bytes(part, COUNT)
    for name in COLLUDERS:
        zero = Expander(derive(pairwise[name], "zero", digest)).uniform_words(COUNT)
        words = words - zero if name > VICTIM else words + zero
    mask = Result.from_bytes(payload(message), DEFAULT, COUNT).mask
    return words - secret.opens(mask, COUNT)


def averaged(covers):
    return np.rint(np.array(covers).view(np.int64).mean(axis=0)).astype(np.int64)


def requested(halves, application, requests):
    """Ask the victim's engine for its share of one result again and again."""
    message, pairwise = application.opened["decide"].message, application.pairwise[VICTIM]
    secret = application.shares[VICTIM].secret
    parts = [
        halves.party.partial("decide", message, VICTIM, application.public_key, secret, pairwise)
        for _ in range(requests)
    ]
    own = application.secret(VICTIM)
    return parts, averaged([covered(part, message, own, pairwise) for part in parts])


def test_share_requested_again_is_the_same_and_its_average_says_no_more(halves, application):
    parts, average = requested(halves, application, 30)
    assert len(set(parts)) == 1
    assert size(average) > 0.4 * smudge(halves) > 8 * noise(halves, application)


def test_control_with_a_fresh_smudge_for_each_request_the_cover_is_averaged_out(
    halves, application, monkeypatch
):
    def fresh(key, label, *context):
        return os.urandom(32) if label == "smudge" else derive(key, label, *context)

    monkeypatch.setattr(opening, "derive", fresh)
    parts, average = requested(halves, application, REQUESTS)
    assert len(set(parts)) == REQUESTS
    left = smudge(halves) / REQUESTS**0.5
    assert size(average) < 2 * left < 8 * noise(halves, application)


def evaluated_again(halves, bits, results):
    """Have the victim asked for shares of several results of the same program and inputs."""
    table = Table(halves).keys()
    uploads = table.sent(bits)
    table.agree("decide", uploads)
    offered = [halves.server.evaluate("decide", uploads) for _ in range(results)]
    table.open("decide", offered[0])
    for result in offered[1:]:
        table[VICTIM].open("decide", result)
    return table, offered


def test_second_evaluation_of_the_same_records_gets_no_share(halves, bits):
    with pytest.raises(AlreadyOpened):
        evaluated_again(halves, bits, 2)


def test_control_without_the_record_of_the_opened_result_the_cover_is_averaged_out(
    halves, bits, monkeypatch
):
    monkeypatch.setattr(JointProtocol, "_require_same", lambda *_: None)
    monkeypatch.setattr(JointProtocol, "opened", lambda *_: None)
    table, offered = evaluated_again(halves, bits, RESULTS)
    victim, reader = table[VICTIM], table[COLLUDERS[0]].conversation
    pairwise = victim.conversation.channel.pairwise
    secret = SecretShare.from_bytes(victim.secret, DEFAULT)
    said = [
        decode(Partial, reader.unseal(VICTIM, DECIDE_PART, COLLUDERS[0], message.body))
        for message in victim.conversation.state.outbox
        if (message.step, message.receiver) == (DECIDE_PART, COLLUDERS[0])
    ]
    shares = {message.result_sha256: message.share for message in said}
    assert len(shares) == RESULTS
    covers = [
        covered(shares[hashlib.sha256(result).hexdigest()], result, secret, pairwise)
        for result in offered
    ]
    assert size(covers[0]) > 0.4 * smudge(halves)
    assert size(averaged(covers)) < 2 * smudge(halves) / RESULTS**0.5
