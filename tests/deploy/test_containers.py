"""The image and the containers of deploy/: built, started read-only as another user, and deciding.

No container engine is needed: tests/deploy/containers.py takes its place.
"""

from __future__ import annotations

import json
import os
import re
import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

from settings import ROOT, Settings
from tests.deploy.containers import Containers, Image, context, instructions
from tests.ui.nginx import TEMPLATE

COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OWN = [name for name, service in SERVICES.items() if "build" in service]
PARTIES = ("applicant", "bank", "credit-agency")
PINNED = re.compile(r"[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?")
HOST = "triseal.example"
SECONDS = 120
OPENING = """
import json
from parties.client import ServerClient
from parties.joint.codes import open_joint
from settings import get_settings
with ServerClient.from_settings(get_settings()) as client:
    print(json.dumps(dict(open_joint(client).codes)))
"""


def test_every_image_is_pinned_by_its_version():
    dockerfile = instructions((ROOT / "deploy" / "Dockerfile").read_text())
    bases = [rest.split()[0] for word, rest in dockerfile if word == "FROM"]
    assert len(set(bases)) == 1
    for image in (*bases, *(service["image"] for service in SERVICES.values())):
        assert PINNED.fullmatch(image), image


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_read_only_and_without_privileges(name):
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert "privileged" not in service and "network_mode" not in service
    assert ("ports" in service) is (name == "proxy"), "only the proxy is reached from outside"


def test_each_process_has_a_service_and_folders_of_its_own():
    assert set(OWN) == {"server", "witness", *PARTIES, "stage"}
    mounted = [volume for name in OWN for volume in SERVICES[name].get("volumes", [])]
    assert len(set(mounted)) == len(mounted) == 2 + len(PARTIES)
    assert SERVICES["postgres"]["profiles"] == ["postgresql"]
    kept = [volume.split(":")[0] for volume in (*mounted, *SERVICES["postgres"]["volumes"])]
    assert set(kept) == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", OWN)
def test_settings_of_a_service_exist_and_hold_no_secret(name):
    """Secrets are in a service's own file, which neither Git nor an image has."""
    given = SERVICES[name]["environment"]
    fields = {key.removeprefix("TRISEAL_").lower(): value for key, value in given.items()}
    assert fields.keys() <= set(Settings.model_fields)
    assert not [field for field in fields if re.search("token|key|passphrase|password", field)]
    assert [file["path"] for file in SERVICES[name]["env_file"]] == [f"{name}.env"]
    assert {"deploy/*.env", "deploy/tls/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_the_proxy_has_every_variable_of_its_configuration():
    given = SERVICES["proxy"]["environment"]
    named = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text()))
    assert named == given.keys() - {"NGINX_ENVSUBST_FILTER"}
    for name, port in (("server", 8000), ("stage", 7860)):
        assert given[f"PROXY_{name.upper()}"] == f"{name}:{port}"
    for i, name in enumerate(PARTIES):
        port = str(Settings.model_fields["agent_port"].default + i)
        assert given[f"PROXY_{name.replace('-', '_').upper()}"] == f"{name}:{port}"
        assert SERVICES[name]["command"][-1] == port
    for name in ("compliance", "owner", "institution"):  # not run: their names reach the stage
        assert given[f"PROXY_{name.upper()}"] == given["PROXY_STAGE"]
    address = SERVICES["proxy"]["networks"]["inside"]["ipv4_address"]
    (network,) = COMPOSE["networks"]["inside"]["ipam"]["config"]
    assert ip_address(address) in ip_network(network["subnet"])
    assert ip_address(address) not in ip_network(network["ip_range"]), "another may get it first"
    assert ip_network(network["ip_range"]).subnet_of(ip_network(network["subnet"]))
    assert address != network["gateway"]
    assert SERVICES["server"]["environment"]["TRISEAL_TRUSTED_PROXIES"] == address


def test_the_image_has_the_program_and_nothing_private(tmp_path):
    copied = {str(path) for path in context()}
    assert {"server.py", "app.py", "parties/__main__.py", "requirements/server.txt"} <= copied
    assert {"deployment_files/manifest.json", "ui/style.css", "verify.py"} <= copied
    tops = {path.split("/")[0] for path in copied}
    assert not tops & {".git", ".env", ".data", ".venv", "tests", "trials", "deploy"}


