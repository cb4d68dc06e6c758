"""A server that cheats: a real HTTP server in front of another, which alters the model it gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

import httpx

from engines.levelled.messages import CLIENT_FACTS_FILE
from engines.zip_files import pack, sha256, unpack

Tamper = Callable[[dict[str, Any], dict[str, Any]], None]
"""Alters the public model and the client facts, as decoded JSON, in place."""

FORWARDED = ("authorization", "content-type")


def untouched(model: dict[str, Any], client: dict[str, Any]) -> None:
    """Leave the model as it is."""


class TamperingServer:
    """Forwards every call to `url`, except that `tamper` alters the model and the client files.

    A party may join with any model. The archive keeps to the digest in the altered model unless
    `matching` is False. `calls` has the method and path of every call so far.
    """

    def __init__(self, url: str, tamper: Tamper = untouched, matching: bool = True) -> None:
        self.tamper, self.matching = tamper, matching
        self.calls: list[tuple[str, str]] = []
        self._upstream = httpx.Client(base_url=url, timeout=60, trust_env=False)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                status, kind, body = outer._respond(self)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 (http.server's names)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._upstream.close()

    def _respond(self, call: BaseHTTPRequestHandler) -> tuple[int, str, bytes]:
        self.calls.append((call.command, call.path))
        content = call.rfile.read(int(call.headers.get("Content-Length", 0)))
        if (call.command, call.path) == ("GET", "/model"):
            return 200, "application/json", self._altered()[0]
        if (call.command, call.path) == ("GET", "/model/client"):
            return 200, "application/zip", self._altered()[1]
        if call.path.endswith("/join"):
            joining = json.loads(content)
            joining.pop("model_sha256", None)
            content = json.dumps(joining).encode()
        headers = {name: call.headers[name] for name in FORWARDED if name in call.headers}
        found = self._upstream.request(call.command, call.path, content=content, headers=headers)
        return found.status_code, found.headers.get("content-type", ""), found.content

    def _altered(self) -> tuple[bytes, bytes]:
        model = self._upstream.get("/model").json()
        client = json.loads(unpack(self._upstream.get("/model/client").content)[CLIENT_FACTS_FILE])
        self.tamper(model, client)
        archive = pack({CLIENT_FACTS_FILE: json.dumps(client).encode()})
        if self.matching:
            model["client_sha256"] = sha256(archive)
        return json.dumps(model).encode(), archive
