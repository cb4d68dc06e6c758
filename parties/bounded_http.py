"""Requests to one server, with bounded response sizes and waits, and problems raised as errors.

A problem that the server reports (RFC 9457) is raised as the class of utils/errors.py that it
names. A request that reaches no server, or not a Triseal server, raises ServerUnreachable.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from contract.http import Problem
from settings import Settings
from utils.addresses import base_url_of
from utils.certificates import distrust, verification
from utils.errors import (
    CertificateUntrusted,
    MalformedMessage,
    ServerBusy,
    ServerUnreachable,
    TransportError,
    TrisealError,
    error_classes,
)
from utils.forks import renew_in_children

MIB = 1 << 20
ANSWER_BYTES = 4 * MIB
"""Largest JSON response; a public model contains its schema, which may be 1 MiB."""
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 1.0
"""Retry interval for a busy server that sends no Retry-After; also the shortest one."""
LONGEST_RETRY_SECONDS = 3600.0

_URN = "urn:triseal:error:"
_GATEWAY = (502, 503, 504)
"""Responses of a proxy between party and server while no server is behind it."""
_Answer = TypeVar("_Answer", bound=BaseModel)

# A machine that disappears closes no connection: without these options, a party that waits for a
# long response would notice it only at the timeout.
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)
    ),
]


class BoundedHttp:
    """An HTTP client for the server at `url`; it waits at most `timeout` seconds for a response.

    Safe to share between threads. A forked child gets its own connections, unless the caller passed
    a `transport`. `authority` is the PEM file of the only certification authority to trust, the
    public ones if it is None. Raises AddressInvalid if `url` is not the URL of a server, and
    SettingsInvalid for an unusable `authority`.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        transport: httpx.BaseTransport | None = None,
        authority: Path | None = None,
    ) -> None:
        self.url = base_url_of(url)
        self.timeout = timeout
        self._transport = transport
        self._verification = verification(authority)
        self.sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        """The sockets of the open connections."""
        self._http = self._client()
        renew_in_children(self)

    @classmethod
    def from_settings(cls, settings: Settings, url: str | None = None) -> Self:
        """Return a client of the server of the settings, or of the one at `url`."""
        return cls(url or settings.url, settings.request_timeout, authority=settings.server_ca)

    def renew_after_fork(self) -> None:
        # The old pool's locks may stay held for ever, and its sockets are shared with the parent:
        # they are closed here without a TLS or HTTP shutdown, and the pool is not touched.
        for inherited in list(self.sockets):
            if inherited.fileno() >= 0:
                os.close(inherited.detach())
        self.sockets = weakref.WeakSet()
        self._http = self._client()

    def _client(self) -> httpx.Client:
        # No proxy from the environment: bearer tokens go to the configured address only.
        return httpx.Client(
            base_url=self.url,
            timeout=_timeout(self.timeout),
            trust_env=False,
            transport=self._transport
            or httpx.HTTPTransport(
                verify=self._verification, trust_env=False, socket_options=_KEEP_ALIVE
            ),
        )

    def _note_socket(self, event: str, facts: dict[str, Any]) -> None:
        """Keep track of the sockets of new connections; a trace callback of httpcore."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            made = facts["return_value"].get_extra_info("socket")
            if made is not None:
                self.sockets.add(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _answer(self, kind: type[_Answer], method: str, path: str, **options: Any) -> _Answer:
        return self._parse(kind, self._bytes(method, path, ANSWER_BYTES, **options))

    def _bytes(self, method: str, path: str, limit: int, **options: Any) -> bytes:
        with self._stream(method, path, **options) as response:
            body = self._body(response, ANSWER_BYTES if response.is_error else limit)
            if response.is_error:
                raise self._problem(response, body)
        return body

    @contextmanager
    def _stream(
        self,
        method: str,
        path: str,
        token: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Iterator[httpx.Response]:
        if token is not None:
            known = options.get("headers", {})
            options["headers"] = {**known, "Authorization": f"Bearer {token}"}
        if timeout is not None:
            options["timeout"] = _timeout(timeout)
        try:
            options["extensions"] = {"trace": self._note_socket}
            with self._http.stream(method, path, **options) as response:
                yield response
        except httpx.ReadTimeout as error:
            raise ServerUnreachable(
                f"The server at {self.url} did not respond in time; it may be busy. Try again, or "
                "look at its log."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if (reason := distrust(error)) is not None:
                raise CertificateUntrusted(
                    f"The certificate of the server at {self.url} is not trusted: {reason}. If a "
                    "private authority signed it, set TRISEAL_SERVER_CA to that authority's PEM "
                    "file; otherwise ask the server's operator, and send nothing meanwhile."
                ) from error
            raise ServerUnreachable(
                f"The server at {self.url} cannot be reached ({type(error).__name__}). Start it "
                "with `make demo`, or set TRISEAL_SERVER_URL to its address."
            ) from error

    def _body(self, response: httpx.Response, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > limit:
                raise MalformedMessage(
                    f"The server at {self.url} sent a response of more than {limit >> 20} MiB, "
                    "the limit here; check that TRISEAL_SERVER_URL is a Triseal server."
                )
            parts.append(part)
        return b"".join(parts)

    def _problem(self, response: httpx.Response, body: bytes) -> TrisealError:
        try:
            problem = Problem.model_validate_json(body)
        except ValidationError:
            problem = Problem()
        code = problem.type.removeprefix(_URN)
        named = error_classes().get(code) if problem.type.startswith(_URN) else None
        detail = problem.detail or f"The server at {self.url} returned HTTP {response.status_code}."
        if response.status_code == 429 and named is None:
            named = ServerBusy
        if named is not None and issubclass(named, ServerBusy):
            return named(detail, _retry_seconds(response))
        if named is None and response.status_code in _GATEWAY:
            error = ServerUnreachable(
                f"{detail} The proxy there cannot reach a Triseal server; try again soon."
            )
            error.__cause__ = httpx.HTTPStatusError(
                detail, request=response.request, response=response
            )
            return error
        return (named or TransportError)(detail)

    def _parse(self, kind: type[_Answer], body: bytes) -> _Answer:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise self._not_triseal() from error

    def _not_triseal(self) -> ServerUnreachable:
        return ServerUnreachable(
            f"The server at {self.url} is not a Triseal server of this version. Check "
            "TRISEAL_SERVER_URL, and that party and server run the same release."
        )


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def _retry_seconds(response: httpx.Response) -> float:
    """Return Retry-After (RFC 9110, section 10.2.3), a number or a date, as seconds from now."""
    said = response.headers.get("retry-after", "").strip()
    seconds = RETRY_SECONDS
    if said.isascii() and said.isdecimal():
        seconds = float(said[:9])
    elif said:
        try:
            moment = parsedate_to_datetime(said)
            seconds = (
                moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)
            ).total_seconds()
        except (ValueError, OverflowError):
            pass
    return min(max(seconds, RETRY_SECONDS), LONGEST_RETRY_SECONDS)
