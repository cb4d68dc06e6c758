"""HTTP as the trial speaks it: patient with what may pass, and noting all that is answered."""

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
"""How long a call is made again while the server is away or busy; then its application is lost."""
LONGEST_PAUSE = 0.4
"""A busy server may ask for more; the trial comes back early, which it must bear."""
ANSWER_SECONDS = 30.0
_PASSING = (408, 429, 503)
UNTYPED = "?"
"""Begins the code of an error that is none of this project's."""
_URN = "urn:triseal:error:"


@dataclass(frozen=True)
class Answer:
    """One answer: its status, the code of its problem ("" where it is none), and its body.

    `cut` says that an earlier try of the same call lost its connection, so that the server may
    have done already what it was asked for.
    """

    status: int
    code: str
    body: bytes
    cut: bool = False

    @property
    def good(self) -> bool:
        """Whether the server did what it was asked for."""
        return self.status < 400

    def json(self) -> Any:
        """The body's content."""
        return json.loads(self.body)

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()


class Lost(Exception):
    """No call came through for PATIENCE_SECONDS."""


class Caller:
    """Calls one of several servers at random; each thread has connections of its own.

    `note` is given every answer, as it came.
    """

    def __init__(self, urls: Sequence[str], seed: int, note: Callable[[str, Answer], None]) -> None:
        self._urls = list(urls)
        self._seed = seed
        self._note = note
        self._own = threading.local()
        self._clients: list[httpx.Client] = []
        self._lock = threading.Lock()
        self.passing: Counter[str] = Counter()
        """What was answered, or happened to connections, that a caller has to bear."""

    def once(self, method: str, path: str, token: str | None = None, **options: Any) -> Answer:
        """One call, answered as it may be; raises httpx.TransportError."""
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
        """The same, made again while the server is away or says that it is busy; raises Lost."""
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
                raise Lost(f"{method} {path} for {PATIENCE_SECONDS:g} s; at last: {what}")
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def hang_up(self) -> None:
        """Close all connections; they are opened again when they are needed."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()

    def _connection(self) -> tuple[httpx.Client, Random]:
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None or client.is_closed:
            client = httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS), trust_env=False)
            self._own.client = client
            self._own.random = Random(self._seed)  # noqa: S311 - no secret
            with self._lock:
                self._clients.append(client)
        return client, self._own.random


def upload(client_id: str, key: tuple[str, str], message: bytes) -> Mapping[str, Any]:
    """The options of a call that sends a message to a slot."""
    return {
        "data": {"client_id": client_id, "client_type": key[0], "file_name": key[1]},
        "files": {"files": ("message", message, "application/octet-stream")},
    }


def _code(response: httpx.Response) -> str:
    """The code of a problem; "" for a good answer; what is neither has a code no server has."""
    if response.status_code < 400:
        return ""
    try:
        code = str(response.json()["type"]).removeprefix(_URN)
    except (ValueError, KeyError, TypeError):
        return UNTYPED
    return code if code in error_classes() else f"{UNTYPED} {code[:60]}"
