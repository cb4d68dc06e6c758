"""The entry points: ports in use, a server that never starts, and exits without orphans."""

import html
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import app
from parties.client import ServerClient
from parties.identity_file import read_identity
from parties.trust_file import TrustFile
from parties.waiting import wait_for_server
from settings import ROOT, Settings, get_settings
from tests.parties.running import run_python as run
from tests.parties.running import until
from tests.ui.demos import Demo, alive
from tests.ui.links import opened
from ui.demo import _witness
from ui.demo_identities import make_and_pin
from ui.entry import run_entry
from utils.child_process import environment
from utils.errors import AddressInvalid, PortInUse, ServerUnreachable
from utils.ports import check_port, free_port
from utils.witness_list import parse_witnesses


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_port_check_does_not_hold_a_free_port(busy_port):
    port = free_port()
    check_port("127.0.0.1", port, "The page", "TRISEAL_PAGE_PORT")
    with socket.create_server(("127.0.0.1", port)):
        assert port != busy_port


@pytest.mark.parametrize("entry", [("app.py",), ("-m", "ui.demo")])
def test_page_port_in_use_prints_one_line_and_exits_with_1(busy_port, entry):
    ended = run(*entry, page_port=busy_port, server_port=free_port())
    assert ended.returncode == 1
    assert f":{busy_port}" in ended.stderr and "TRISEAL_PAGE_PORT" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_server_port_in_use_is_named(busy_port):
    ended = run("-m", "ui.demo", page_port=free_port(), server_port=busy_port)
    assert ended.returncode == 1 and "TRISEAL_SERVER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_invalid_setting_is_named():
    ended = run("app.py", page_port="many")
    assert ended.returncode == 1
    assert "TRISEAL_PAGE_PORT" in ended.stderr and "Traceback" not in ended.stderr


def test_the_port_error_is_typed(busy_port):
    with pytest.raises(PortInUse, match="set SOME_PORT to another"):
        check_port("127.0.0.1", busy_port, "The page", "SOME_PORT")


def test_foreign_host_is_not_reported_as_port_in_use():
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(AddressInvalid, match="address of this machine"):
            check_port(host, free_port(), "The page", "SOME_PORT")


def test_an_ipv6_address_in_use_has_brackets():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"at \[::1\]:{port} "):
            check_port("::1", port, "The page", "SOME_PORT")


def test_waiting_is_limited_and_reports_its_reason():
    said = []
    with (
        ServerClient(f"http://127.0.0.1:{free_port()}", 5) as client,
        pytest.raises(ServerUnreachable),
    ):
        wait_for_server(client, said.append, seconds=0.6)
    assert said == [f"Waiting for the server: no response from {client.url} yet (0 s)."]


def test_waiting_continues_while_a_server_starts():
    answers = iter(["refused", "starting", "starting", "ok"])

    def handler(request):
        status = next(answers)
        if status == "refused":
            raise httpx.ConnectError("refused")
        return httpx.Response(200 if status == "ok" else 503, json={"status": status})

    client = ServerClient("http://server.test", 5, httpx.MockTransport(handler))
    said = []
    wait_for_server(client, said.append, seconds=20)
    assert next(answers, None) is None and said


def test_own_witness_is_started_unless_the_setting_names_others_or_none(tmp_path):
    given = {"witness_data": tmp_path / "witness", "witness_port": free_port(), "_env_file": None}
    own = _witness(Settings(**given))
    assert parse_witnesses(own) == {own.partition("=")[2]: "Auditor"}
    assert _witness(Settings(**given)) == own, "the key is kept"
    for more in ({"witnesses": ""}, {"witnesses": own}, {"engine": "clear"}):
        assert _witness(Settings(**given, **more)) is None


@pytest.fixture
def demo(tmp_path, clear_deployment):
    started = Demo(tmp_path, clear_deployment, "clear")
    yield started
    started.stop()


def test_an_agents_port_in_use_is_named(busy_port, levelled_deployment):
    ended = run(
        "-m",
        "ui.demo",
        engine="levelled",
        deployment=levelled_deployment,
        page_port=free_port(),
        server_port=free_port(),
        agent_port=busy_port,
    )
    assert ended.returncode == 1 and "TRISEAL_AGENT_PORT" in ended.stderr
    assert "The page of the applicant" in ended.stderr and "Traceback" not in ended.stderr


