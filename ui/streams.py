"""Event streams end with the server: an open page has some, which would otherwise hold it up."""

from __future__ import annotations

from socket import socket

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PageServer(uvicorn.Server):
    """uvicorn's server, which at its end closes connections whose answer has begun.

    To the app, the browser has gone. Other requests under way get their answers.
    """

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """End the streams, then everything else."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol) and connection.cycle is not None:
                cycle = connection.cycle
                if cycle.response_started and not cycle.response_complete:
                    connection.transport.close()
        await super().shutdown(sockets)
