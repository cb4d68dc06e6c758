"""Responses to calls that are still in progress when the server has to stop."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from utils.errors import ServerStopping
from web.problems import problem

logger = logging.getLogger("triseal.stopping")


class StopAnswer:
    """ASGI middleware that responds to a cancelled call with ServerStopping.

    uvicorn cancels calls at the end of its grace period and then responds itself, with status 500
    and plain text, after which clients do not try again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        except asyncio.CancelledError:
            if started:  # the connection is cut, so that the response does not look complete
                logger.warning("a response was cut off: the server has to stop")
                return
            await problem(stopping())(scope, receive, send)


def stopping() -> ServerStopping:
    """Return the error for a call that is interrupted by the server's shutdown."""
    return ServerStopping("The server is shutting down; try again when it is back.")
