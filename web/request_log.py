"""Logs: one JSON object per line on stderr.

Applications and jobs are named by their ids, which grant no access. The logs contain no tokens,
codes or keys, and no data of a record. Query strings and request bodies are never logged.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.paths import path_in_app

_requests = logging.getLogger("triseal.requests")
QUIET = ("/health", "/metrics")
"""Paths that are polled regularly; only their errors are logged."""
LONGEST_PATH = 200


class JsonLines(logging.Formatter):
    """Formats a record's time, level, logger, message, `facts` and exception as JSON."""

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
    """Configure logging for this process: Triseal's at INFO, libraries' at WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    # A line shows neither the caller nor its thread, process and task.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from Python 3.12
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("triseal").setLevel(logging.INFO)
    # It warns about every malformed form, which the response already reports.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


class RequestLog:
    """ASGI middleware that logs each request's method, path, status and time in milliseconds."""

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
