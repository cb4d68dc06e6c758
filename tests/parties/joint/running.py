"""Servers with the stand-in joint engine, with and without HTTP, and members of applications."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from features.encoding import Layout
from parties.client import ServerClient
from parties.joint.codes import JointOpening, open_joint
from parties.joint.identities import Trust
from parties.joint.member import JointMember
from parties.store import PartyStore
from tests.parties.running import LiveServer
from trials.joint_stand_in import JointStandIn
from trials.local_server import LocalServer

__all__ = [
    "connect",
    "group",
    "http_group",
    "joint_server",
    "local_server",
    "signs_group",
    "signs_server",
]


def connect(server: Any, folder: Path, client: Any = None, trust: Trust | None = None) -> Any:
    """Connect with files in `folder`; the engine is passed, as no registry has the stand-in."""
    return SimpleNamespace(
        client=client or server.client(),
        store=PartyStore(folder),
        hours=24.0,
        witnesses=None,
        engine_lock=threading.Lock(),
        joint_engine=getattr(server, "party_engine", None) or JointStandIn(server.public),
        layout=Layout(server.public.schema_),
        public=server.public,
        trust=trust or Trust(),
    )


class JointServer(LiveServer):
    """`python -m trials.joint_stand_in`, which ignores its deployment."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, folder, command=("-m", "trials.joint_stand_in"))
        self.start()
        with self.client() as client:
            self.public = client.model()

    def client(self) -> ServerClient:
        return ServerClient(self.url, 30)


@pytest.fixture(scope="session")
def joint_server(tmp_path_factory):
    server = JointServer(tmp_path_factory.mktemp("joint"))
    yield server
    server.stop()
    assert "Exception in ASGI application" not in server.log()


@pytest.fixture(scope="session")
def local_server(tmp_path_factory):
    server = LocalServer(tmp_path_factory.mktemp("local"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def signs_server(tmp_path_factory):
    """A server whose deployment opens signs only."""
    server = LocalServer(tmp_path_factory.mktemp("signs"), signs=True)
    yield server
    server.stop()


class Members:
    """Three members with folders of their own, in one application."""

    def __init__(
        self, server: Any, folder: Path, readers=None, explained=None, reasons=None
    ) -> None:
        self.server, self.folder = server, folder
        self.schema = server.public.schema_
        self.names = self.schema.party_names
        self.client = server.client()
        self.opening: JointOpening = open_joint(
            self.client, readers, explained or readers or self.names, reasons
        )
        self.connections = {name: connect(server, folder / name) for name in self.names}
        self.members = {
            name: JointMember.join(self.connections[name], name, self.opening.codes[name])
            for name in self.names
        }

    def __getitem__(self, name: str) -> JointMember:
        return self.members[name]

    def restart(self, name: str) -> JointMember:
        """Resume the member from its files, as after a restart of the party's process."""
        old, folder = self.connections[name], self.folder / name
        self.members[name].close()
        self.connections[name] = connect(self.server, folder, old.client)
        client_id = self.opening.client_id
        self.members[name] = JointMember.resume(self.connections[name], client_id, name)
        return self.members[name]

    def files(self, name: str) -> dict[str, bytes]:
        """Return the current files of a party's folder."""
        paths = (self.folder / name).rglob("*")
        return {path.name: path.read_bytes() for path in paths if path.is_file()}

    def pump(self, answer: bool = True, names=None):
        """Advance all members until nothing changes and no run is being computed."""
        played = [self.members[name] for name in names or self.names]
        while sum([member.advance(answer=answer) for member in played]) or self._computing():
            pass
        return self

    def _computing(self) -> bool:
        if hasattr(self.client, "holds"):  # LocalClient computes at once, or on request
            return False
        states = [member.state for member in self.members.values()]
        return any(state is not None and state.under_way is not None for state in states)

    def pump_restarting(self):
        """Do the same as `pump`, but restart each party before every advance."""
        for _ in range(12):
            for name in self.names:
                self.restart(name).advance()
        return self.pump()

    def record(self, name: str) -> dict[str, Any]:
        return {column.name: column.default for column in self.schema.party(name).columns}

    def send(self, names=None, **changed: dict[str, Any]):
        for name in names or self.names:
            self.members[name].send_record(self.record(name) | changed.get(name, {}))
        return self.pump()  # records are uploaded once all parties have committed to theirs

    def agree(self, program: str, names=None):
        for name in names or self.names:
            self.members[name].agree(program)
        return self

    def truth(self, program: str, **changed: dict[str, Any]) -> list[int]:
        from trials.joint_stand_in import scores_of

        layout = Layout(self.schema)
        inputs = {
            name: layout.encode_party(name, self.record(name) | changed.get(name, {})).tobytes()
            for name in self.names
        }
        return scores_of(program, self.server.public, inputs)


@pytest.fixture
def group(local_server, tmp_path):
    """Return a function that makes members of a new application, without HTTP."""
    yield from _groups(local_server, tmp_path)


@pytest.fixture
def http_group(joint_server, tmp_path):
    """Return a function that makes members of a new application, over HTTP."""
    yield from _groups(joint_server, tmp_path)


@pytest.fixture
def signs_group(signs_server, tmp_path):
    """Return a function that makes members of a new application that opens signs only."""
    yield from _groups(signs_server, tmp_path)


def _groups(server, folder):
    made = []

    def make(readers=None, name="parties", explained=None, reasons=None) -> Members:
        made.append(Members(server, folder / name, readers, explained, reasons))
        return made[-1]

    yield make
    for members in made:
        members.client.close()
        for connection in members.connections.values():
            connection.client.close()
