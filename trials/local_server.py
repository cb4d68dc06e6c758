"""The server's rules and storage without HTTP: fast, for many joint applications."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.http import (
    ApplicationState,
    Exchanged,
    Joined,
    Opened,
    ProgramState,
    Receipt,
    RelayedMessages,
    Traffic,
)
from engines.interface import DECIDE, JointPartyEngine, ServerEngine
from parties.client import Posting, Waiting
from service.applications.applications import Applications
from service.applications.party_tokens import PartyTokens
from service.applications.permits import Allowed
from service.applications.relay import Given, Relay
from service.applications.slots import Slots, Upload
from service.execution.interface import Evaluated
from service.jobs.queue import Claims, Jobs
from service.storage.storage import Storage
from settings import Settings
from trials.joint_stand_in import JointStandInServer


class LocalServer:
    """A storage in `folder`; `client` works like ServerClient.

    The engine is the stand-in joint engine, unless both halves of another are given.
    """

    def __init__(
        self,
        folder: Path,
        signs: bool = False,
        engine: ServerEngine | None = None,
        party_engine: JointPartyEngine | None = None,
    ) -> None:
        self.folder = folder
        self.engine = engine or JointStandInServer(signs)
        self.party_engine = party_engine
        self.public = self.engine.public
        settings = Settings(
            _env_file=None,
            server_data=folder / "server",
            engine="clear",
            disk_reserve_megabytes=1,
            maximum_applications=10_000,
        )
        self.storage = Storage(settings)
        given = (self.storage, self.public, settings)
        self.applications = Applications(*given)
        self.party_tokens = PartyTokens(*given)
        self.slots = Slots(*given)
        self.jobs = Jobs(*given)
        self.claims = Claims(*given, node="local")
        self.relay = Relay(self.storage, self.public)

    def client(self) -> LocalClient:
        return LocalClient(self)

    def stop(self) -> None:
        self.storage.close()

    def work(self) -> None:
        """Compute the queued runs."""
        while (claim := self.claims.claim()) is not None:
            evaluation = claim.evaluation
            messages = {
                key: self.storage.blobs.read(evaluation.store, name)
                for key, name in evaluation.messages.items()
            }
            result = self.engine.evaluate(evaluation.program, messages)
            self.claims.finish(claim, Evaluated(result, 0.25, 0.0))


class LocalClient:
    """The methods of ServerClient, with the same results and errors as over HTTP.

    A requested run is computed at once, unless `holds` is set: then `LocalServer.work` computes it.
    """

    timeout, url = 30.0, "local"

    def __init__(self, server: LocalServer) -> None:
        self.holds = False
        self._server = server
        self._applications, self._relay = server.applications, server.relay

    def close(self) -> None:
        return

    def open_application(
        self,
        readers: Iterable[str] | None = None,
        explanation_readers: Iterable[str] | None = None,
        reasons_readers: Iterable[str] | None = None,
    ) -> Opened:
        given = (readers, explanation_readers, reasons_readers)
        named = [None if names is None else list(names) for names in given]
        opened = self._applications.open(named[0], None, *named[1:])
        return Opened.model_validate_json(opened.model_dump_json())

    def join(
        self,
        client_id: str,
        party: str,
        code: str,
        scopes: list[str] | None = None,
        permit_key: bytes | None = None,
        model_sha256: str | None = None,
    ) -> Joined:
        key = None if permit_key is None else permit_key.hex()
        found = self._server.party_tokens.join(client_id, party, code, scopes, key, model_sha256)
        return Joined.model_validate_json(found.model_dump_json())

    def renew(self, client_id: str, token: str) -> Joined:
        found = self._server.party_tokens.renew(client_id, token)
        return Joined.model_validate_json(found.model_dump_json())

    def state(self, client_id: str, token: str) -> ApplicationState:
        found = self._applications.look(client_id, token)
        return ApplicationState.model_validate_json(found.model_dump_json())

    def post(self, client_id: str, token: str, step: str, receiver: str | None, body: bytes) -> int:
        return self._relay.post(client_id, token, step, receiver, bytes(body))

    def messages(
        self, client_id: str, token: str, after: int = 0, wait: float = 0.0, seen: str = ""
    ) -> RelayedMessages:
        end = time.monotonic() + wait
        while True:
            found = self._relay.messages(client_id, token, after)
            changed = found.messages or (seen and found.tag != seen)
            if changed or time.monotonic() >= end:
                return RelayedMessages.model_validate_json(found.model_dump_json())
            time.sleep(0.01)

    def exchange(
        self,
        client_id: str,
        token: str,
        messages: Sequence[Posting] = (),
        after: int = 0,
        waiting: Waiting | None = None,
        permits: Sequence[str] = (),
        receipts: Sequence[Mapping[str, Any]] = (),
        run: str | None = None,
    ) -> Exchanged:
        waiting = waiting or Waiting()
        end = time.monotonic() + waiting.seconds
        given = [Given(step, receiver, bytes(body)) for step, receiver, body in messages]
        allowed = Allowed(list(permits), list(receipts))
        found = self._relay.exchange(client_id, token, given, after, (), allowed).exchanged
        if run is not None:
            self.queue(client_id, token, run)
            found = self._relay.exchange(client_id, token, (), after, found.numbers).exchanged
        while not found.messages and not (waiting.seen and found.tag != waiting.seen):
            if given or time.monotonic() >= end:
                break
            time.sleep(0.01)
            found = self._relay.exchange(client_id, token, (), after, found.numbers).exchanged
        ended = waiting.until_ended if waiting.with_result else None
        if ended is not None and found.state.programs[ended].status == "done":
            result = self.get_output(client_id, token, ended)
            found = found.model_copy(update={"result": result})
        return Exchanged.model_validate_json(found.model_dump_json())

    def events(self, client_id: str, token: str, silence: float) -> Iterator[ApplicationState]:
        end, told = time.monotonic() + silence, None
        while time.monotonic() < end:
            state = self.state(client_id, token)
            if state != told:
                told = state
                yield state
            time.sleep(0.01)

    def traffic(self, client_id: str, token: str) -> Traffic:
        found = self._relay.traffic(client_id, token)
        return Traffic.model_validate_json(found.model_dump_json())

    def send_file(
        self, client_id: str, party: str, file_name: str, message: bytes, token: str
    ) -> Receipt:
        place = self._server.slots.admit(client_id, token, party, file_name)
        self._server.engine.check(place.slot, message)
        sha256 = hashlib.sha256(message).hexdigest()
        path = self._server.storage.incoming.new()
        path.write_bytes(message)
        upload = Upload(path, len(message), sha256)
        self._server.slots.keep(place, upload)
        self._server.slots.fill(client_id, place, upload)
        return Receipt(
            client_id=client_id,
            client_type=party,
            file_name=file_name,
            bytes=len(message),
            sha256=sha256,
        )

    def queue(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        self._server.jobs.ask(client_id, token, program)
        if not self.holds:
            self._server.work()
        return self.program(client_id, token, program)

    def program(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        found = self._server.jobs.view(client_id, token, program, {})
        return ProgramState.model_validate_json(found.model_dump_json())

    def cancel(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        found = self._server.jobs.cancel(client_id, token, program)
        return ProgramState.model_validate_json(found.model_dump_json())

    def get_output(self, client_id: str, token: str, program: str = DECIDE) -> bytes:
        return self._applications.output(client_id, token, program)

    def erase(self, client_id: str, token: str) -> None:
        removed = self._applications.remove(client_id, token)
        self._server.storage.remove_store(removed.store)
