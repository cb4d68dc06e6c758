"""A session's messages arrive once, in order, from the other side and from nobody else."""

from __future__ import annotations

import base64
import threading

import pytest

from contract.sessions import SessionMessage
from parties.governance.calls import Browse, GetStatus, Refused
from parties.governance.sealed_session import SealedSession
from parties.governance.session_hello import sealed_hello
from parties.joint.channel import Identity, Place
from parties.joint.codes import JoinCode
from parties.joint.identities import IdentityKey
from tests.parties.governance.memory_relay import MemoryRelay
from utils.errors import (
    AlreadySent,
    IdentityMismatch,
    InvalidRequest,
    MalformedMessage,
    MessageOutOfOrder,
    NotAuthentic,
    NotAuthorised,
    OutOfStep,
)

OWNER, BANK = IdentityKey.fresh(), IdentityKey.fresh()


class Pair:
    """An owner and a bank with a session, and the states that they saved."""

    def __init__(self, kind=SealedSession):
        self.relay = MemoryRelay()
        self.kind = kind
        self.saved = {"owner": {}, "institution": {}}
        self.token = self.relay.register("bank-x", BANK.public.hex())
        self.owner = kind.host(
            self.relay, OWNER, "Ann", self.saved["owner"].__setitem__, title="My data"
        )
        self.id = self.owner.session_id
        self.bank = None

    def connect(self, code=None):
        self.bank = self.kind.connect(
            self.relay,
            BANK,
            "Bank of X",
            self.saved["institution"].__setitem__,
            code or self.owner.view.code,
            self.token,
        )
        return self.bank

    def shake_hands(self):
        self.connect()
        assert self.owner.receive() == ()
        assert self.bank.receive() == ()
        return self

    def resume(self, side):
        key = OWNER if side == "owner" else BANK
        saved = self.saved[side]
        return self.kind.resume(self.relay, key, saved[self.id], saved.__setitem__)

    def stored(self, side):
        return self.relay.sessions[self.id].messages[side]


@pytest.fixture
def pair():
    return Pair().shake_hands()


def test_both_sides_learn_each_other_and_exchange_messages(pair):
    pair.bank.send(Browse(call=1, words="salary"))
    pair.bank.send(GetStatus(call=2))
    assert pair.owner.receive() == (Browse(call=1, words="salary"), GetStatus(call=2))
    pair.owner.send(Refused(call=2, code="request-closed", message="No."))
    assert pair.bank.receive() == (Refused(call=2, code="request-closed", message="No."),)
    owner, bank = pair.owner.view, pair.bank.view
    assert (owner.status, owner.peer, owner.peer_type) == ("connected", "Bank of X", "bank")
    assert (owner.peer_key, owner.code, owner.title) == (BANK.public.hex(), None, "My data")
    assert (bank.status, bank.peer, bank.peer_key) == ("connected", "Ann", OWNER.public.hex())
    assert pair.owner.partner_id == "bank-x"


def test_a_session_can_be_closed_while_a_message_is_on_its_way(pair, monkeypatch):
    post = pair.relay.post_session_message

    def close_meanwhile(*given):
        number = post(*given)
        pair.bank.close()
        return number

    monkeypatch.setattr(pair.relay, "post_session_message", close_meanwhile)
    pair.bank.send(Browse(call=1))
    assert pair.bank.over and pair.bank.failure is None


def test_the_server_sees_neither_the_secret_nor_a_message():
    pair = Pair()
    code = pair.owner.view.code
    pair.shake_hands()
    pair.bank.send(Browse(call=1, words="salary"))
    kept = pair.relay.sessions[pair.id]
    seen = repr(kept).encode() + b"".join(kept.messages["institution"] + kept.messages["owner"])
    assert b"salary" not in seen and b"Bank of X" not in seen
    secret = JoinCode.parse(code).group_secret
    assert secret not in seen and code.rpartition(".")[2].encode() not in seen


def test_the_code_works_once_and_must_be_whole(pair):
    other = Pair()
    code = other.owner.view.code
    with pytest.raises(InvalidRequest):
        other.connect(code[:-1])
    other.connect(code)
    with pytest.raises(NotAuthorised):
        other.connect(code)


def test_a_wrong_secret_ends_the_session():
    pair = Pair()
    parsed = JoinCode.parse(pair.owner.view.code)
    pair.connect(str(JoinCode(parsed.client_id, parsed.server_code, bytes(16))))
    with pytest.raises(NotAuthentic, match="secret of this session's code"):
        pair.owner.receive()
    assert pair.owner.view.status == "closed"
    with pytest.raises(NotAuthentic):
        pair.owner.send(GetStatus(call=1))
    assert pair.relay.sessions[pair.id].state == "closed"