def test_sigterm_stops_every_process_though_a_page_is_open(tmp_path, clear_deployment):
    """The same demonstration shows a token of the operator and a temporary folder of others."""
    token = "a-token-of-the-operators-own"  # noqa: S105
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (temporary / "gradio").touch()  # neither a folder nor owned by us
    more = {"TMPDIR": str(temporary)}
    demo = Demo(tmp_path, clear_deployment, "clear", more=more, page_token=token)
    try:
        demo.wait_for("Triseal is ready")
        with opened(f"http://127.0.0.1:{demo.page_port}/?token={token}") as client:
            assert client.get("/config").is_success
            assert "Triseal" in client.get("/").text
            own = list(temporary.glob("triseal-page-*"))
            assert own and {stat.S_IMODE(folder.stat().st_mode) for folder in own} == {0o700}
            family = demo.family()
            assert len(family) >= 3  # server, its workers, page
            with client.stream("GET", "gradio_api/heartbeat/x") as stream:
                assert "ALIVE" in next(stream.iter_text())
                demo.send(signal.SIGTERM)
                assert demo.join(30) == 0
        assert alive(family) == []
        printed = demo.log()
        assert "TRISEAL_PAGE_TOKEN" in printed
        for text in (printed, demo.logged()):
            assert token not in text and "Traceback" not in text and "ERROR" not in text
    finally:
        demo.stop()
    assert [path.name for path in temporary.iterdir()] == ["gradio"]


def test_browser_gets_a_private_file_instead_of_the_link(tmp_path):
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\ncat "${{1#file://}}" >> {seen}\n')
    browser.chmod(0o700)
    link = "http://127.0.0.1:9/?token=0123456789abcdef&join=x"
    code = f"from ui.demo import _opened\nwith _opened({link!r}): pass"
    environment_of = environment() | {"BROWSER": f"{browser} %s"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment_of, check=True)
    address, text = seen.read_text().split("\n", 1)
    assert address.startswith("file://") and "token" not in address
    assert f'content="0;url={html.escape(link)}"' in text
    assert not Path(address.removeprefix("file://")).exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("page_token", "short"),
        ("allowed_hosts", "*"),
        ("page_url", "triseal.example"),
        ("agent_url", "ftp://{party}.example"),
        ("agent_tokens", "{"),
    ],
)
def test_invalid_access_setting_is_named(name, value, monkeypatch, capsys):
    """In this process; the command itself is started with an invalid port above."""
    monkeypatch.setenv(f"TRISEAL_{name.upper()}", value)
    get_settings.cache_clear()
    try:
        assert run_entry(app.serve) == 1
    finally:
        get_settings.cache_clear()
    told = capsys.readouterr().err
    assert f"TRISEAL_{name.upper()}" in told
    assert "Traceback" not in told and value not in told.replace("TRISEAL", "")


def agents_of(demo):
    """Return the command lines of the parties' agents."""
    commands = [demo.command(pid) for pid in demo.family()]
    return [command for command in commands if "-m parties --party " in command]


def test_demo_keeps_and_pins_the_keys_of_an_earlier_start(tmp_path, levelled_deployment, schema):
    """A first start makes them by the same call; test_stage.py shows that they are pinned."""
    parties, names = tmp_path / "parties", schema.party_names
    files = make_and_pin(parties, names)
    keys = {name: read_identity(parties / name) for name in names}
    pins = {name: key.public for name, key in keys.items() if key}
    assert list(pins) == [name for name in names if name != "applicant"]
    for path in files.values():
        assert TrustFile.read(path).pins == pins
        path.unlink()
    demo = Demo(tmp_path, levelled_deployment, "levelled")
    try:
        demo.wait_until(lambda: len(agents_of(demo)) == 3, 60)
        started = agents_of(demo)
        demo.send(signal.SIGTERM)
        assert demo.join(30) == 0
    finally:
        demo.stop()
    for name, trust in files.items():
        assert any(f"--party {name} " in c and f"--trust {trust}" in c for c in started)
        assert TrustFile.read(trust).pins == pins


def test_child_that_dies_during_the_start_stops_the_demo_with_a_message(demo):
    # Logged by the server at once; whether the page waits for it depends on timing.
    demo.wait_until(lambda: "server listens at" in demo.logged(), 60)
    family = demo.family()
    os.kill(family[0], signal.SIGKILL)
    assert demo.join(30) == 1
    assert "The server has ended (killed by SIGKILL)" in demo.log()
    until(lambda: not alive(family))  # workers end when they notice that the server has gone
