"""A witness's status at http://127.0.0.1:<port>/, as a page, and at /status as JSON."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from witness.key import fingerprint
from witness.status import Status

HOST = "127.0.0.1"
READ_SECONDS = 5.0
"""Time for a client to send its request."""
_NAMES = frozenset({HOST, "localhost"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@contextmanager
def status_page(status: Status, port: int) -> Iterator[int]:
    """Serve the status in the background until the end of the block; yield the port.

    Raises OSError if the port is taken.
    """

    class Handler(_Handler):
        facts = staticmethod(status.facts)

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="status page", daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS
    server_version, sys_version = "triseal", ""

    @staticmethod
    def facts() -> dict[str, Any]:
        return {}

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _NAMES:  # a foreign page whose name resolves to this machine
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", "Unknown host.")
        elif self.path == "/status":
            self._send(HTTPStatus.OK, "application/json", json.dumps(self.facts()))
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", _page(self.facts()))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "There is no such page.")

    def log_message(self, *_: Any) -> None:
        return  # requests for the status are not worth a line

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _page(facts: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(said['application'])}</td><td>{html.escape(said['program'])}</td>"
        f"<td>{html.escape(said['refusal'] or 'signed')}</td>"
        f"<td>{1000 * said['seconds']:.0f} ms</td></tr>"
        for said in facts["last"]
    )
    problem = f"<p role='status'>{html.escape(facts['problem'])}</p>" if facts["problem"] else ""
    name = html.escape(facts["name"])
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Witness {name}</title>"
        f"<h1>Witness {name}</h1>{problem}"
        f"<p>Key <code>{fingerprint(facts['key'])}</code>, model "
        f"<code>{html.escape(facts['model_version'][:12])}</code>.</p>"
        f"<p>{facts['signed']} results signed, {facts['refused']} refused since the start.</p>"
        f"<table><tr><th>Application<th>Program<th>Statement<th>Time</tr>{rows}</table></html>"
    )
