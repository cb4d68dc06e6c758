"""Mutations of valid messages, as a careless, faulty or hostile sender might send them.

A decoder's first check refuses most random bytes. A valid message with a few wrong bytes gets
further, and so does one with wrong lengths, or with parts missing, repeated or from another
message.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st

ODD_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63, 2**64 - 1)
ODD_TEXTS = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"null",
    b"-0",
    b"1e999",
    b"NaN",
    b"9" * 400,
    b"[" * 300,
    b'{"a":' * 100,
    b'"\\ud800"',
    b'","x":"',
    b"\r\n\r\n",
    b"../../etc/passwd",
    "٣ß\u202e".encode(),
)


@st.composite
def spoilt(draw: st.DrawFn, samples: Sequence[bytes], most_edits: int = 4) -> bytes:
    """Draw one of `samples` with up to `most_edits` changes, or random bytes."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=200))
    message = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, most_edits))):
        # Most of the structure is at the beginning of a message.
        near = draw(st.booleans())
        at = draw(st.integers(0, min(len(message), 80) if near else len(message)))
        match draw(st.integers(0, 7)):
            case 0:
                message[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                if at < len(message):
                    message[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del message[at : at + draw(st.integers(1, 64))]
            case 3:
                del message[at:]
            case 4:
                message[at:at] = draw(st.binary(max_size=40) | st.sampled_from(ODD_TEXTS))
            case 5:
                kind = draw(st.sampled_from(("<I", ">I", "<Q", "<H")))
                number = draw(st.sampled_from(ODD_NUMBERS)) % (1 << 8 * struct.calcsize(kind))
                message[at : at + struct.calcsize(kind)] = struct.pack(kind, number)
            case 6:
                message[at:at] = message[at : at + draw(st.integers(1, 64))]
            case _:
                other = draw(st.sampled_from(samples))
                message[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(message)