def test_a_server_without_the_secret_cannot_stand_between():
    """It plays the owner to the bank, with a key that it reports as the owner's."""
    pair, middle = Pair(), Pair()
    server = IdentityKey.fresh()
    pair.relay.sessions[pair.id].owner_key = server.public.hex()
    bank = pair.connect()
    identity, place = (
        Identity.fresh(bytes(16)),
        Place(pair.id, "", "owner", "institution", "message 1"),
    )
    forged = sealed_hello(place, identity, server, "Ann", BANK.public)
    pair.stored("owner").append(forged)
    with pytest.raises(NotAuthentic):
        bank.receive()
    with pytest.raises(NotAuthentic):
        bank.send(Browse(call=1, words="salary"))
    assert len(pair.stored("institution")) == 1, "nothing but the hello was sent"
    secret = JoinCode.parse(middle.owner.view.code).group_secret
    middle.relay.sessions[middle.id].owner_key = server.public.hex()
    known = middle.connect()
    place = Place(middle.id, "", "owner", "institution", "message 1")
    middle.stored("owner").append(
        sealed_hello(place, Identity.fresh(secret), server, "Ann", BANK.public)
    )
    known.receive()
    assert known.connected, "the control: with the secret it would be taken for the owner"


def test_several_threads_send_at_once(pair):
    def send(thread):
        for n in range(10):
            pair.bank.send(Browse(call=100 * thread + n + 1))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = [message.call for _ in range(2) for message in pair.owner.receive()]
    assert sorted(calls) == sorted(100 * t + n + 1 for t in range(8) for n in range(10))
    for thread in range(8):
        own = [call for call in calls if call // 100 == thread]
        assert own == sorted(own)


def test_what_cannot_be_saved_is_never_posted(pair):
    """After a restart its number would belong to another message."""
    saved = pair.saved["institution"]

    def full(_name, _data):
        raise OSError(28, "No space left on device")

    pair.bank._save_to = full
    with pytest.raises(OSError, match="No space"):
        pair.bank.send(Browse(call=1))
    pair.bank._save_to = saved.__setitem__
    pair.bank.send(Browse(call=2))
    assert pair.owner.receive() == (Browse(call=2),)


@pytest.mark.parametrize("victim", ["owner", "institution"])
def test_a_server_that_reports_another_key_is_found(victim):
    pair = Pair()
    other = IdentityKey.fresh().public.hex()
    kept = pair.relay.sessions[pair.id]
    if victim == "institution":
        true, kept.owner_key = kept.owner_key, other
        pair.connect()
        kept.owner_key = true  # it shows each side what that side expects
        with pytest.raises(IdentityMismatch):
            pair.owner.receive()  # the bank's hello names the key that it was told
    else:
        pair.relay.partners[pair.token].key = other
        pair.connect()
        with pytest.raises(IdentityMismatch):
            pair.owner.receive()
    assert pair.owner.over


def _replay(items):
    return [*items, SessionMessage(number=items[-1].number + 1, body=items[-1].body)]


def _repeat(items):
    return [*items, items[-1]]


def _swap(items):
    first, second = items
    return [
        SessionMessage(number=first.number, body=second.body),
        SessionMessage(number=second.number, body=first.body),
    ]


def _reorder(items):
    return items[::-1]


def _drop(items):
    return items[1:]


def _drop_and_renumber(items):
    return [SessionMessage(number=items[0].number, body=items[1].body)]


def _cut(items):
    body = base64.b64encode(base64.b64decode(items[0].body)[:-1]).decode()
    return [SessionMessage(number=items[0].number, body=body)]


def _alter(items):
    body = bytearray(base64.b64decode(items[0].body))
    body[-1] ^= 1
    return [SessionMessage(number=items[0].number, body=base64.b64encode(body).decode())]


def _not_base64(items):
    return [SessionMessage(number=items[0].number, body="%")]


def _too_large(items):
    return [SessionMessage(number=items[0].number, body="A" * 800_000)]


ATTACKS = [
    _replay, _repeat, _swap, _reorder, _drop, _drop_and_renumber, _cut, _alter, _not_base64,
    _too_large,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_the_order_or_content_ends_the_session(pair, attack):
    pair.bank.send(Browse(call=1))
    pair.bank.send(Browse(call=2))
    pair.relay.change = lambda _, found: found.model_copy(update={"items": attack(found.items)})
    with pytest.raises((NotAuthentic, MessageOutOfOrder)) as failed:
        pair.owner.receive()
    pair.relay.change = None
    assert pair.owner.view.status == "closed"
    assert pair.owner.receive() == ()
    assert type(pair.resume("owner").failure) is failed.type


def test_a_reflected_message_is_refused(pair):
    pair.bank.send(Browse(call=1))
    pair.stored("owner").append(pair.stored("institution")[1])
    with pytest.raises(NotAuthentic):
        pair.bank.receive()


def test_a_message_of_an_earlier_session_is_refused(pair):
    pair.bank.send(Browse(call=1))
    other = Pair().shake_hands()
    other.stored("institution").append(pair.stored("institution")[1])
    with pytest.raises(NotAuthentic):
        other.owner.receive()


class Careless(SealedSession):
    """The control: a session whose messages have no numbers."""

    def _place(self, sender, number):
        found = super()._place(sender, number)
        return Place(found.application, found.model, sender, found.receiver, "message")

    def _require_next(self, number, expected):
        pass


def test_control_without_numbers_a_replay_is_accepted():
    pair = Pair(Careless).shake_hands()
    pair.bank.send(Browse(call=1))
    pair.relay.change = lambda _, found: found.model_copy(update={"items": _replay(found.items)})
    assert pair.owner.receive() == (Browse(call=1), Browse(call=1))


def test_a_message_that_is_not_one_of_the_other_side_is_refused(pair):
    """An institution cannot send what only an owner may."""
    pair.bank.send(Refused(call=1, code="x", message="x"))
    with pytest.raises(MalformedMessage):
        pair.owner.receive()


def test_an_unposted_message_is_posted_by_the_next_process_with_the_same_bytes(pair):
    pair.relay.set_down(True)
    pair.bank.send(Browse(call=1))
    pair.bank.stop()
    pair.relay.set_down(False)
    assert pair.owner.receive() == ()
    again = pair.resume("institution")
    again.receive()
    assert pair.owner.receive() == (Browse(call=1),)
    first = pair.stored("institution")[1]
    pair.resume("institution").receive()  # as after a crash before the post was noted
    assert pair.stored("institution") == [pair.stored("institution")[0], first]
    again.send(Browse(call=2))
    assert pair.owner.receive() == (Browse(call=2),)


def test_both_sides_continue_after_a_restart(pair):
    pair.bank.send(Browse(call=1))
    assert pair.owner.receive() == (Browse(call=1),)
    owner = pair.resume("owner")
    assert owner.receive() == (Browse(call=1),)  # it was not handled when the process ended
    assert owner.receive() == ()
    assert pair.resume("owner").receive() == ()
    bank = pair.resume("institution")
    assert bank.view.peer == "Ann" and bank.connected
    owner.send(Refused(call=1, code="x", message="x"))
    assert [m.call for m in bank.receive()] == [1]


def test_an_owner_that_restarts_before_anybody_connects_is_still_found():
    pair = Pair()
    pair.owner.stop()
    pair.owner = pair.resume("owner")
    pair.shake_hands()
    assert pair.owner.connected and pair.bank.connected


def test_a_session_put_back_from_a_backup_ends(pair):
    pair.bank.receive()
    old = dict(pair.saved["institution"])
    pair.bank.send(Browse(call=1))
    pair.saved["institution"].update(old)
    restored = pair.resume("institution")
    with pytest.raises(AlreadySent, match="backup"):
        restored.send(Browse(call=2))
    assert restored.over


def test_a_stopped_session_changes_nothing(pair):
    pair.bank.send(Browse(call=1))
    pair.owner.stop()
    before = pair.saved["owner"][pair.id]
    assert pair.owner.receive() == ()
    assert pair.saved["owner"][pair.id] == before
    assert pair.resume("owner").receive() == (Browse(call=1),)


def test_the_last_messages_before_the_end_are_delivered(pair):
    pair.bank.send(Browse(call=1))
    pair.bank.close()
    assert pair.owner.receive() == (Browse(call=1),)
    assert pair.owner.receive() == ()
    assert pair.owner.view.status == "closed"
    with pytest.raises(OutOfStep):
        pair.owner.send(Refused(call=1, code="x", message="x"))


def test_nothing_is_sent_before_the_other_side_is_known():
    pair = Pair()
    bank = pair.connect()
    with pytest.raises(OutOfStep):
        bank.send(Browse(call=1))
    with pytest.raises(OutOfStep):
        pair.owner.send(Refused(call=1, code="x", message="x"))


def test_a_damaged_state_is_refused_without_showing_it(pair):
    data = pair.saved["owner"][pair.id]
    for damaged in (data[:-2], data.replace(b'"identity":"', b'"identity":"!'), b""):
        with pytest.raises(MalformedMessage) as failed:
            SealedSession.resume(pair.relay, OWNER, damaged, lambda *_: None)
        assert pair.owner.token not in str(failed.value)
        assert failed.value.__cause__ is None
