"""Misbehaviour in the opening: it is detected before or when the shares are added."""

from __future__ import annotations

import hashlib
import os

import pytest

from engines.interface import ENCRYPTED_INPUTS, KeyShare
from engines.levelled.party import LevelledParty
from parties.joint.messages import Agreement, Partial, agree_step
from parties.joint.protocol import JointProtocol
from tests.privacy.misbehaving import (
    DECIDE_AGREE,
    DECIDE_PART,
    HONEST,
    LIAR,
    lying,
    refused,
    without,
)
from tests.privacy.small import PARTIES
from tests.privacy.table import Posted, Table, digests
from utils.errors import (
    AlreadyOpened,
    ForeignMessage,
    MalformedMessage,
    MessageOutOfOrder,
    NotAuthentic,
    OpeningFailed,
    OutOfStep,
    PartiesDisagree,
)


def test_agreement_to_other_inputs_is_detected(table, bits):
    uploads = table.keys().sent(bits)
    others = digests(uploads) | {LIAR: os.urandom(32).hex()}
    for name in HONEST:
        table[name].agree("decide", digests(uploads))
    table.run()
    key = hashlib.sha256(table[LIAR].public_key).hexdigest()
    message = Agreement(program="decide", inputs=others, public_key_digest=key)
    refused(table, table.forge(LIAR, DECIDE_AGREE, message), PartiesDisagree)
    with pytest.raises(PartiesDisagree):
        table[LIAR].agree("decide", others)


def test_no_party_opens_before_all_have_agreed(halves, table, bits):
    uploads = table.keys().sent(bits)
    result = halves.server.evaluate("decide", uploads)
    message = Partial(program="decide", result_sha256="0" * 64, share=bytes(8))
    for name in HONEST:
        with pytest.raises(OutOfStep):
            table[name].open("decide", result)
        refused(table, table.forge(LIAR, DECIDE_PART, message, name), MessageOutOfOrder, [name])


@pytest.mark.parametrize("kind", ["share of another secret", "secret of zeros", "random share"])
def test_a_key_share_without_its_secret_opens_nothing(halves, bits, kind):
    """The liar publishes a share and continues with a secret that does not belong to it."""

    def key_share(self, common):
        true = LevelledParty.key_share(self, common)
        match kind:
            case "share of another secret":
                return KeyShare(secret=true.secret, share=halves.party.key_share(common).share)
            case "secret of zeros":
                zeros = true.secret[:33] + b"\x55" * (len(true.secret) - 33)
                return KeyShare(secret=zeros, share=true.share)
        return KeyShare(secret=true.secret, share=os.urandom(len(true.share)))

    table = Table(halves, engines={LIAR: lying(halves, key_share=key_share)})
    result = table.keys().decided(bits)
    table.open("decide", result)
    for name in PARTIES:
        with pytest.raises(OpeningFailed):
            table[name].scores("decide", result)
        assert table[name].broken


def test_party_opens_only_one_result_of_a_program(halves, table, bits):
    """A server that asks again with a fresh re-randomisation gets no second decryption share."""
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    first, second = (halves.server.evaluate("decide", uploads) for _ in range(2))
    assert first != second
    table.open("decide", first)
    posted = len(table.post)
    for name in PARTIES:
        table[name].open("decide", first)  # repeated: no new message is sent
        with pytest.raises(AlreadyOpened):
            table[name].open("decide", second)
        with pytest.raises(AlreadyOpened):
            table[name].scores("decide", second)
    table.run()
    assert len(table.post) == posted


def test_a_restart_does_not_make_a_party_open_twice(halves, table, bits):
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    first, second = (halves.server.evaluate("decide", uploads) for _ in range(2))
    table["applicant"].open("decide", first)
    before = [m.body for m in table["applicant"].pending()]
    resumed = JointProtocol.resume(
        halves.party,
        halves.server.public,
        "applicant",
        "0" * 32,
        table.identities["applicant"],
        table["applicant"].to_bytes(),
        table["applicant"].secret,
    )
    resumed.open("decide", first)
    assert [m.body for m in resumed.pending()] == before
    with pytest.raises(AlreadyOpened):
        resumed.open("decide", second)


def test_different_results_for_each_party_are_not_opened(halves, table, bits):
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    for name in PARTIES:
        table[name].open("decide", halves.server.evaluate("decide", uploads))
    table.collect()
    for posted in [p for p in table.post if p.step == DECIDE_PART]:
        refused(table, posted, PartiesDisagree, [posted.receiver])


