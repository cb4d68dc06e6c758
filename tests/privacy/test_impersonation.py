"""Somebody with the group secret plays the bank: the server, or a stranger with the join codes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pytest

from parties.joint import checks
from parties.joint.channel import FirstWords, Identity, Place
from parties.joint.identities import IdentityKey, Trust
from parties.joint.messages import HELLO, Hello, encode
from parties.joint.protocol import JointProtocol
from tests.privacy.misbehaving import refused
from tests.privacy.small import PARTIES
from tests.privacy.table import APPLICATION, Posted, Table
from utils.errors import IdentityMismatch, MalformedMessage, NotAuthentic, PartiesDisagree

BANK, HONEST = "bank", ("applicant", "credit_agency")
EARLIER = "e" * 32


@dataclass
class Institutions:
    """The identity keys of the bank and the agency."""

    keys: dict[str, IdentityKey]

    def trust(self, party: str, pins: bool = True) -> Trust:
        pinned = {n: k.public for n, k in self.keys.items() if n != party} if pins else {}
        return Trust(self.keys.get(party), pinned)

    def table(self, halves, pins=True, without=(), **options) -> Table:
        """Return a table of all parties; those of `without` lack their institution's key."""
        trust = {name: self.trust(name, pins) for name in PARTIES if name not in without}
        return Table(halves, trust=trust, **options)


@pytest.fixture
def institutions():
    return Institutions({name: IdentityKey.fresh() for name in (BANK, "credit_agency")})


def hello_of(table, party=BANK) -> Hello:
    return table[party].conversation.state.hello_of(party)


def sent_as_bank(table, hello, secret=None) -> Posted:
    """Seal a hello as the bank's, with session keys of the attacker's own."""
    secret = secret or table.identities[HONEST[0]].group_secret
    attacker = Identity.fresh(secret)
    keys = {"signing_key": attacker.public.signing, "exchange_key": attacker.public.exchange}
    place = Place(APPLICATION, "", BANK, None, HELLO)
    body = FirstWords(APPLICATION, attacker).seal(place, encode(hello.model_copy(update=keys)))
    return Posted(BANK, HELLO, None, body)


def only_the_key(application, party, hello, pin):
    """Compare the key with the pin, as if the signature were not checked."""
    if pin is not None and hello.identity_key != pin:
        raise IdentityMismatch("another key")


def test_impostor_with_the_group_secret_is_refused(halves, institutions):
    """The server, or a stranger with all join codes: it plays the bank with a key of its own."""
    table = institutions.table(halves, without=(BANK,))
    table.collect()
    (hello,) = table.messages_of(BANK, HELLO)
    refused(table, hello, IdentityMismatch, HONEST)
    for name in HONEST:
        assert table[name].broken and not table[name].secret
        bank = next(one for one in table[name].identities if one.party == BANK)
        assert bank.pinned and bank.key is None


def test_without_pins_an_impostor_reads_the_decision(halves, institutions, bits):
    """Control: the same impostor, and nobody has pinned the bank."""
    table = institutions.table(halves, pins=False, without=(BANK,)).keys()
    result = table.decided(bits)
    table.open("decide", result)
    assert table[BANK].scores("decide", result) == tuple(halves.scores("decide", bits).tolist())
    bank = next(one for one in table["applicant"].identities if one.party == BANK)
    assert not bank.pinned and bank.key != institutions.keys[BANK].public


def test_pinned_institutions_decide(halves, institutions, bits):
    table = institutions.table(halves).keys()
    result = table.decided(bits)
    table.open("decide", result)
    truth = tuple(halves.scores("decide", bits).tolist())
    assert {table[name].scores("decide", result) for name in PARTIES} == {truth}
    found = {(name, o.party): o for name in PARTIES for o in table[name].identities}
    assert len(found) == 6
    for (_, other), one in found.items():
        assert one.pinned is (other != "applicant")
        assert one.key == hello_of(table, other).identity_key


def test_named_key_needs_its_own_signature(halves, institutions, monkeypatch):
    """The attacker names the bank's key, which is public, but signs with another."""
    table = institutions.table(halves)
    table.collect()
    real = hello_of(table)
    signed = IdentityKey.fresh().signed(APPLICATION, BANK, real)
    forged = signed.model_copy(update={"identity_key": real.identity_key})
    attack = sent_as_bank(table, forged)
    refused(table, attack, IdentityMismatch, HONEST)
    monkeypatch.setattr(checks, "require_identity", only_the_key)
    assert table.tell(HONEST[0], attack)


def test_session_keys_of_a_signed_hello_cannot_be_replaced(halves, institutions, monkeypatch):
    """A man in the middle keeps the bank's signature of this application and adds its own keys."""
    table = institutions.table(halves)
    table.collect()
    attack = sent_as_bank(table, hello_of(table))
    refused(table, attack, IdentityMismatch, HONEST)
    monkeypatch.setattr(checks, "require_identity", only_the_key)
    assert table.tell(HONEST[0], attack)


def test_hello_of_another_application_is_refused(halves, institutions):
    """The attacker had the join codes of an earlier application, too, and repeats the bank's."""
    table = institutions.table(halves)
    secret = table.identities[BANK].group_secret
    earlier = institutions.table(halves, application=EARLIER, group_secret=secret)
    earlier.collect()
    (old,) = earlier.messages_of(BANK, HELLO)
    refused(table, old, NotAuthentic, HONEST)
    refused(table, sent_as_bank(table, hello_of(earlier)), IdentityMismatch, HONEST)


