"""A request body of a known length, sent in large pieces without copying the whole.

Given plain bytes, httpx would copy what is left of them after each partial write to the socket.
"""

from __future__ import annotations

from collections.abc import Iterator

PIECE_BYTES = 1 << 18


class FileBody:
    """The request body, an iterable that can be sent repeatedly, and its `headers`."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self.headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(content)),
        }

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._content), PIECE_BYTES):
            yield self._content[at : at + PIECE_BYTES]  # type: ignore[misc]  # only ever joined