@pytest.fixture(scope="module")
def containers():
    """Build the image."""
    if os.getuid() != 0:
        pytest.skip("only root may make the namespaces that stand for containers")
    # Not pytest's own folder, which no other user may enter.
    with TemporaryDirectory(prefix="triseal-containers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # The bytecode of every package takes half a minute; here it comes from the tests' own.
        image = Image(folder / "image", {"UV_COMPILE_BYTECODE": "0"})
        image.link_bytecode()
        made = Containers(folder / "containers", image, COMPOSE, {"PUBLIC_HOST": HOST})
        try:
            yield made
        finally:
            made.stop_all()


@pytest.fixture(scope="module")
def started(containers):
    """Start the server and the witness, whose key the server knows."""
    key = containers.run("witness", "python", "-m", "witness", "--key")
    assert key.returncode == 0, key.stderr
    containers.env_files["server"] = {"TRISEAL_WITNESSES": f"Auditor={key.stdout.strip()}"}
    for service in ("server", "witness"):
        containers.start(service)
    for service in ("server", "witness"):
        until_healthy(containers, service)
    return containers


def until_healthy(containers, name):
    end = time.monotonic() + SECONDS
    while not containers.healthy(name):
        assert time.monotonic() < end, containers.log(name)
        time.sleep(2)  # each check is a process of its own


def test_packages_are_those_of_the_pinned_list(containers):
    names = ("gradio", "psycopg", "s3fs", "uvicorn")
    script = f"from importlib.metadata import version as v; print(*map(v, {names}))"
    ended = containers.run("server", "python", "-c", script)
    assert ended.returncode == 0, ended.stderr
    pinned = (ROOT / "requirements" / "server.txt").read_text()
    for name, version in zip(names, ended.stdout.split(), strict=True):
        assert f"\n{name}=={version} " in pinned
    assert containers.image.command == SERVICES["server"]["command"]


def test_a_process_is_not_root_and_writes_to_its_volume_only(containers):
    script = """
import os, pathlib
print(os.getuid(), os.getgid(), os.getgroups())
print(open("/proc/self/status").read().split("CapEff:")[1].split()[0])
for name in ("/", "/srv/triseal", "/opt/triseal", "/usr", "/etc", "/tmp", "/data"):
    try:
        pathlib.Path(name, "written").write_text("x")
        print(name)
    except OSError:
        pass
"""
    ended = containers.run("bank", "python", "-c", script)
    assert ended.stdout.split("\n")[:2] == ["10001 10001 []", "0" * 16], ended.stderr
    assert ended.stdout.split()[4:] == ["/tmp", "/data"]  # noqa: S108
    kept = containers.folder / "volumes" / "bank" / "written"
    assert kept.stat().st_uid == 10001
    kept.unlink()


def test_a_health_check_fails_without_a_process(containers):
    """The control of the checks by which the services of these tests are ready."""
    for url in ("http://127.0.0.1:9/", "http://localhost:7861/", "no url"):
        ended = containers.run("bank", "python", "-m", "scripts.check_health", url)
        assert ended.returncode == 1 and ended.stdout == ended.stderr == ""


def test_a_partys_page_starts_from_its_command(started):
    """The page in a browser, behind the proxy, is tested in tests/ui."""
    started.env_files["bank"] = {"TRISEAL_PAGE_TOKEN": "a token of the bank's own file"}
    started.start("bank")
    until_healthy(started, "bank")
    assert f"https://bank.{HOST}/triseal (add the token" in started.log("bank")
    assert started.stop("bank") in (0, -15, 143), started.log("bank")
    assert "Traceback" not in started.log("bank")


def test_an_application_is_decided(started):
    """Each party runs in its own container, and opens nothing without the witness."""
    opened = started.run("stage", "python", "-c", OPENING)
    assert opened.returncode == 0, opened.stderr
    codes = json.loads(opened.stdout)
    running = {}
    for name in PARTIES:
        party = name.replace("-", "_")
        record = (ROOT / "examples" / "records" / f"{party}.json").read_text()
        (started.volume(f"{name}:/data") / "record.json").write_text(record)
        words = ["python", "-m", "parties", "--party", party, "--join", codes[party], "--no-page"]
        words += ["--record", "/data/record.json", "--agree", "decide"]
        running[name] = started.start(name, *words)
    for name, process in running.items():
        assert process.wait(SECONDS) == 0, started.log(name)
    said = [re.findall(r": (approved|denied)", started.log(name)) for name in PARTIES]
    assert said[0] and said[0] == said[1] == said[2]
    assert all("Auditor" in started.log(name) for name in PARTIES)


def test_server_stops_in_time_and_keeps_its_data(started):
    assert started.stop("server") in (0, -15, 143), started.log("server")
    kept = {path.name for path in (started.volume("server:/data") / "server").iterdir()}
    assert {".triseal-folder", "operator_token", "blobs"} <= kept
    assert "Traceback" not in started.log("server")
