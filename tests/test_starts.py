"""Entry points with an unusable address, setting or folder print one line and exit with code 1.

Nearly all run in a process of their own, as a user starts them. No port is opened, and no address
is announced.
"""

from __future__ import annotations

import importlib
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import ROOT
from tests.parties.running import LiveServer, levelled_server
from utils.child_process import environment
from utils.open_files import LEAST_FILES
from utils.ports import free_port

__all__ = ["levelled_server"]

SERVER, APP, DEMO = ("server.py",), ("app.py",), ("-m", "ui.demo")
AGENT = ("-m", "parties", "--party", "bank", "--no-page")
OPERATOR = ("-m", "service.operations", "list")
UVICORN = ("-m", "uvicorn", "server:app", "--port", "0", "--log-level", "warning")
SECONDS = 60


def start(
    command: tuple[str, ...], prepare: Callable[[], None] | None = None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=ROOT,
        env=environment(**{"server_port": free_port(), **settings}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=prepare,
    )


def one_line(ended: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Return the line that the process printed, which must be its only output."""
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://127.0.0.1:99999"])
def test_invalid_server_argument_is_a_usage_error(url: str) -> None:
    ended = start((*AGENT, "--server", url))
    assert ended.returncode == 2
    assert "argument --server: " in ended.stderr.splitlines()[-1]
    assert "Waiting" not in ended.stdout


def test_invalid_port_argument_is_a_usage_error() -> None:
    ended = start(("-m", "parties", "--party", "bank", "--port", "65536"))
    assert ended.returncode == 2
    assert "a port is a number from 1 to 65535" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("entry", "name", "value"),
    [
        (SERVER, "server_host", "http://localhost"),
        (SERVER, "blob_options", "{"),
        (UVICORN, "server_host", "http://localhost"),
        (APP, "server_url", "localhost:8000"),
        (APP, "page_host", ""),
        (DEMO, "page_host", "[::1"),
        (AGENT, "server_url", "http://clerk:hunter2@localhost"),
        (OPERATOR, "server_url", "http://"),
    ],
    ids=str,
)
def test_invalid_address_setting_is_named(entry: tuple[str, ...], name: str, value: str) -> None:
    said = one_line(start(entry, **{name: value}))
    assert name in said.lower()
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("entry", "name"),
    [(SERVER, "server_host"), (APP, "page_host"), (DEMO, "server_host"), (DEMO, "page_host")],
    ids=str,
)
def test_foreign_host_prints_one_line(entry: tuple[str, ...], name: str) -> None:
    said = one_line(start(entry, engine="clear", **{name: "192.0.2.1"}))
    assert "192.0.2.1" in said


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """Return a folder that cannot be created, since there is a file in its place."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "data"


def test_uncreatable_data_folder_prints_one_line(blocked: Path) -> None:
    assert "file" in one_line(start(SERVER, server_data=blocked))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, clear_deployment: Path) -> Iterator[Path]:
    """Return a data folder that a running server uses."""
    folder = tmp_path_factory.mktemp("held")
    server = LiveServer(folder, clear_deployment)
    server.start()
    yield folder / "server"
    server.stop()


@pytest.mark.parametrize("entry", [SERVER, UVICORN], ids="/".join)
def test_data_folder_in_use_is_reported_and_nothing_listens(
    held: Path, entry: tuple[str, ...]
) -> None:
    port = free_port()
    ended = start(entry, server_data=held, server_port=port)
    assert ended.returncode != 0 and ended.stdout == ""
    assert "Another server uses" in ended.stderr and "Traceback" not in ended.stderr
    if entry is SERVER:
        one_line(ended)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_uncreatable_party_folder_prints_one_line(levelled_server: Any, blocked: Path) -> None:
    agent = (*AGENT, "--server", levelled_server.url, "--home", str(blocked))
    assert "file" in one_line(start(agent))


@pytest.mark.parametrize(
    "command",
    [
        ("training.train", "--rows", "400", "--no-timing", "--out"),
        ("training.compile", "--out"),
        ("training.evaluate", "--engine", "clear", "--applicants", "1", "--json"),
    ],
    ids=lambda command: command[0],
)
def test_unwritable_folder_prints_one_line(
    command: tuple[str, ...], blocked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, since a process of its own would mostly import libraries."""
    module, *words = command
    assert importlib.import_module(module).main([*words, str(blocked)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{module}: ")


def test_low_open_file_limit_prints_one_line() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    said = one_line(start(SERVER, prepare=limit))
    assert "64 files" in said and str(LEAST_FILES) in said and "ulimit -n" in said
