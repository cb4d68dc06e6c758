"""Messages that are withheld, repeated, altered, moved, or sent in another party's name."""

from __future__ import annotations

import itertools

import pytest

from parties.joint.messages import FIRST_STEPS, KEY_STEPS, RECORD_COMMIT, SHARE_OPEN
from tests.privacy.misbehaving import DECIDE_AGREE, DECIDE_PART, HONEST, LIAR, refused, without
from tests.privacy.small import PARTIES
from tests.privacy.table import Posted, Table, digests
from utils.errors import MessageOutOfOrder, MessageRepeated, NotAuthentic, OutOfStep


@pytest.mark.parametrize("step", KEY_STEPS)
def test_withheld_key_step_stops_all_parties_and_names_the_sender(table, step):
    table.carries = without(step)
    table.run()
    for name in HONEST:
        assert not table[name].ready
        assert table[name].awaits() == (LIAR,)
        with pytest.raises(OutOfStep):
            table[name].agree("decide", dict.fromkeys(PARTIES, "0" * 64))


def test_withheld_commitment_to_a_record_stops_the_agreement(table):
    table.keys().carries = without(RECORD_COMMIT)
    digests = {name: f"{i}" * 64 for i, name in enumerate(PARTIES)}
    table.commit(digests)
    for name in HONEST:
        assert not table[name].all_committed and table[name].awaits() == (LIAR,)
        with pytest.raises(OutOfStep, match=LIAR):
            table[name].agree("decide", digests)


def test_missing_agreement_stops_the_opening(halves, table, bits):
    uploads = table.keys().sent(bits)
    result = halves.server.evaluate("decide", uploads)
    for name in HONEST:
        table[name].agree("decide", digests(uploads))
    table.run()
    for name in HONEST:
        assert table[name].awaits() == (LIAR,)
        with pytest.raises(OutOfStep):
            table[name].open("decide", result)


def test_withheld_decryption_share_leaves_all_without_a_score(halves, table, bits):
    result = table.keys().decided(bits)
    table.carries = without(DECIDE_PART)
    table.open("decide", result)
    for name in HONEST:
        assert table[name].scores("decide", result) is None
        assert table[name].awaits() == (LIAR,)


def test_repeated_messages_change_nothing(halves, table, bits):
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    table.open("decide", halves.server.evaluate("decide", uploads))
    before = {name: table[name].to_bytes() for name in PARTIES}
    for posted in table.post:
        for name in PARTIES:
            if posted.receiver in (None, name):
                assert table.tell(name, posted) is False
    assert {name: table[name].to_bytes() for name in PARTIES} == before


def test_message_cannot_be_opened_in_another_place(halves, table, bits):
    """Each message is delivered as another party's, as another step's, or to another receiver."""
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    table.open("decide", halves.server.evaluate("decide", uploads))
    caught = (NotAuthentic, MessageRepeated, MessageOutOfOrder)
    for posted in table.post:
        for sender in PARTIES[1:]:
            for step in [*FIRST_STEPS, DECIDE_AGREE, DECIDE_PART]:
                if (sender, step) != (posted.sender, posted.step):
                    receiver = "applicant" if step == DECIDE_PART else None
                    moved = Posted(sender, step, receiver, posted.body)
                    refused(table, moved, caught, ["applicant"])


@pytest.mark.parametrize(("earlier", "step"), list(itertools.combinations(KEY_STEPS, 2)))
def test_message_cannot_be_opened_as_a_later_step(table, earlier, step):
    table.carries = without(step)
    table.run()
    for sender in (LIAR, HONEST[1]):
        (said,) = table.messages_of(sender, earlier)
        refused(table, Posted(LIAR, step, None, said.body), NotAuthentic, ["applicant"])


def test_message_of_an_earlier_application_is_refused(halves):
    """Same parties and group secret, another application: the message is bound to the first."""
    earlier = Table(halves).keys()
    secret = earlier.identities[LIAR].group_secret
    for step in KEY_STEPS:
        later = Table(halves, application="1" * 32, group_secret=secret)
        later.identities = earlier.identities
        later.carries = without(step)
        later.run()
        (old,) = earlier.messages_of(LIAR, step)
        refused(later, old, NotAuthentic)


@pytest.mark.parametrize("step", KEY_STEPS)
@pytest.mark.parametrize("position", [0, 20, 100, -1])
def test_an_altered_message_is_refused(table, step, position):
    table.carries = without(step)
    table.run()
    (message,) = (m for m in table[LIAR].pending() if m.step == step)
    body = bytearray(message.body)
    body[position] ^= 1
    refused(table, Posted(LIAR, step, None, bytes(body)), NotAuthentic)


def test_a_second_different_message_for_a_step_is_refused(table):
    table.keys().commit({name: f"{i}" * 64 for i, name in enumerate(PARTIES)})
    for step in FIRST_STEPS[1:]:
        said = next(p for p in table.post if (p.sender, p.step) == (LIAR, step))
        message = table[LIAR].conversation.state.inbox[step][LIAR].payload
        again = table.forge(LIAR, step, _Raw(message))
        assert again.body != said.body  # the same payload with a fresh nonce is another message
        refused(table, again, MessageRepeated)


class _Raw:
    """A message that is already encoded."""

    def __init__(self, payload):
        self._payload = payload

    def model_dump_json(self):
        return self._payload.decode()


def test_party_cannot_impersonate_another(table):
    """It has the group key, but not the other's signing key."""
    victim = "credit_agency"
    table.carries = without(SHARE_OPEN, victim)
    table.run()
    payload = table[victim].conversation.state.inbox[SHARE_OPEN][victim].payload
    forged = table.forge(LIAR, SHARE_OPEN, _Raw(payload), name=victim)
    refused(table, forged, NotAuthentic, ["applicant"])


def test_server_without_the_group_secret_cannot_send_messages(halves, table):
    """A man in the middle would have to send a hello with keys of its own."""
    stranger = Table(halves)  # has a different group secret
    stranger.collect()
    table.collect()
    refused(table, stranger.messages_of(LIAR, "hello")[0], NotAuthentic)


def test_a_party_refuses_messages_in_its_own_name_that_it_did_not_send(table):
    table.keys()
    (said,) = table.messages_of("applicant", SHARE_OPEN)
    with pytest.raises(NotAuthentic):
        table.tell("applicant", Posted("applicant", SHARE_OPEN, None, said.body[:-1] + b"x"))
