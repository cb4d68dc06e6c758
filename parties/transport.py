"""A small client of the server's HTTP interface, one method a call.

Every answer is bounded in size, every wait in time, and every problem that the server reports is
raised as the class of utils/errors.py that it names. Nothing here knows a key or a record.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from engines.interface import DECIDE, PublicModel
from parties.messages import (
    ApplicationState,
    Health,
    OpenedApplication,
    Posted,
    Problem,
    Receipt,
    RelayedMessages,
    Traffic,
)
from settings import Settings
from utils.errors import (
    MalformedMessage,
    ServerUnreachable,
    TransportError,
    TrisealError,
    error_classes,
)

MIB = 1 << 20
ANSWER_BYTES = 4 * MIB
"""Largest JSON answer; a public model carries its schema, which may be 1 MiB."""
CLIENT_FILES_BYTES = 64 * MIB
RESULT_BYTES = 64 * MIB
CONNECT_SECONDS = 5.0
HEALTH_SECONDS = 5.0
RELAY_SECONDS = 10.0
"""What an answer may take beyond the time that it was asked to wait."""

_URN = "urn:triseal:error:"
_Answer = TypeVar("_Answer", bound=BaseModel)


class ServerClient:
    """The server at `url`; answers are awaited for at most `timeout` seconds.

    Every method raises ServerUnreachable where nothing (or no Triseal server) answers, and
    otherwise the error that the server reports. Safe to share between threads.
    """

    def __init__(
        self, url: str, timeout: float, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        # No proxy from the environment: bearer tokens go to the configured address only.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            trust_env=False,
            transport=transport,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerClient:
        """The server that the settings name."""
        return cls(settings.url, settings.request_timeout)

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

    def health(self) -> Health:
        """Whether the server is up, and whether its workers are warm yet.

        Raises what keeps the server from ever getting ready, such as DeploymentMissing.
        """
        with self._stream("GET", "/health", timeout=HEALTH_SECONDS) as response:
            body = self._body(response, ANSWER_BYTES)
            if response.status_code not in (200, 503) or "problem" in response.headers.get(
                "content-type", ""
            ):
                raise self._problem(response, body)
        return self._parse(Health, body)

    def model(self) -> PublicModel:
        """What is public of the deployment that the server runs."""
        return self._answer(PublicModel, "GET", "/model")

    def client_files(self) -> bytes:
        """The zip archive of which a party's engine is made, not yet compared with its digest."""
        return self._bytes("GET", "/model/client", CLIENT_FILES_BYTES)

    def open_application(self, readers: Sequence[str] | None = None) -> OpenedApplication:
        """Open an application; the answer's join codes are secrets of the parties.

        `readers` are the parties that learn the answer, all where None.
        """
        more = {} if readers is None else {"json": {"readers": list(readers)}}
        return self._answer(OpenedApplication, "POST", "/applications", **more)

    def join(self, client_id: str, party: str, code: str) -> str:
        """Join as `party` with its code, once; answers the party's bearer token."""
        path = f"/applications/{client_id}/join"
        joined = self._answer(_Joined, "POST", path, json={"party": party, "code": code})
        return joined.token

    def state(self, client_id: str, token: str) -> ApplicationState:
        """Where the application stands."""
        return self._answer(ApplicationState, "GET", f"/applications/{client_id}", token=token)

    def events(self, client_id: str, token: str, silence: float) -> Iterator[ApplicationState]:
        """The application's state at once and at each change, until it is gone.

        Ends as well after `silence` seconds without an event.
        """
        path = f"/applications/{client_id}/events"
        try:
            with self._stream("GET", path, token=token, timeout=silence) as response:
                if response.is_error:
                    raise self._problem(response, self._body(response, ANSWER_BYTES))
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield self._parse(ApplicationState, line[5:].strip().encode())
        except ServerUnreachable as error:
            if not isinstance(error.__cause__, httpx.ReadTimeout):
                raise

    def post(self, client_id: str, token: str, step: str, receiver: str | None, body: bytes) -> int:
        """Give the server a message for `receiver` (None: all parties); answers its number."""
        message = {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}
        path = f"/applications/{client_id}/messages"
        return self._answer(Posted, "POST", path, token=token, json=message).number

    def messages(
        self, client_id: str, token: str, after: int = 0, wait: float = 0.0, seen: str = ""
    ) -> RelayedMessages:
        """Messages with numbers above `after` that this token may read, and the state.

        Where there are none, the server answers after `wait` seconds (at most 25), or when the
        state's tag is no longer `seen`.
        """
        query: dict[str, str | int | float] = {"after": after, "wait": wait, "seen": seen}
        path = f"/applications/{client_id}/messages"
        timeout = max(self._timeout, wait + RELAY_SECONDS)
        return self._answer(
            RelayedMessages, "GET", path, token=token, params=query, timeout=timeout
        )

    def traffic(self, client_id: str, token: str) -> Traffic:
        """What travelled in the application so far, without content."""
        return self._answer(Traffic, "GET", f"/applications/{client_id}/traffic", token=token)

    def erase(self, client_id: str, token: str) -> None:
        """Erase the application and everything the server holds of it."""
        self._bytes("DELETE", f"/applications/{client_id}", ANSWER_BYTES, token=token)

    def send_file(
        self, client_id: str, party: str, file_name: str, message: bytes, token: str
    ) -> Receipt:
        """Put a sealed message into the party's slot `file_name`."""
        return self._answer(
            Receipt,
            "POST",
            "/send_file",
            token=token,
            data={"client_id": client_id, "client_type": party, "file_name": file_name},
            files={"files": (file_name, message, "application/octet-stream")},
        )

    def run(self, client_id: str, token: str, program: str = DECIDE) -> float:
        """Evaluate a program on the application; answers the seconds that it took."""
        body = self._bytes(
            "POST",
            "/run_fhe",
            ANSWER_BYTES,
            token=token,
            data={"client_id": client_id, "program": program},
        )
        try:
            return float(body)
        except ValueError as error:
            raise self._not_triseal() from error

    def get_output(self, client_id: str, token: str, program: str = DECIDE) -> bytes:
        """The sealed result of a program that has been run."""
        form = {"client_id": client_id, "program": program}
        return self._bytes("POST", "/get_output", RESULT_BYTES, token=token, data=form)

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
            options["headers"] = {"Authorization": f"Bearer {token}"}
        if timeout is not None:
            options["timeout"] = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        try:
            with self._http.stream(method, path, **options) as response:
                yield response
        except httpx.ReadTimeout as error:
            raise ServerUnreachable(
                f"The server at {self.url} did not answer in time; it may be busy. Try again, or "
                "look at its log."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerUnreachable(
                f"No server answers at {self.url} ({type(error).__name__}). Start it with "
                "`make demo`, or set TRISEAL_SERVER_URL to where it is."
            ) from error

    def _body(self, response: httpx.Response, limit: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > limit:
                raise MalformedMessage(
                    f"The server at {self.url} answered more than {limit >> 20} MiB where less "
                    "was due; check that TRISEAL_SERVER_URL is a Triseal server."
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
        detail = problem.detail or f"The server at {self.url} answered HTTP {response.status_code}."
        return (named or TransportError)(detail)

    def _parse(self, kind: type[_Answer], body: bytes) -> _Answer:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            raise self._not_triseal() from error

    def _not_triseal(self) -> ServerUnreachable:
        return ServerUnreachable(
            f"What answers at {self.url} is not a Triseal server of this version. Check "
            "TRISEAL_SERVER_URL, and that party and server run the same release."
        )


class _Joined(BaseModel):
    token: str
