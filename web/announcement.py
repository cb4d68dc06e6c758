"""A uvicorn server that announces its address once it listens."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import uvicorn


class AnnouncedServer(uvicorn.Server):
    """Prints `line` once the application has started and the sockets listen."""

    def __init__(self, config: uvicorn.Config, line: str) -> None:
        super().__init__(config)
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and listen."""
        await super().startup(sockets)
        if self.started:
            try:
                print(self._line, flush=True)
            except OSError:  # for example, output to a file on a full disk: no reason to stop
                sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open to the end
