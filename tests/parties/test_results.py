"""The preview of a ciphertext that the page shows."""

import os

from engines.envelope import Header, seal
from parties.results import PREVIEW_BYTES, digest, preview

HEADER = Header(engine="stub", model="m", kind="any")


def test_a_preview_shows_the_window_with_the_most_distinct_bytes():
    noise = os.urandom(200)
    message = seal(HEADER, bytes(3000) + noise + bytes(3000))
    shown = bytes.fromhex(preview(message))
    assert len(shown) == PREVIEW_BYTES
    assert shown in noise or shown.strip(b"\0") in noise


def test_preview_of_short_and_foreign_messages_is_unchanged():
    assert preview(seal(HEADER, b"abc")) == b"abc".hex()
    assert preview(seal(HEADER, b"")) == ""
    assert preview(b"not sealed") == b"not sealed".hex()


def test_a_large_message_is_sampled_in_few_windows():
    message = seal(HEADER, os.urandom(5_000_000))
    assert bytes.fromhex(preview(message)) in message
    assert len(digest(message)) == 64