def test_false_digest_of_the_opened_result_is_detected(halves, table, bits):
    """The liar's message names a different result than that of the agreed run."""
    result = table.keys().decided(bits)
    table.carries = without(DECIDE_PART)
    table.open("decide", result)
    share = table[LIAR].conversation.state.said(Partial, DECIDE_PART)[LIAR].share
    message = Partial(program="decide", result_sha256=os.urandom(32).hex(), share=share)
    for name in HONEST:
        lie = table.forge(LIAR, DECIDE_PART, message, name)
        refused(table, lie, PartiesDisagree, [name])
        assert table[name].scores("decide", result) is None


def test_a_share_of_another_program_is_refused(halves, table, bits):
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    result = halves.server.evaluate("explain", uploads)
    for name in PARTIES:
        with pytest.raises(ForeignMessage):
            table[name].open("decide", result)
        assert table[name].opened("decide") is None


def test_explanation_is_refused_before_the_decision(halves, table, bits):
    uploads = table.keys().sent(bits)
    with pytest.raises(OutOfStep):
        table[LIAR].agree("explain", digests(uploads))
    key = hashlib.sha256(table[LIAR].public_key).hexdigest()
    message = Agreement(program="explain", inputs=digests(uploads), public_key_digest=key)
    refused(table, table.forge(LIAR, agree_step("explain"), message), MessageOutOfOrder)


def test_explanation_must_use_the_decided_inputs(halves, table, bits):
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    table.open("decide", halves.server.evaluate("decide", uploads))
    others = table.sent(1 - bits)
    for name in PARTIES:
        with pytest.raises(PartiesDisagree):
            table[name].agree("explain", digests(others))


@pytest.mark.parametrize("size", [1, 7, 9, 16384])
def test_a_decryption_share_of_a_wrong_length_is_refused(halves, bits, size):
    def partial(self, *arguments):
        return os.urandom(size)

    table = Table(halves, engines={LIAR: lying(halves, partial=partial)})
    result = table.keys().decided(bits)
    table.open("decide", result)
    for name in PARTIES:
        with pytest.raises(MalformedMessage):
            table[name].scores("decide", result)


@pytest.mark.parametrize("kind", ["random", "zero", "of another result", "without the zero share"])
def test_garbage_decryption_share_is_detected_by_every_reader(halves, bits, kind):
    """The known zeros after the scores detect it, except with probability 2^-96 at 12 bits."""

    def partial(self, program, result, party, key, secret, pairwise):
        true = LevelledParty.partial(self, program, result, party, key, secret, pairwise)
        if kind == "of another result":
            other = halves.server.evaluate(program, uploads)
            return LevelledParty.partial(self, program, other, party, key, secret, pairwise)
        if kind == "without the zero share":
            other = dict.fromkeys(pairwise, bytes(32))
            return LevelledParty.partial(self, program, result, party, key, secret, other)
        return os.urandom(len(true)) if kind == "random" else bytes(len(true))

    table = Table(halves, engines={LIAR: lying(halves, partial=partial)})
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    result = halves.server.evaluate("decide", uploads)
    table.open("decide", result)
    for name in PARTIES:
        with pytest.raises(OpeningFailed):
            table[name].scores("decide", result)


def test_inputs_under_a_key_of_fewer_parties_are_refused_by_the_server(halves, table, bits):
    """A key that two parties could open together would have a different digest."""
    uploads = table.keys().sent(bits)
    other = Table(halves).keys().sent(bits)
    with pytest.raises(ForeignMessage):
        halves.server.evaluate(
            "decide", uploads | {(LIAR, ENCRYPTED_INPUTS): other[LIAR, ENCRYPTED_INPUTS]}
        )


def test_decryption_share_is_sent_to_readers_only(halves, bits):
    table = Table(halves, readers=("credit_agency",))
    result = table.keys().decided(bits)
    table.open("decide", result)
    parts = {(p.sender, p.receiver) for p in table.post if p.step == DECIDE_PART}
    assert parts == {("applicant", "credit_agency"), ("bank", "credit_agency")}
    truth = tuple(halves.scores("decide", bits).tolist())
    scores = {name: table[name].scores("decide", result) for name in PARTIES}
    assert scores == {"applicant": None, "bank": None, "credit_agency": truth}
    for posted in [p for p in table.post if p.step == DECIDE_PART]:
        refused(
            table, Posted(posted.sender, posted.step, "bank", posted.body), NotAuthentic, ["bank"]
        )
