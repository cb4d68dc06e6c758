"""The entries: ports in use, a server that never comes, and ends without orphans."""

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from parties.transport import ServerClient
from tests.parties.running import ROOT, environment, free_port
from tests.ui.demos import Demo, alive
from tests.ui.links import opened
from ui.waiting import check_port, wait_for_server
from utils.errors import PortInUse, ServerUnreachable


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run(*command, **settings):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_free_port_is_not_held(busy_port):
    port = free_port()
    check_port("127.0.0.1", port, "The page", "TRISEAL_PAGE_PORT")
    with socket.create_server(("127.0.0.1", port)):
        assert port != busy_port


@pytest.mark.parametrize("entry", [("app.py",), ("-m", "ui.demo")])
def test_a_page_port_in_use_is_one_line_and_exit_code_1(busy_port, entry):
    ended = run(*entry, page_port=busy_port, server_port=free_port())
    assert ended.returncode == 1
    assert f":{busy_port}" in ended.stderr and "TRISEAL_PAGE_PORT" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_server_port_in_use_is_named(busy_port):
    ended = run("-m", "ui.demo", page_port=free_port(), server_port=busy_port)
    assert ended.returncode == 1 and "TRISEAL_SERVER_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_setting_that_is_not_valid_is_named():
    ended = run("app.py", page_port="many")
    assert ended.returncode == 1
    assert "TRISEAL_PAGE_PORT" in ended.stderr and "Traceback" not in ended.stderr


def test_the_port_error_is_typed(busy_port):
    with pytest.raises(PortInUse, match="set SOME_PORT to another"):
        check_port("127.0.0.1", busy_port, "The page", "SOME_PORT")


def test_waiting_is_bounded_and_says_what_for():
    said = []
    with (
        ServerClient(f"http://127.0.0.1:{free_port()}", 5) as client,
        pytest.raises(ServerUnreachable),
    ):
        wait_for_server(client, said.append, seconds=0.6)
    assert said == [f"Waiting for the server: no answer from {client.url} yet (0 s)."]


def test_waiting_sees_a_server_through_its_start():
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


@pytest.fixture
def demo(tmp_path, clear_deployment):
    started = Demo(tmp_path, clear_deployment, "clear")
    yield started
    started.stop()


@pytest.fixture
def joint_demo(tmp_path, levelled_deployment):
    started = Demo(tmp_path, levelled_deployment, "levelled")
    yield started
    started.stop()


def test_every_party_has_a_process_and_a_page_of_its_own(joint_demo, schema):
    joint_demo.wait_until("Triseal is ready")
    with opened(joint_demo.link) as client:
        assert "Triseal" in client.get("/").text
        for port in joint_demo.agent_ports(len(schema.party_names)):
            refused = client.get(f"http://127.0.0.1:{port}")
            assert refused.status_code == 403 and "with its link" in refused.text
    commands = [joint_demo.command(pid) for pid in joint_demo.family()]
    agents = [command for command in commands if "-m parties" in command]
    assert (
        [f"--party {name} " in agent for name in schema.party_names for agent in agents].count(True)
        == len(agents)
        == len(schema.party_names)
    )
    family = joint_demo.family()
    joint_demo.process.send_signal(signal.SIGINT)
    assert joint_demo.process.wait(30) == 0
    assert alive(family) == []


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


def test_sigterm_leaves_no_process_behind(demo):
    demo.wait_until("Triseal is ready")
    assert demo.link.startswith(f"http://127.0.0.1:{demo.page_port}/?token=")
    with opened(demo.link) as client:
        assert "Triseal" in client.get("/").text
    family = demo.family()
    assert len(family) >= 3  # server, its workers, page
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(30) == 0
    assert alive(family) == []


def test_a_child_that_dies_ends_all_with_a_message(demo):
    # Said by the server, at once; whether the page has to wait for it depends on who is faster.
    demo.wait_until("server listens at")
    family = demo.family()
    os.kill(family[0], signal.SIGKILL)
    assert demo.process.wait(30) == 1
    assert "The server has ended" in demo.output.read_text()
    assert alive(family) == []
