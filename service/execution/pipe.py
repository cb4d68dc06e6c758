"""A message pipe between two of the server's own processes, usable in both directions."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")


class MessagePipe:
    """One end of a pipe, for pickled messages; never for data from outside the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> MessagePipe:
        """Return a pipe over one end of a socket pair."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, words: Any) -> None:
        """Send a message in the background; it is discarded if the other end is closed."""
        if not self._writer.is_closing():
            data = pickle.dumps(words)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Any:
        """Return the next message; raises EOFError if the other end is closed."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise EOFError from error
        return pickle.loads(data)  # noqa: S301 (from the server's own process)

    def close(self) -> None:
        """Close the pipe."""
        self._writer.close()
