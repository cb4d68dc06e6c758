"""Misbehaviour during the key generation: it is detected, or leaves all parties without a key."""

from __future__ import annotations

import os

import pytest

from engines.interface import KeyShare
from engines.levelled.parameters import SEED_BYTES
from engines.levelled.party import LevelledParty
from engines.levelled.words import words_from_bytes, words_to_bytes
from parties.joint.channel import FirstWords, commitment
from parties.joint.identities import IdentityKey
from parties.joint.messages import (
    SHARE_COMMIT,
    SHARE_OPEN,
    Agreement,
    ShareOpen,
    agree_step,
    encode,
)
from tests.privacy.misbehaving import HONEST, LIAR, lying, refused, without
from tests.privacy.small import PARTIES
from tests.privacy.table import Posted, Table
from utils.errors import (
    CommitmentBroken,
    MalformedMessage,
    MessageOutOfOrder,
    PartiesDisagree,
)


def test_opened_share_must_match_its_commitment(table):
    table.carries = without(SHARE_OPEN)
    table.run()
    state = table[LIAR].conversation.state
    other = ShareOpen(share=os.urandom(len(state.share)), nonce=state.nonces[SHARE_COMMIT])
    refused(table, table.forge(LIAR, SHARE_OPEN, other), CommitmentBroken)


def test_last_hello_cannot_choose_the_common_polynomial(halves):
    """Its share of the randomness is hashed with all others: copied or zero, it gives nothing."""
    found = set()
    for seed in (bytes(SEED_BYTES), b"\1" * SEED_BYTES):

        def seed_share(self, seed=seed):
            return seed

        for _ in range(2):
            table = Table(halves, engines={LIAR: lying(halves, seed_share=seed_share)})
            table.run()
            found.add(table[HONEST[0]].public_key[:64])
    assert len(found) == 4


def test_hello_with_a_short_share_of_randomness_ends_the_key_making(halves):
    table = Table(halves, engines={LIAR: lying(halves, seed_share=lambda self: b"x")})
    with pytest.raises(MalformedMessage):
        table.run()
    assert not any(protocol.ready for protocol in table.protocols.values())


def test_last_party_to_open_its_share_cannot_choose_the_key(halves, table):
    """A share that cancels the other parties' would give a key that only the liar knows."""
    table.carries = without(SHARE_OPEN)
    table.run()
    wanted = halves.party.key_share(bytes(32))
    share = words_from_bytes(wanted.share, 2048)
    for name in HONEST:
        share -= words_from_bytes(table[name].conversation.state.share, 2048)
    nonce = table[LIAR].conversation.state.nonces[SHARE_COMMIT]
    message = ShareOpen(share=words_to_bytes(share), nonce=nonce)
    refused(table, table.forge(LIAR, SHARE_OPEN, message), CommitmentBroken)


def test_no_party_opens_a_share_before_all_have_committed(table):
    table.carries = without(SHARE_COMMIT)
    table.run()
    assert not any(posted.step == SHARE_OPEN for posted in table.post)
    assert not any(name in table[name].conversation.state.senders(SHARE_OPEN) for name in HONEST)


def test_a_share_that_was_not_committed_to_is_refused(table):
    """The liar skips its commitment and opens at once."""
    table.carries = without(SHARE_COMMIT)
    table.run()
    state = table[LIAR].conversation.state
    message = ShareOpen(share=state.share, nonce=state.nonces[SHARE_COMMIT])
    refused(table, table.forge(LIAR, SHARE_OPEN, message), MessageOutOfOrder)


def test_a_commitment_of_another_party_cannot_be_copied(table):
    """Copying a commitment and its opening fails: the commitment includes the sender's name."""
    nonce, share = os.urandom(32), os.urandom(16384)
    made = {name: commitment("0" * 32, name, SHARE_COMMIT, nonce, share) for name in PARTIES}
    assert len(set(made.values())) == len(PARTIES)


@pytest.mark.parametrize("size", [1, 16383, 16385])
def test_key_share_of_wrong_length_is_refused(halves, size):
    def key_share(self, common):
        return KeyShare(secret=LevelledParty.key_share(self, common).secret, share=os.urandom(size))

    with pytest.raises(MalformedMessage):
        Table(halves, engines={LIAR: lying(halves, key_share=key_share)}).run()


def test_agreement_under_another_public_key_is_refused(table):
    digests = {name: os.urandom(32).hex() for name in PARTIES}
    table.keys().commit(digests)
    message = Agreement(program="decide", inputs=digests, public_key_digest=os.urandom(32).hex())
    refused(table, table.forge(LIAR, agree_step("decide"), message), PartiesDisagree)


@pytest.mark.parametrize("readers", [("bank",), ("applicant", "bank")])
def test_parties_with_different_readers_do_not_continue(halves, readers):
    told = Table(halves, readers=readers)
    untold = Table(halves, group_secret=told.identities[LIAR].group_secret)
    told.collect()
    refused(untold, told.messages_of(LIAR, "hello")[0], PartiesDisagree)


def test_parties_with_different_models_do_not_continue(halves, table):
    table.carries = without("hello")
    table.collect()
    conversation = table[LIAR].conversation
    other = conversation.state.hello_of(LIAR).model_copy(update={"model_version": "0" * 32})
    other = IdentityKey.fresh().signed(conversation.application, LIAR, other)
    place = conversation.place(LIAR, "hello", None)
    body = FirstWords(conversation.application, conversation.identity).seal(place, encode(other))
    refused(table, Posted(LIAR, "hello", None, body), PartiesDisagree)
