"""uvicorn's server, saying that it listens once it does."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import uvicorn


class AnnouncedServer(uvicorn.Server):
    """Prints `line` when the application has started and the sockets listen, and not before."""

    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        await super().startup(sockets)
        if self.started:
            try:
                print(self._line, flush=True)
            except OSError:  # standard output is a file on a full disk, say: nothing to stop for
                sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open to the end
