"""The body of an upload, as httpx sends it."""

from __future__ import annotations

import httpx
import pytest

from parties.file_body import PIECE_BYTES, FileBody


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_file_body_has_a_length_and_can_be_sent_again(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    body = FileBody(content[:size])
    assert [b"".join(body) for _ in range(2)] == [content[:size]] * 2
    request = httpx.Request("PUT", "http://server", content=body, headers=body.headers)
    assert request.headers["content-length"] == str(size)
    assert "transfer-encoding" not in request.headers
