"""The server's own rules and storage without HTTP: fast, for many joint applications."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from parties.messages import ApplicationState, OpenedApplication, Receipt, RelayedMessages, Traffic
from service.applications import Applications, Upload
from service.relay import Relay
from service.storage import Storage
from tests.parties.joint.stand_in import JointStandInServer


class LocalServer:
    """A storage in `folder` with the joint stand-in; `client` speaks as ServerClient does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = JointStandInServer()
        self.public = self.engine.public
        self.storage = Storage(folder / "server")
        self.applications = Applications(self.storage, self.public, hours=1, maximum=10_000)
        self.relay = Relay(self.storage, self.public)

    def client(self) -> LocalClient:
        return LocalClient(self)

    def stop(self) -> None:
        self.storage.close()


class LocalClient:
    """One method a call, with the same answers and errors as over HTTP."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._applications, self._relay = server.applications, server.relay

    def close(self) -> None:
        return

    def open_application(self, readers=None) -> OpenedApplication:
        opened = self._applications.open(None if readers is None else list(readers))
        return OpenedApplication.model_validate_json(opened.model_dump_json())

    def join(self, client_id, party, code) -> str:
        return self._applications.join(client_id, party, code)

    def state(self, client_id, token) -> ApplicationState:
        self._applications.require_viewer(client_id, token)
        found = self._applications.state(client_id)
        return ApplicationState.model_validate_json(found.model_dump_json())

    def post(self, client_id, token, step, receiver, body) -> int:
        return self._relay.post(client_id, token, step, receiver, bytes(body))

    def messages(self, client_id, token, after=0, wait=0.0, seen="") -> RelayedMessages:
        end = time.monotonic() + wait
        while True:
            found = self._relay.messages(client_id, token, after)
            changed = found.messages or (seen and found.tag != seen)
            if changed or time.monotonic() >= end:
                return RelayedMessages.model_validate_json(found.model_dump_json())
            time.sleep(0.01)

    def traffic(self, client_id, token) -> Traffic:
        found = self._relay.traffic(client_id, token)
        return Traffic.model_validate_json(found.model_dump_json())

    def send_file(self, client_id, party, file_name, message, token) -> Receipt:
        slot = self._applications.admit(client_id, token, party, file_name)
        self._server.engine.check(slot, message)
        sha256 = hashlib.sha256(message).hexdigest()
        blob = self._server.storage.write_blob(message)
        self._applications.accept(client_id, slot, Upload(blob, len(message), sha256))
        return Receipt(
            client_id=client_id,
            client_type=party,
            file_name=file_name,
            bytes=len(message),
            sha256=sha256,
        )

    def run(self, client_id, token, program="decide") -> float:
        begun = self._applications.begin_run(client_id, token, program)
        if isinstance(begun, float):
            return begun
        messages = {key: path.read_bytes() for key, path in begun.items()}
        result = self._server.engine.evaluate(program, messages)
        self._applications.finish_run(client_id, program, 0.25, result)
        return 0.25

    def get_output(self, client_id, token, program="decide") -> bytes:
        return self._applications.output(client_id, token, program)

    def erase(self, client_id, token) -> None:
        self._applications.erase(client_id, token)
