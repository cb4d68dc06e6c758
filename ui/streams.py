"""Closing event streams on shutdown: those of open pages would otherwise delay it."""

from __future__ import annotations

from socket import socket

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PageServer(uvicorn.Server):
    """A uvicorn server that closes connections with a response in progress on shutdown.

    The app sees such a browser as disconnected. Other requests in progress still get a response.
    """

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the streams, then shut down."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol) and connection.cycle is not None:
                cycle = connection.cycle
                if cycle.response_started and not cycle.response_complete:
                    connection.transport.close()
        await super().shutdown(sockets)
