"""Calls that are still under way when the server has to end: told so, and when to ask again."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.problems import problem
from utils.errors import ServerStopping

logger = logging.getLogger("triseal.stopping")


class StopAnswer:
    """ASGI middleware that answers a cancelled call with ServerStopping.

    uvicorn cancels calls at the end of its grace period and then answers them itself, with status
    500 and in plain text, which clients do not ask again.
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
            if started:  # the connection is cut, so that nobody takes the answer for a whole one
                logger.warning("an answer was cut off: the server has to end")
                return
            await problem(stopping())(scope, receive, send)


def stopping() -> ServerStopping:
    """Return the error of a call that the server's end interrupts."""
    return ServerStopping("The server is shutting down; ask again when it is back.")
