"""The entry points `python server.py` and `uvicorn server:app`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.interface import PROGRAMS, PublicModel
from engines.registry import load_party_engine
from features.encoding import Layout
from server import bind
from settings import ROOT
from tests.service.driver import Server, gone
from utils.child_process import environment
from utils.errors import PortInUse, ServerUnreachable
from utils.ports import free_port

ENTRY = str(ROOT / "server.py")


def test_port_in_use_prints_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        begin = time.monotonic()
        ended = subprocess.run(
            [sys.executable, ENTRY],
            cwd=tmp_path,
            env=environment(server_data=tmp_path / "data", server_port=port, engine="clear"),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert f"Port {port}" in ended.stderr
    assert "TRISEAL_SERVER_PORT" in ended.stderr
    assert not (tmp_path / "data").exists(), "nothing was started"
    assert time.monotonic() - begin < 10


def test_invalid_settings_are_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, ENTRY],
        cwd=tmp_path,
        env=environment(server_data=tmp_path / "data", server_port=99_999, engine="clear"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1
    assert "TRISEAL_SERVER_PORT" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_accepted_connections_disable_nagles_algorithm() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_listening_errors_are_typed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortInUse):
        bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ServerUnreachable, match="TRISEAL_SERVER_HOST"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    "command",
    [
        ("server.py",),
        ("-m", "uvicorn", "server:app", "--port", "{port}", "--no-access-log"),
    ],
    ids=["python server.py", "uvicorn server:app"],
)
def test_real_engine_is_served_by_the_real_entry_points(
    command: tuple[str, ...], tmp_path: Path, clear_deployment: Path
) -> None:
    port = free_port()
    command = tuple(word.format(port=port) for word in command)
    server = Server(tmp_path / "data", command, server_port=port, deployment=clear_deployment)
    try:
        server.wait()
        public = PublicModel.model_validate(server.http.get("/model").json())
        engine = load_party_engine(public, server.http.get("/model/client").content)
        application = server.joined()
        for party in public.schema_.parties:
            record = {column.name: column.default for column in party.columns}
            bits = Layout(public.schema_).encode_party(party.name, record)
            sealed = engine.encrypt(party.name, bits, b"")
            assert application.send(party.name, content=sealed).status_code == 200
        scores = {}
        for program in PROGRAMS:
            keys, sent = application.keys, application.sent
            permits = keys.permits(public, application.client_id, program, sent)
            assert application.give(*permits).status_code == 204
            assert application.run(program).status_code == 200
            scores[program] = engine.open(program, application.output(program).content, b"")
            assert len(scores[program]) == len(public.programs[program].outputs)
        assert scores["decide"][0] in scores["explain"], "the bin that the applicant is in"
        workers = server.workers()
        assert len(workers) >= 2
    finally:
        ended = server.stop()
    assert ended in (0, -signal.SIGTERM)
    assert gone(workers)
