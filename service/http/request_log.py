"""Logs: one JSON object a line on stderr.

They name applications and jobs by their ids, which open nothing; they hold no token, no code, no
key and nothing of a record. Query strings and bodies of requests are never logged.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.paths import path_in_app

_requests = logging.getLogger("triseal.requests")
QUIET = ("/health", "/metrics")
"""Paths that are asked again and again; only their errors are logged."""
LONGEST_PATH = 200


class JsonLines(logging.Formatter):
    """Time, level, logger and message of a record, its `facts`, and its exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "facts", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure() -> None:
    """Have this process log what Triseal does, and only warnings of the libraries."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("triseal").setLevel(logging.INFO)
    # It warns of every malformed form, which the answer has said already.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


class RequestLog:
    """ASGI middleware that logs each request when it has been answered: what, how, how long."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting_send)
        finally:
            path = path_in_app(scope)
            if status >= 500 or not path.startswith(QUIET):
                facts = {
                    "method": scope["method"],
                    "path": path[:LONGEST_PATH],
                    "status": status,
                    "milliseconds": round(1000 * (time.perf_counter() - start), 1),
                }
                _requests.info("request", extra={"facts": facts})
