"""A line between two of our own processes, on which either side says what it has to say."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<I")


class MessagePipe:
    """One end of it. Only processes of one server talk so: what comes from outside never does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> MessagePipe:
        """The line over one end of a socket pair."""
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, words: Any) -> None:
        """Say something; it goes out in the background, and nowhere if the other has gone."""
        if not self._writer.is_closing():
            data = pickle.dumps(words)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Any:
        """What the other says next; raises EOFError where it has gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise EOFError from error
        return pickle.loads(data)  # noqa: S301 (from our own process)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
