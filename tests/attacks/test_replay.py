"""Messages and shares that are authentic, but belong to another application or result.

tests/privacy/test_withheld_and_moved_messages.py and test_misbehaviour_in_opening.py show that
they are refused, tests/witness/test_forged_results.py the same for a witness's signature.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.levelled import opening
from engines.levelled.parameters import KNOWN_ZEROS
from engines.levelled.party import LevelledParty
from parties.joint import channel, identities
from parties.joint.channel import FirstWords, Place
from parties.joint.messages import HELLO
from tests.privacy.misbehaving import HONEST, LIAR, lying, refused, without
from tests.privacy.small import PARTIES
from tests.privacy.table import Table
from utils.errors import IdentityMismatch, NotAuthentic, OpeningFailed

BINDINGS = {
    "the key": NotAuthentic,
    "the associated data": NotAuthentic,
    "the identity's signature": IdentityMismatch,
}
"""What binds a hello to its application, and the error of a replay that fails by it."""


def unbound(monkeypatch, binding):
    """Leave the application out of one of BINDINGS."""
    match binding:
        case "the key":

            def init(self, application, identity):
                self._key = channel._derive(identity.group_secret, b"", b"first words")
                self._identity = identity

            monkeypatch.setattr(FirstWords, "__init__", init)
        case "the associated data":
            bound = Place.associated
            monkeypatch.setattr(
                Place, "associated", lambda place: bound(replace(place, application=""))
            )
        case _:
            bound_statement = identities._statement
            monkeypatch.setattr(
                identities, "_statement", lambda _, *rest: bound_statement("", *rest)
            )


def replayed_hello(halves):
    """Return a later application of the same parties, and the liar's hello of an earlier one."""
    earlier = Table(halves)
    earlier.collect()
    later = Table(halves, application="1" * 32, group_secret=earlier.identities[LIAR].group_secret)
    later.carries = without(HELLO)
    later.run()
    (old,) = earlier.messages_of(LIAR, HELLO)
    return later, old


@pytest.mark.parametrize("kept", BINDINGS)
def test_each_binding_alone_refuses_a_hello_of_another_application(halves, monkeypatch, kept):
    for binding in BINDINGS:
        if binding != kept:
            unbound(monkeypatch, binding)
    refused(*replayed_hello(halves), BINDINGS[kept])


def test_control_without_any_binding_a_hello_of_another_application_is_accepted(
    halves, monkeypatch
):
    for binding in BINDINGS:
        unbound(monkeypatch, binding)
    later, old = replayed_hello(halves)
    assert all(later.tell(name, old) for name in HONEST)


def share_of_another_result(halves, bits):
    """Have the liar send its share of another evaluation as one of this result; (table, result)."""

    def partial(self, program, result, *rest):
        other = halves.server.evaluate(program, uploads)
        return LevelledParty.partial(self, program, other, *rest)

    table = Table(halves, engines={LIAR: lying(halves, partial=partial)})
    uploads = table.keys().sent(bits)
    table.agree("decide", uploads)
    result = halves.server.evaluate("decide", uploads)
    table.open("decide", result)
    return table, result


def test_control_without_known_zeros_a_share_of_another_result_decides(halves, bits, monkeypatch):
    table, result = share_of_another_result(halves, bits)
    with pytest.raises(OpeningFailed):
        table[HONEST[0]].scores("decide", result)

    def unchecked(*given):
        return opening.opened(*given)[:-KNOWN_ZEROS]

    monkeypatch.setattr(opening, "combine", unchecked)
    found = {table[name].scores("decide", result) for name in PARTIES}
    assert found != {tuple(halves.scores("decide", bits).tolist())}
