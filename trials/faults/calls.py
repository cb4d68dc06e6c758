"""HTTP calls of the trial: they retry passing errors and report every response."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from utils.errors import error_classes

PATIENCE_SECONDS = 90.0
"""Time to retry a call while the server is away or busy; then its application is lost."""
LONGEST_PAUSE = 0.4
"""Longest wait before a retry, even if a busy server asks for more."""
ANSWER_SECONDS = 30.0
_PASSING = (408, 429, 503)
UNTYPED = "?"
"""Prefix of the code of an error that is not one of this project's."""
_URN = "urn:triseal:error:"


@dataclass(frozen=True)
class Answer:
    """A response: its status, the code of its problem ("" if there is none), and its body.

    `cut` is True if an earlier attempt lost its connection, so that the server may already have
    processed the request.
    """

    status: int
    code: str
    body: bytes
    cut: bool = False

    @property
    def good(self) -> bool:
        """True if the request succeeded."""
        return self.status < 400

    @property
    def spent(self) -> bool:
        """True if an earlier attempt, whose response was lost, has used up the run's permits."""
        return self.cut and self.code == "consent-missing"

    def json(self) -> Any:
        """Return the decoded JSON body."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()


class Lost(Exception):
    """No call succeeded for PATIENCE_SECONDS."""


class Caller:
    """Calls one of several servers at random; each thread has its own connections.

    `note` is called with every response.
    """

    def __init__(self, urls: Sequence[str], seed: int, note: Callable[[str, Answer], None]) -> None:
        self._urls = list(urls)
        self._seed = seed
        self._note = note
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
        self._lock = threading.Lock()
        self.passing: Counter[str] = Counter()
        """Counts of responses and connection errors that callers must tolerate."""

    def once(self, method: str, path: str, token: str | None = None, **options: Any) -> Answer:
        """Make a single call and return its response; raises httpx.TransportError."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        client, random = self._connection()
        url = options.pop("url", None) or random.choice(self._urls)
        response = client.request(method, url + path, headers=headers, **options)
        answer = Answer(response.status_code, _code(response), response.content)
        self._note(f"{method} {path}", answer)
        return answer

    def ask(self, method: str, path: str, token: str | None = None, **options: Any) -> Answer:
        """Make a call, repeatedly while the server is away or busy; raises Lost."""
        end, pause, cut = time.monotonic() + PATIENCE_SECONDS, 0.05, False
        while True:
            try:
                answer = self.once(method, path, token, **options)
                if answer.status not in _PASSING:
                    return Answer(answer.status, answer.code, answer.body, cut)
                what = str(answer)
            except httpx.ConnectError as error:
                what = type(error).__name__
            except httpx.TransportError as error:
                what, cut = type(error).__name__, True
            self.passing[what] += 1
            if time.monotonic() > end:
                raise Lost(f"{method} {path} failed for {PATIENCE_SECONDS:g} s; last error: {what}")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def hang_up(self) -> None:
        """Close all connections; they are reopened when needed."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def _connection(self) -> tuple[httpx.Client, Random]:
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None or client.is_closed:
            client = httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS), trust_env=False)
            self._own.client = client
            self._own.random = Random(self._seed)  # noqa: S311 - not secret
            with self._lock:
                self._clients.append(client)
        return client, self._own.random


def upload(client_id: str, key: tuple[str, str], message: bytes) -> Mapping[str, Any]:
    """Return the options of a call that sends a message to a slot."""
    return {
        "data": {"client_id": client_id, "client_type": key[0], "file_name": key[1]},
        "files": {"files": ("message", message, "application/octet-stream")},
    }


def _code(response: httpx.Response) -> str:
    """Return the code of a problem, "" on success, and an UNTYPED code for anything else."""
    if response.status_code < 400:
        return ""
    try:
        code = str(response.json()["type"]).removeprefix(_URN)
    except (ValueError, KeyError, TypeError):
        return UNTYPED
    return code if code in error_classes() else f"{UNTYPED} {code[:60]}"
