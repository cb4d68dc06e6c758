"""Sealed messages: they survive a round trip, and all other bytes are refused."""

import hashlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.envelope import (
    MAGIC,
    MAXIMUM_HEADER,
    OVERHEAD,
    Header,
    seal,
    unseal,
    unseal_as,
)
from tests.strategies import QUICK
from utils.errors import ForeignMessage, MalformedMessage

HEADER = Header(engine="clear", model="0f" * 16, kind="encrypted_inputs", party="bank")
MESSAGE = seal(HEADER, b"the payload")
NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=40)
HEADERS = st.builds(
    Header,
    engine=NAMES,
    profile=NAMES,
    model=NAMES,
    kind=NAMES,
    party=st.none() | NAMES,
    program=st.none() | NAMES,
)


def resealed(header: bytes, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a message with any header and a correct digest."""
    claimed = struct.pack("<I", len(header) if length is None else length)
    body = MAGIC + claimed + header + payload
    return body + hashlib.sha256(body).digest()


@QUICK
@given(HEADERS, st.binary(max_size=300))
def test_seal_and_unseal_round_trip(header, payload):
    message = seal(header, payload)
    found, content = unseal(message)
    assert found == header
    assert bytes(content) == payload
    assert bytes(unseal_as(header, message)) == payload
    assert len(message) <= OVERHEAD + len(payload)


def test_intact_message_is_not_hashed_again():
    damaged = MESSAGE[:-1] + bytes([MESSAGE[-1] ^ 1])
    with pytest.raises(MalformedMessage):
        unseal_as(HEADER, memoryview(damaged))
    assert bytes(unseal_as(HEADER, memoryview(damaged), intact=True)) == b"the payload"


def test_large_payload_is_a_view_without_copy():
    payload = bytes(1 << 20)
    message = seal(HEADER, payload)
    assert unseal(message)[1].obj is message


@pytest.mark.parametrize("position", range(len(MESSAGE)))
def test_every_changed_byte_is_refused(position):
    for change in (0x01, 0x80, 0xFF):
        damaged = bytearray(MESSAGE)
        damaged[position] ^= change
        with pytest.raises(MalformedMessage):
            unseal(bytes(damaged))


def test_every_truncation_and_every_extension_is_refused():
    for length in range(len(MESSAGE)):
        with pytest.raises(MalformedMessage):
            unseal(MESSAGE[:length])
        with pytest.raises(MalformedMessage):
            unseal(MESSAGE[length:] if length else b"")
    for more in (b"\0", MESSAGE):
        with pytest.raises(MalformedMessage):
            unseal(MESSAGE + more)


@QUICK
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused(content, with_magic):
    with pytest.raises(MalformedMessage) as caught:
        unseal(MAGIC + content if with_magic else content)
    assert caught.value.message


@QUICK
@given(st.binary(max_size=100), st.integers(0, 2**32 - 1))
def test_any_header_length_with_valid_digest_is_read_or_refused(content, length):
    with pytest.raises(MalformedMessage):
        unseal(resealed(content, b"payload", length))


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b"not json",
        b"[" * MAXIMUM_HEADER,  # deeper than the parser allows
        b"\xff\xfe" * 10,
        json.dumps({**HEADER.model_dump(), "more": 1}).encode(),
        json.dumps({k: v for k, v in HEADER.model_dump().items() if k != "kind"}).encode(),
        json.dumps({**HEADER.model_dump(), "engine": "e" * 41}).encode(),
        json.dumps({**HEADER.model_dump(), "party": 5}).encode(),
    ],
    ids=range(9),
)
def test_malformed_header_with_valid_digest_is_refused(header):
    with pytest.raises(MalformedMessage, match="header cannot be read"):
        unseal(resealed(header, b"payload"))


def test_oversized_header_is_refused_without_reading():
    header = HEADER.model_dump_json().encode()
    assert unseal(resealed(header.ljust(MAXIMUM_HEADER)))[0] == HEADER
    with pytest.raises(MalformedMessage, match="invalid length"):
        unseal(resealed(header.ljust(MAXIMUM_HEADER + 1)))


@pytest.mark.parametrize("field", Header.model_fields)
def test_foreign_message_error_names_the_differing_field(field):
    other = HEADER.model_copy(update={field: 2 if field == "format" else "another"})
    with pytest.raises(ForeignMessage) as caught:
        unseal_as(HEADER, seal(other, b"payload"))
    text = caught.value.message
    assert f"for another {field} " in text
    assert f"needs {getattr(HEADER, field)}" in text


def test_damage_is_reported_before_header_mismatch():
    other = seal(HEADER.model_copy(update={"party": "applicant"}), b"payload")
    with pytest.raises(MalformedMessage):
        unseal_as(HEADER, other[:-1])


@QUICK
@given(HEADERS, HEADERS)
def test_message_opens_only_with_equal_header(one, other):
    message = seal(one, b"payload")
    if one == other:
        assert bytes(unseal_as(other, message)) == b"payload"
    else:
        with pytest.raises(ForeignMessage):
            unseal_as(other, message)


def test_error_messages_stay_short():
    with pytest.raises(ForeignMessage) as caught:
        unseal_as(HEADER, seal(HEADER.model_copy(update={"model": "m" * 64}), b""))
    assert len(caught.value.message) < 250