@pytest.mark.parametrize("context", [(EARLIER, BANK), (APPLICATION, "credit_agency")])
def test_signature_counts_for_one_application_and_party(halves, institutions, context):
    """The attacker's own keys, signed by the bank for another application or in another role."""
    table = institutions.table(halves)
    table.collect()
    attacker = Identity.fresh(table.identities[BANK].group_secret)
    keys = {"signing_key": attacker.public.signing, "exchange_key": attacker.public.exchange}
    hello = hello_of(table).model_copy(update=keys)
    place = Place(APPLICATION, "", BANK, None, HELLO)
    words = FirstWords(APPLICATION, attacker)
    signed = institutions.keys[BANK].signed(*context, hello)
    refused(
        table,
        Posted(BANK, HELLO, None, words.seal(place, encode(signed))),
        IdentityMismatch,
        HONEST,
    )
    # Control: the same keys, signed by the bank for this place, are accepted.
    signed = institutions.keys[BANK].signed(APPLICATION, BANK, hello)
    assert table.tell(HONEST[0], Posted(BANK, HELLO, None, words.seal(place, encode(signed))))


def _other(value):
    """Return a different value of the same type."""
    match value:
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return ("1" if value[0] == "0" else "0") + value[1:]
        case dict():
            return {"0" * 64: "Auditor"}
        case tuple():  # another order or, of none or one, one more
            return value[::-1] if len(value) > 1 else (*value, BANK)
    raise AssertionError(f"add a case for {value!r}")


@pytest.mark.parametrize(
    "field", [f for f in Hello.model_fields if f not in ("version", "identity_signature")]
)
def test_signature_covers_every_field(halves, institutions, field):
    table = institutions.table(halves, pins=False)
    table.collect()
    conversation = table[BANK].conversation
    hello = hello_of(table)
    changed = hello.model_copy(update={field: _other(getattr(hello, field))})
    attacker = conversation.identity
    body = FirstWords(APPLICATION, attacker).seal(
        Place(APPLICATION, "", BANK, None, HELLO), encode(changed)
    )
    # A changed signing key no longer fits the message's own signature.
    error = NotAuthentic if field == "signing_key" else IdentityMismatch
    refused(table, Posted(BANK, HELLO, None, body), error, HONEST)


@pytest.mark.parametrize("field", ["identity_key", "identity_signature"])
@pytest.mark.parametrize("change", ["missing", "short", "long", "number"])
def test_hello_without_a_whole_identity_is_refused(halves, institutions, field, change):
    table = institutions.table(halves)
    table.collect()
    hello = hello_of(table)
    own = hello.model_dump(mode="json")
    if change == "missing":
        del own[field]
    elif change == "number":
        own[field] = 7
    else:
        own[field] = own[field][:-8] if change == "short" else "AAAA" + own[field]
    identity = table[BANK].conversation.identity
    body = FirstWords(APPLICATION, identity).seal(
        Place(APPLICATION, "", BANK, None, HELLO), json.dumps(own).encode()
    )
    refused(table, Posted(BANK, HELLO, None, body), MalformedMessage, HONEST)


def test_applicants_key_is_made_for_each_application(halves, institutions):
    one, two = (institutions.table(halves, application=a) for a in (APPLICATION, EARLIER))
    assert hello_of(one, "applicant").identity_key != hello_of(two, "applicant").identity_key
    for name, key in institutions.keys.items():
        assert hello_of(one, name).identity_key == hello_of(two, name).identity_key == key.public


def resumed(table, halves, party, pins=None) -> JointProtocol:
    protocol = table[party]
    return JointProtocol.resume(
        halves.party,
        halves.server.public,
        party,
        APPLICATION,
        table.identities[party],
        protocol.to_bytes(),
        protocol.secret,
        pins,
    )


def test_pins_survive_a_restart(halves, institutions):
    table = institutions.table(halves, without=(BANK,))
    table.protocols["applicant"] = resumed(table, halves, "applicant")
    table.collect()
    refused(table, table.messages_of(BANK, HELLO)[0], IdentityMismatch, HONEST)


def test_pin_that_comes_late_refuses_an_accepted_hello(halves, institutions):
    table = institutions.table(halves, pins=False, without=(BANK,))
    table.collect()
    table.tell("applicant", table.messages_of(BANK, HELLO)[0])
    table.tell("applicant", table.messages_of("credit_agency", HELLO)[0])
    resumed(table, halves, "applicant").require_pinned()
    late = resumed(table, halves, "applicant", institutions.trust("applicant").pins)
    assert {message.step for message in late.pending()} == {"hello", "share_commit"}
    with pytest.raises(IdentityMismatch, match="key pinned for bank"):
        late.require_pinned()
    assert late.pending() == []


def test_identity_is_compared_before_the_model(halves, institutions):
    """An impostor's hello is reported as such, whatever else is wrong with it."""
    table = institutions.table(halves)
    table.collect()
    other = hello_of(table).model_copy(update={"model_version": os.urandom(16).hex()})
    attacker = table[BANK].conversation.identity
    place, words = Place(APPLICATION, "", BANK, None, HELLO), FirstWords(APPLICATION, attacker)
    for key, error in ((institutions.keys[BANK], PartiesDisagree), (None, IdentityMismatch)):
        signed = (key or IdentityKey.fresh()).signed(APPLICATION, BANK, other)
        body = words.seal(place, encode(signed))
        refused(table, Posted(BANK, HELLO, None, body), error, HONEST)
