"""A party that tells the others different things, with a server that delivers them so.

Each test has the honest parties refuse; each control switches the comparison off that does it, and
the honest parties go on with different keys, records or results without noticing.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from parties.joint import checks
from parties.joint.channel import FirstWords, commitment
from parties.joint.conversation import Conversation
from parties.joint.identities import IdentityKey
from parties.joint.messages import (
    HELLO,
    RECORD_COMMIT,
    SHARE_COMMIT,
    SHARE_OPEN,
    Confirmation,
    RecordCommit,
    ShareCommit,
    ShareOpen,
    confirm_step,
    encode,
)
from tests.privacy.misbehaving import HONEST, LIAR
from tests.privacy.small import PARTIES
from tests.privacy.table import Table
from utils.errors import NotAuthentic, PartiesDisagree

TOLD, OTHER = HONEST  # the second one is told something else
DECIDE_CONFIRM = confirm_step("decide")


class TwoFaced(Table):
    """Delivers to OTHER, in place of the liar's messages of some steps, those of `lies`."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.lies = {}

    def tell(self, party, posted):
        make = self.lies.get(posted.step)
        if make and (party, posted.sender) == (OTHER, LIAR):
            posted = replace(posted, body=make())
        return super().tell(party, posted)

    def lie(self, step, message):
        """Tell OTHER this message instead, which is sealed once the liar can seal it."""
        self.lies[step] = lambda: self.forge(LIAR, step, message).body


@pytest.fixture
def two_faced(halves):
    return TwoFaced(halves)


def tells_two_hellos(table):
    """Have the liar say hello to OTHER with another share of the common randomness."""
    talk = table[LIAR].conversation
    hello = talk.state.hello_of(LIAR).model_copy(update={"seed": os.urandom(32)})
    signed = IdentityKey.fresh().signed(talk.application, LIAR, hello)
    place = talk.place(LIAR, HELLO, None)
    body = FirstWords(talk.application, talk.identity).seal(place, encode(signed))
    table.lies[HELLO] = lambda: body
    table.run()


def test_two_hellos_leave_the_honest_parties_without_a_key(two_faced):
    with pytest.raises(NotAuthentic):
        tells_two_hellos(two_faced)
    assert not any(protocol.ready for protocol in two_faced.protocols.values())


def test_control_without_the_hellos_in_the_keys_two_public_keys_are_made(two_faced, monkeypatch):
    monkeypatch.setattr(Conversation, "transcript", lambda self: bytes(32))
    tells_two_hellos(two_faced)
    assert two_faced[TOLD].public_key != two_faced[OTHER].public_key


def tells_two_shares(halves, table):
    """Have the liar commit to another share of the key towards OTHER, and open it."""
    table.collect()
    share, nonce = halves.party.key_share(bytes(32)).share, os.urandom(32)
    promised = commitment("0" * 32, LIAR, SHARE_COMMIT, nonce, share)
    table.lie(SHARE_COMMIT, ShareCommit(digest=promised))
    table.lie(SHARE_OPEN, ShareOpen(share=share, nonce=nonce))
    table.run()
    assert table[TOLD].public_key != table[OTHER].public_key
    digests = {name: os.urandom(32).hex() for name in PARTIES}
    table.commit(digests)
    for name in HONEST:
        table[name].agree("decide", digests)
    table.run()


def test_two_shares_of_the_key_are_found_when_the_parties_agree(halves, two_faced):
    with pytest.raises(PartiesDisagree, match="different public key"):
        tells_two_shares(halves, two_faced)


def test_control_without_the_comparison_the_parties_agree_under_two_keys(
    halves, two_faced, monkeypatch
):
    monkeypatch.setattr(checks, "_same_key", lambda *_: None)
    tells_two_shares(halves, two_faced)
    assert all(set(HONEST) <= set(two_faced[name].agreements("decide")) for name in HONEST)


def tells_two_records(table):
    """Have the liar commit to another record towards OTHER."""
    table.keys()
    digests = {name: os.urandom(32).hex() for name in PARTIES}
    other = RecordCommit(inputs=os.urandom(32).hex(), nonce="0" * 64)
    table.lie(RECORD_COMMIT, other)
    table.commit(digests)
    for name in HONEST:
        table[name].agree("decide", digests | ({LIAR: other.inputs} if name == OTHER else {}))
    table.run()


def test_two_commitments_to_records_are_found_when_the_parties_agree(two_faced):
    with pytest.raises(PartiesDisagree, match=f"record of {LIAR}"):
        tells_two_records(two_faced)


def test_control_without_the_comparison_the_parties_agree_to_two_records(two_faced, monkeypatch):
    monkeypatch.setattr(checks, "_same_inputs", lambda *_: None)
    tells_two_records(two_faced)
    said = two_faced[TOLD].agreements("decide")
    assert said[TOLD].inputs[LIAR] != said[OTHER].inputs[LIAR]


def confirms_two_results(halves, table, bits):
    """Have server and liar present two results of the same records, one to each honest party."""
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    results = [halves.server.evaluate("decide", uploads) for _ in range(2)]
    table[LIAR].open("decide", results[0])
    table.lies[DECIDE_CONFIRM] = lambda: second.body
    digest = hashlib.sha256(results[1]).hexdigest()
    second = table.forge(LIAR, DECIDE_CONFIRM, Confirmation(program="decide", result_sha256=digest))
    for name, result in zip(HONEST, results, strict=True):
        table[name].open("decide", result)
    table.run()
    for name, result in zip(HONEST, results, strict=True):
        table[name].open("decide", result)


def test_two_confirmed_results_are_found_before_any_share(halves, two_faced, bits):
    with pytest.raises(PartiesDisagree, match="different result"):
        confirms_two_results(halves, two_faced, bits)
    assert not any(two_faced[name].opened("decide") for name in HONEST)


def test_control_without_the_comparison_shares_of_two_results_are_made(
    halves, two_faced, bits, monkeypatch
):
    monkeypatch.setattr(checks, "same_result", lambda *_: None)
    confirms_two_results(halves, two_faced, bits)
    assert len({two_faced[name].opened("decide") for name in HONEST} - {None}) == 2
