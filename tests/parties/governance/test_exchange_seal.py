"""A record of a direct exchange is opened by its requester alone, and only as its owner sent it."""

from __future__ import annotations

import base64
import json

import pytest

from governance.permits import Use, issue, signed_by
from parties.governance.exchange_seal import begin_call, open_record, read_call, seal_record
from tests.governance.requests_for_tests import NOW, OWNER_KEY, REQUESTER_KEY, public
from utils.errors import InvalidRequest, MalformedMessage, NotAuthentic, PermitInvalid

RECORD = {"income": "30,000–40,000", "age": 41, "balance": 12.5, "active": True, "note": None}
USE = Use("ann", "request", "urn:triseal:server", "release", requester=public(REQUESTER_KEY))
TOKEN = issue(OWNER_KEY, USE, NOW)
PERMIT = signed_by(TOKEN, public(OWNER_KEY))


def a_call():
    return begin_call(TOKEN, PERMIT.jti, REQUESTER_KEY)


def test_the_requester_opens_the_record():
    opened = a_call()
    call = read_call(opened.to_bytes())
    call.require_signed(PERMIT)
    released = open_record(opened, seal_record(call, OWNER_KEY, RECORD, "r1", 7), public(OWNER_KEY))
    assert (released.record, released.request_id, released.entry) == (RECORD, "r1", 7)


def test_nobody_else_redeems_the_permit():
    stolen = begin_call(TOKEN, PERMIT.jti, OWNER_KEY)
    with pytest.raises(PermitInvalid):
        read_call(stolen.to_bytes()).require_signed(PERMIT)


def test_a_call_with_another_ephemeral_key_is_refused():
    """An observer of the call cannot have the record sealed for a key of its own."""
    call = a_call().call.model_copy(update={"ephemeral": a_call().call.ephemeral})
    with pytest.raises(PermitInvalid):
        call.require_signed(PERMIT)


@pytest.mark.parametrize("member", ["ephemeral", "sealed", "signature"])
def test_an_altered_response_is_refused(member):
    opened = a_call()
    response = json.loads(seal_record(opened.call, OWNER_KEY, RECORD, "r1", 7))
    other = json.loads(seal_record(opened.call, OWNER_KEY, RECORD, "r1", 7))
    changed = json.dumps({**response, member: other[member]}).encode()
    with pytest.raises(NotAuthentic):
        open_record(opened, changed, public(OWNER_KEY))


def test_a_response_of_another_sender_or_to_another_call_is_refused():
    opened, other = a_call(), a_call()
    for response in (
        seal_record(opened.call, REQUESTER_KEY, RECORD, "r1", 7),
        seal_record(other.call, OWNER_KEY, RECORD, "r1", 7),
    ):
        with pytest.raises(NotAuthentic):
            open_record(opened, response, public(OWNER_KEY))


@pytest.mark.parametrize("sealed", ["", "AAAA", base64.b64encode(bytes(40)).decode(), "%"])
def test_a_response_that_is_not_sealed_is_refused(sealed):
    opened = a_call()
    response = json.loads(seal_record(opened.call, OWNER_KEY, RECORD, "r1", 7))
    with pytest.raises((NotAuthentic, MalformedMessage)):
        open_record(opened, json.dumps({**response, "sealed": sealed}).encode(), public(OWNER_KEY))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b" " * 20_000])
def test_a_malformed_call_is_refused(body):
    with pytest.raises(InvalidRequest):
        read_call(body)


def test_an_invalid_exchange_key_is_refused():
    """A key of small order would give a secret that everybody knows."""
    call = a_call().call.model_copy(update={"ephemeral": "00" * 32})
    with pytest.raises(InvalidRequest):
        seal_record(call, OWNER_KEY, RECORD, "r1", 7)
