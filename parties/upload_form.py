"""A multipart form with one large file (RFC 7578), sent in large pieces without copying the file.

httpx would copy the file and send it in pieces of 64 KiB, each through all of its layers.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

PIECE_BYTES = 1 << 18


class UploadForm:
    """The request body, an iterable that can be sent repeatedly, and its `headers`.

    Field names are not escaped and must come from this project; values may be any text that does
    not contain the boundary.
    """

    def __init__(self, fields: Mapping[str, str], file: str, content: bytes) -> None:
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{file}"; '
            f'filename="{file}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        self._start = "".join(parts).encode()
        self._content = memoryview(content)
        self._end = f"\r\n--{boundary}--\r\n".encode()
        length = len(self._start) + len(content) + len(self._end)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }

    def __iter__(self) -> Iterator[bytes]:
        yield self._start
        for at in range(0, len(self._content), PIECE_BYTES):
            yield self._content[at : at + PIECE_BYTES]  # type: ignore[misc]  # only ever joined
        yield self._end
