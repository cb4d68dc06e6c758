"""A witness's status at http://127.0.0.1:<port>/, as a page, and at /status as JSON."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contract.http import Refusal
from witness.key import fingerprint
from witness.status import Status

HOST = "127.0.0.1"
READ_SECONDS = 5.0
"""Time for a client to send its request."""
_NAMES = frozenset({HOST, "localhost"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_REFUSALS: dict[Refusal, str] = {
    "other_model": "refused: it has another model than the server",
    "messages_refused": "refused: it could not evaluate the messages",
    "result_differs": "refused: its result differs from the server's",
}
_MOMENT = "<span>%Y-%m-%d</span> <span>%H:%M:%S</span>"
_ELSEWHERE = "Open the address that the witness printed: it is served under no other host name.\n"
_MISSING = "There is no such page. / has the witness's status, and /status the same as JSON.\n"
_STYLE = """
:root { color-scheme: light dark; --text: #1e293b; --soft: #475569; --line: #cbd5e1;
  --back: #fff; --accent: #0f766e; --warn: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #f1f5f9; --soft: #94a3b8; --line: #334155; --back: #0b0f19; --accent: #2dd4bf;
    --warn: #e8b95a; }
}
body { margin: 0; padding: 24px 16px 40px; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 760px; margin: 0 auto; }
.brand { margin: 0; color: var(--accent); font-size: 13px; font-weight: 700;
  letter-spacing: .08em; text-transform: uppercase; }
h1 { margin: 2px 0 8px; font-size: 26px; line-height: 1.25; }
h2 { margin: 24px 0 4px; font-size: 18px; }
p { margin: 0 0 12px; overflow-wrap: anywhere; }
.note, dt { color: var(--soft); font-size: 14px; }
.problem { border-left: 4px solid var(--warn); padding: 4px 12px; color: var(--warn);
  font-weight: 600; }
dl { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 16px 0; }
dd { margin: 0; font-weight: 600; }
code { font-family: ui-monospace, SFMono-Regular, "DejaVu Sans Mono", monospace;
  font-size: .92em; }
table { width: 100%; margin: 0 0 12px; border-collapse: collapse; font-size: 15px; }
th, td { padding: 7px 10px 7px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { color: var(--soft); font-size: 14px; }
tbody th { font-weight: 400; }
.number, td span { white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; }
@media (max-width: 480px) { table { font-size: 13px; } th, td { padding-right: 6px; }
  thead th { font-size: 12px; } }
"""


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
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", _ELSEWHERE)
        elif self.path == "/status":
            self._send(HTTPStatus.OK, "application/json", json.dumps(self.facts()))
        elif self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", _page(self.facts()))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", _MISSING)

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
    name = html.escape(facts["name"])
    problem = (
        f'<p class="problem" role="status">{html.escape(facts["problem"])}</p>'
        if facts["problem"]
        else ""
    )
    counts = (
        ("Results signed", f"{facts['signed']:,}"),
        ("Refused", f"{facts['refused']:,}"),
        ("Key", f"<code>{fingerprint(facts['key'])}</code>"),
        ("Model", f"<code>{html.escape(facts['model_version'][:12])}</code>"),
    )
    listed = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in counts)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Triseal: witness {name}</title><style>{_STYLE}</style></head><body><main>"
        f"<p class='brand'>Triseal</p><h1>Witness {name}</h1>"
        "<p>This process evaluates every encrypted result again, and signs it if the server's is "
        "the same. It has no key that decrypts.</p>"
        f"{problem}<dl>{listed}</dl><h2>Latest statements</h2>{_statements(facts['last'])}"
        "<p class='note'>Counts are those since the start; times are in UTC. Load the page again "
        "for newer ones; <code>/status</code> has the same as JSON.</p></main></body></html>"
    )


def _statements(said: list[dict[str, Any]]) -> str:
    """Return the statements as a table, the newest first."""
    if not said:
        return "<p class='note'>None yet. One appears for every result of the server.</p>"
    rows = "".join(
        f"<tr><td>{datetime.fromtimestamp(each['at'], UTC):{_MOMENT}}</td>"
        f"<th scope='row'><code>{html.escape(each['application'])}</code></th>"
        f"<td>{html.escape(each['program'])}</td>"
        f"<td>{html.escape(_REFUSALS.get(each['refusal'], 'signed'))}</td>"
        f"<td class='number'>{1000 * each['seconds']:,.0f} ms</td></tr>"
        for each in said
    )
    heads = "".join(
        f"<th scope='col'>{name}</th>"
        for name in ("At", "Application", "Program", "Statement", "Took")
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
