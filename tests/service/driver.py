"""Starts servers for tests and sends them plain HTTP requests, without the parties' client."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLANATION_INPUTS
from service.storage.blob_backends import OTHER_NAMES
from trials import servers
from trials.permits import PermitKeys
from trials.processes import ended
from trials.servers import STAND_IN_SERVER, Setup
from trials.stand_in import message, public_model
from utils.child_process import STOP_SECONDS

ON_POSTGRESQL = "TRISEAL_TEST_ON_POSTGRESQL"
"""If set to 1, all servers that the tests start use PostgreSQL (`make test-postgresql`)."""
database_of: Callable[[Path], str] | None = None
"""The database of a server's folder, if it is not in that folder."""
WAYS = ("POST", "PUT")
"""The methods of the two calls that upload a file: in a form, and as raw bytes."""
PUBLIC = public_model()
RAW = {"Content-Type": "application/octet-stream"}


def gone(processes: list[psutil.Process], seconds: float = 10.0) -> bool:
    """Return True if the processes end in time; zombies count as ended."""
    return not ended(processes, seconds)


class Server(servers.Server):
    """A server in a separate process, with the stand-in engine unless `command` says otherwise."""

    def __init__(
        self, data: Path, command: tuple[str, ...] = STAND_IN_SERVER, **settings: Any
    ) -> None:
        own = {
            "engine": "clear",
            "deployment": "deployment",
            "evaluation_timeout": 20,
            "evaluation_niceness": 0,  # another process of the tests may be busy
            "disk_reserve_megabytes": 1,  # the folders of a day's tests stay for a while
            **({} if database_of is None else {"database_url": database_of(data)}),
            **settings,
        }
        super().__init__(data.name, data.parent, Setup(own, command))
        self.http = httpx.Client(base_url=self.url, timeout=60)
        self.start()

    def health(self) -> httpx.Response | None:
        try:
            return self.http.get("/health")
        except httpx.TransportError:
            return None

    def blobs(self) -> list[Path]:
        """Return every uploaded file, result and unfinished upload."""
        folders = (self.data / "blobs", self.data / "incoming")
        found = (p for folder in folders for p in folder.rglob("*") if p.is_file())
        return sorted(p for p in found if p.name not in OTHER_NAMES)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        self.http.close()
        return super().stop(number, seconds)

    def open(self) -> Application:
        opened = self.http.post("/applications")
        assert opened.status_code == 201, opened.text
        body = opened.json()
        return Application(self, body["client_id"], body["join_codes"])

    def joined(self) -> Application:
        application = self.open()
        for party in application.codes:
            application.join(party)
        return application

    def filled(self, order: bytes = b"bits") -> Application:
        """Open an application with all uploads for `decide`; `order` is for the stand-in engine."""
        application = self.joined()
        application.fill(order)
        return application


@dataclass
class Application:
    """One application, with the tokens of all its parties."""

    server: Server
    client_id: str
    codes: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)
    keys: PermitKeys = field(default_factory=PermitKeys, repr=False)
    sent: dict[tuple[str, str], str] = field(default_factory=dict)
    """SHA-256 of what the server holds in each slot."""

    @property
    def parties(self) -> list[str]:
        return list(self.codes)

    def join(
        self, party: str, code: str | None = None, scopes: list[str] | None = None
    ) -> httpx.Response:
        answer = self.server.http.post(
            f"/applications/{self.client_id}/join",
            json={
                "party": party,
                "code": self.codes.get(party, "") if code is None else code,
                "permit_key": self.keys.public(party),
                "scopes": scopes,
            },
        )
        if answer.is_success:
            self.tokens[party] = answer.json()["token"]
        return answer

    def auth(self, party: str | None = None) -> dict[str, str]:
        return bearer(self.tokens[party or self.parties[0]])

    def send(
        self,
        party: str,
        file_name: str = ENCRYPTED_INPUTS,
        payload: bytes = b"bits",
        content: bytes | None = None,
        way: str = "POST",
        **change: Any,
    ) -> httpx.Response:
        """Send a message in a form, or as it is if `way` is PUT.

        `change` replaces fields, `headers` included.
        """
        headers = change.pop("headers", None) or self.auth(party)
        fields = {"client_id": self.client_id, "client_type": party, "file_name": file_name}
        sealed = message(party, file_name, payload) if content is None else content
        if way == "PUT":
            named = {**fields, **change}
            path = f"/applications/{named['client_id']}/slots/{named['file_name']}"
            answer = self.server.http.put(path, content=sealed, headers={**RAW, **headers})
        else:
            answer = self.server.http.post(
                "/send_file",
                data={**fields, **change},
                files={"files": ("slice", sealed)},
                headers=headers,
            )
        if answer.is_success:
            receipt = answer.json()
            self.sent[receipt["client_type"], receipt["file_name"]] = receipt["sha256"]
        return answer

    def fill(self, order: bytes = b"bits") -> None:
        """Send all uploads for `decide`; `order` is for the stand-in engine."""
        first, *_ = self.parties
        for party in self.parties:
            sent = self.send(party, payload=order if party == first else b"bits")
            assert sent.status_code == 200, sent.text
        assert self.send(first, EVALUATION_KEY).status_code == 200

    def explanation(self) -> httpx.Response:
        return self.send(self.parties[-1], EXPLANATION_INPUTS)

    def permits(self, program: str = DECIDE, now: float | None = None) -> list[str]:
        """Return new permits of all parties for a run on the messages that the server holds."""
        return self.keys.permits(PUBLIC, self.client_id, program, self.sent, now)

    def give(self, *permits: str, party: str | None = None) -> httpx.Response:
        path = f"/applications/{self.client_id}/permits"
        return self.server.http.post(path, json={"permits": permits}, headers=self.auth(party))

    def permit(self, program: str = DECIDE) -> None:
        """Give permits of all parties, unless a message is missing; the run shows if it worked."""
        if permits := self.permits(program):
            self.give(*permits)

    def run(self, program: str = DECIDE, **change: Any) -> httpx.Response:
        """Run a program with permits of all parties, unless the request is changed."""
        if not change:
            self.permit(program)
        return self._post("/run_fhe", program, change)

    def output(self, program: str = DECIDE, **change: Any) -> httpx.Response:
        return self._post("/get_output", program, change)

    def _post(self, path: str, program: str, change: dict[str, Any]) -> httpx.Response:
        headers = change.pop("headers", None) or self.auth()
        data = {"client_id": self.client_id, "program": program, **change}
        return self.server.http.post(path, data=data, headers=headers)

    def state(self) -> dict[str, Any]:
        answer = self.server.http.get(f"/applications/{self.client_id}", headers=self.auth())
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def queue(self, program: str = DECIDE) -> httpx.Response:
        self.permit(program)
        return self.server.http.post(self._run(program), headers=self.auth())

    def cancel(self, program: str = DECIDE) -> httpx.Response:
        return self.server.http.delete(self._run(program), headers=self.auth())

    def _run(self, program: str) -> str:
        return f"/applications/{self.client_id}/runs/{program}"

    def erase(self) -> httpx.Response:
        return self.server.http.delete(f"/applications/{self.client_id}", headers=self.auth())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def code_of(answer: httpx.Response) -> str:
    """Return the error code of a problem, which must be complete."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == answer.status_code
    assert body["detail"] and body["title"]
    return str(body["type"]).removeprefix("urn:triseal:error:")


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """Return the detail of a problem, which must have this code."""
    assert (answer.status_code, code_of(answer)) == (status, code), answer.text
    return str(answer.json()["detail"])
