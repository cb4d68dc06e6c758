"""Server, stage and all pages behind nginx: TLS, a path prefix, other host names and IPv6.

Each part is a process that listens at ::1 only. nginx runs the configuration of deploy/ and is all
that the browser and the parties reach.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import pytest

from parties.client import ServerClient
from parties.identity_file import make_identity
from settings import Settings
from tests.parties.running import until
from tests.ui.certificates import certificates_for
from tests.ui.conftest import chromium_with
from tests.ui.demos import free_ports
from tests.ui.nginx import nginx
from tests.ui.test_page import assert_fits
from tests.ui.test_stage import Stage
from ui.stage.presence import Presence
from ui.waiting import wait_for_page
from utils.child_process import ChildProcess
from utils.errors import CertificateUntrusted, SettingsInvalid, TransportError
from utils.ports import free_port
from web.rate_limits import JOINS

HOST = "triseal.example"
OTHERS = ("compliance", "owner", "institution")
"""Names of the pages that are neither the stage nor a party's."""
UNLISTED = "other.example"
"""A name in the certificate under which nothing is served."""


class Deployment:
    """The processes and their public addresses."""

    def __init__(self, folder, deployment, names):
        self.folder, self.names, self.port = folder, names, free_port()
        self.pages = {
            name: f"https://{name.replace('_', '-')}.{HOST}:{self.port}/triseal"
            for name in (*names, *OTHERS)
        }
        hosts = [HOST, f"*.{HOST}", "localhost", UNLISTED]
        self.certificates = certificates_for(folder / "tls", hosts, ["127.0.0.1", "::1"])
        self.authority = self.certificates.authority
        self.stage = f"https://{HOST}:{self.port}/triseal"
        self.api = f"{self.stage}/api"
        self.local_api = f"https://localhost:{self.port}/triseal/api"
        self.tokens = {name: secrets.token_urlsafe(32) for name in ("stage", *self.pages)}
        self.server_port, first = free_port(), free_ports(1 + len(self.pages))
        self.ports = {name: first + i for i, name in enumerate(("stage", *self.pages))}
        self.page_settings = pages = {
            "page_host": "::1",
            "page_url": self.stage,
            "agent_url": self.stage.replace("https://", "https://{party}."),
            "server_url": self.local_api,
            "server_ca": self.authority,
        } | {f"{name}_url": self.pages[name] for name in OTHERS}
        server = {
            "engine": "levelled",
            "deployment": deployment,
            "server_host": "::1",
            "server_port": self.server_port,
            "server_url": self.api,
            "server_data": folder / "server",
            "trusted_proxies": "::1",
            "disk_reserve_megabytes": 1,
            "evaluation_niceness": 1,
        }
        self.server = ChildProcess(["server.py"], folder / "server.log", server)
        self.processes = [self.server]
        for name in names:
            words = ["-m", "parties", "--party", name, "--port", str(self.ports[name])]
            own = {"page_token": self.tokens[name], "party_data": folder / "parties"}
            self.processes.append(ChildProcess(words, folder / f"{name}.log", pages | own))
        own = {
            "deployment": deployment,
            "page_port": self.ports["stage"],
            "page_token": self.tokens["stage"],
            "agent_tokens": json.dumps({name: self.tokens[name] for name in names}),
            "compliance_token": self.tokens["compliance"],
            "consent_tokens": json.dumps({name: self.tokens[name] for name in OTHERS[1:]}),
        }
        self.processes.append(ChildProcess(["app.py"], folder / "stage.log", pages | own))

    @property
    def variables(self):
        """The variables of the proxy's configuration."""
        ports = {"server": self.server_port, **self.ports}
        return {
            "PROXY_HOST": HOST,
            "PROXY_TLS_PORT": str(self.port),
            "PROXY_TLS": str(self.certificates.folder),
        } | {f"PROXY_{name.upper()}": f"[::1]:{port}" for name, port in ports.items()}

    def start_others(self):
        """Start the pages of compliance, owner and institution, which is registered before."""
        token = {"operator_token": (self.folder / "server" / "operator_token").read_text()}
        key = make_identity(self.folder / "institution").public.hex()
        with through(self) as http:
            answer = http.post(
                "/triseal/api/operator/partners",
                json={"partner_id": "demo-bank", "partner_type": "bank", "key": key},
                headers={"Authorization": f"Bearer {token['operator_token']}"},
            )
        partner = self.folder / "partner_token"
        partner.touch(0o600)
        partner.write_text(answer.raise_for_status().json()["token"])
        for name, words, own in (
            ("compliance", ["ui.compliance", "--port"], token),
            ("owner", ["parties", "owner", "--name", "Ana", "--page-port"], {}),
            ("institution", ["parties", "institution", "--name", "Bank", "--page-port"], {}),
        ):
            command = ["-m", *words, str(self.ports[name])]
            if name in OTHERS[1:]:
                command += ["--home", str(self.folder / name)]
            if name == "institution":
                command += ["--token-file", str(partner)]
            given = self.page_settings | {"page_token": self.tokens[name]} | own
            self.processes.append(ChildProcess(command, self.folder / f"{name}.log", given))
            self.processes[-1].start()
        self.wait(OTHERS)

    def link(self, name):
        return f"{self.pages.get(name, self.stage)}/?token={self.tokens[name]}"

    def wait(self, names):
        for name in names:
            wait_for_page(f"http://[::1]:{self.ports[name]}", self.check)
            assert self.tokens[name] not in self.log()

    def check(self):
        assert all(process.alive for process in self.processes), self.log()

    def log(self):
        return "".join(process.log() for process in self.processes)

    def stop(self):
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(ChildProcess.stop, self.processes))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, signs_deployment, schema):
    folder = tmp_path_factory.mktemp("deployed")
    made = Deployment(folder, signs_deployment, schema.party_names)
    with ExitStack() as held:
        held.callback(made.stop)
        held.enter_context(nginx(folder / "nginx", made.variables))
        for process in made.processes:
            process.start()
        made.wait(("stage", *made.names))
        yield made


@pytest.fixture(scope="module")
def browser(deployed):
    """Chromium, for which the host's name is an IPv6 address and the parties' are IPv4 ones."""
    pages = {urlsplit(url).hostname for url in (deployed.stage, *deployed.pages.values())}
    with chromium_with(
        f"--host-resolver-rules=MAP {HOST} [::1], MAP *.{HOST} 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={deployed.certificates.pin}",
        hosts=frozenset(pages),
    ) as started:
        yield started


@pytest.fixture(scope="module")
def decided(context, deployed, schema):
    """The stage after all parties have agreed and the decision is open in their pages."""
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    link = SimpleNamespace(link=deployed.link("stage"))
    look = ((1280, 900), "light")
    stage = Stage(context, link, schema, HOST, *look, by_keyboard=False, plots=False)
    stage.page.set_default_timeout(90_000)
    stage.open().send().decide()
    return SimpleNamespace(stage=stage, asked=asked)


def test_an_application_is_decided_through_the_proxy(decided, deployed):
    stage = decided.stage
    words = {stage.text(name, ".ts-word") for name in deployed.names}
    assert len(words) == 1 and {word.lower() for word in words} <= {"approved", "denied"}
    assert_fits(stage.page)
    bases = (f"{deployed.stage}/", *(f"{deployed.pages[name]}/" for name in deployed.names))
    fetched = [url for url in decided.asked if url.startswith("http")]
    assert not [url for url in fetched if not url.startswith(bases)]
    assert all(any(url.startswith(base) for url in fetched) for base in bases)
    assert urlsplit(stage.page.url).path == "/triseal/"


@pytest.fixture(scope="module")
def others(decided, context, deployed):
    """The pages of compliance, owner and institution, opened by the stage's links."""
    deployed.start_others()
    opened = {}
    for name in OTHERS:
        link = decided.stage.page.get_by_role("link", name=re.compile(f"Open the {name}"))
        assert link.get_attribute("href") == deployed.link(name)
        page = opened[name] = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(deployed.link(name))
        page.wait_for_selector(".ts-head")
    return SimpleNamespace(**opened)


def test_data_are_uploaded_described_and_reported_through_the_proxy(others, decided, deployed):
    """Uploads, calls, event streams and downloads of the other pages stay below the prefix."""
    owner, institution, compliance = others.owner, others.institution, others.compliance
    owner.click("#add-data button")
    bills = {
        "name": "bills.csv",
        "mimeType": "text/csv",
        "buffer": b"month,amount\n1,48.7\n2,51.2\n",
    }
    owner.set_input_files("input[type=file]", bills)
    owner.wait_for_selector("text=Read bills.csv: 2 rows")
    owner.fill("#tag input, #tag textarea", "bills")
    owner.click("#store")
    owner.wait_for_selector("text=Stored and encrypted as bills")
    owner.click("#host")
    code = owner.locator("#session-code :is(input, textarea)").first
    code.wait_for()
    institution.fill("#code input, #code textarea", code.input_value())
    institution.click("#connect")
    institution.click("#search")
    institution.wait_for_selector(".ts-card >> text=amount")
    compliance.click("#make-report")
    compliance.wait_for_selector(".ts-reported dl")
    with compliance.expect_download() as saved:
        compliance.click("#report-pdf")
    assert saved.value.path().read_bytes().startswith(b"%PDF-")
    fetched = [url for url in decided.asked if url.startswith("http")]
    for name in OTHERS:
        page = getattr(others, name)
        assert page.url == f"{deployed.pages[name]}/"
        own = [url for url in fetched if urlsplit(url).hostname == urlsplit(page.url).hostname]
        assert own and all(url.startswith(page.url) for url in own)


def test_cookies_are_limited_to_tls_and_to_the_prefix(others, context, deployed):
    kept = [found for found in context.cookies() if found["name"].startswith("triseal-")]
    assert {found["domain"] for found in kept} == {
        urlsplit(url).hostname for url in (deployed.stage, *deployed.pages.values())
    }
    for found in kept:
        assert found["secure"] and found["httpOnly"]
        assert (found["path"], found["sameSite"]) == ("/triseal/", "Strict")


def test_a_browser_without_the_cookie_is_told_the_public_address(browser, deployed):
    stranger = browser.new_context()
    page = stranger.new_page()
    assert page.goto(f"{deployed.pages['bank']}/").status == 403
    assert f"{deployed.pages['bank']}/?token=…" in page.text_content("main")
    assert page.goto(f"https://{HOST}:{deployed.port}/triseal").status == 403  # with a slash added
    assert page.goto(f"https://{HOST}:{deployed.port}/").status == 404
    stranger.close()


def test_documentation_of_the_calls_works_under_the_prefix(deployed):
    """Its links are relative; tests/ui/test_documentation.py has the page in a browser."""
    with through(deployed) as http:
        page = http.get("/triseal/api/docs")
        linked = re.findall(r'(?:src|href)="([^":]+)"', page.text)
        assert len(linked) >= 3
        for name in (*linked, "openapi.json"):  # the last is named in the viewer's script
            assert http.get(str(page.url.join(name))).status_code == 200, name
        assert "/triseal" not in http.get("/triseal/api/openapi.json").text


def test_links_and_codes_are_in_no_log(others, decided, deployed):
    logs = deployed.log() + "".join(
        path.read_text() for path in (deployed.folder / "nginx").glob("*.log")
    )
    assert f"{HOST}/gradio_api/" in logs and "/applications/" in logs
    framed = [decided.stage.url(name) for name in deployed.names]
    codes = re.findall(r"(?:token|join)=([^&\s]+)", " ".join(framed))
    assert len(codes) == 2 * len(deployed.names)
    assert not [secret for secret in (*codes, *deployed.tokens.values()) if secret in logs]


def client_of(deployed, url, authority="own"):
    own = Settings(
        server_url=url, server_ca=deployed.authority if authority == "own" else authority
    )
    return ServerClient.from_settings(own)


@pytest.fixture
def resolved(monkeypatch):
    """Have the deployment's names resolved here, since no name server knows them."""
    resolve = socket.getaddrinfo

    def found(host, *more, **named):
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("::1" if str(name).endswith(HOST) else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", found)


def test_clients_use_prefix_private_authority_and_ipv6(deployed, resolved):
    versions = set()
    for url in (
        deployed.api,
        f"{deployed.api}/",
        deployed.local_api,
        f"https://[::1]:{deployed.port}/triseal/api",
        f"https://127.0.0.1:{deployed.port}/triseal/api",
        f"http://[::1]:{deployed.server_port}",
    ):
        with client_of(deployed, url) as client:
            versions.add(client.model().model_version)
            state = client.open_application()
            watched = client.state(state.client_id, state.watch_token)
            assert watched.client_id == state.client_id
    assert len(versions) == 1


def test_untrusted_certificates_are_refused(deployed, tmp_path):
    """The control is the certificate's own authority, in the test above."""
    stranger = certificates_for(tmp_path / "other", ["localhost"], []).authority
    for authority in (None, stranger):
        with (
            client_of(deployed, deployed.local_api, authority) as client,
            pytest.raises(CertificateUntrusted, match="TRISEAL_SERVER_CA"),
        ):
            client.model()
    with (
        client_of(deployed, f"https://127.0.0.2:{deployed.port}/triseal/api") as client,
        pytest.raises(CertificateUntrusted, match=r"127\.0\.0\.2"),
    ):
        client.model()  # the right authority, but another machine's certificate
    with pytest.raises(SettingsInvalid, match="TRISEAL_SERVER_CA"):
        client_of(deployed, deployed.local_api, tmp_path / "missing.pem")
    with (
        client_of(deployed, f"http://localhost:{deployed.port}/triseal/api") as client,
        pytest.raises(TransportError, match="HTTP 400"),
    ):
        client.health()  # the proxy has no port without TLS


def test_other_host_names_are_refused_behind_the_proxy(deployed):
    with through(deployed) as http:
        for path, status in (("/triseal/api/health", 421), ("/triseal/", 421)):
            answer = http.get(path, headers={"Host": f"{UNLISTED}:{deployed.port}"})
            assert answer.status_code == status and "TRISEAL_ALLOWED_HOSTS" in answer.text
        party = http.get("/triseal/api/health", headers={"Host": f"bank.{HOST}"})
        assert party.status_code == 421, "the server is on its own host only"
        answer = http.get("/triseal/api/health", headers={"Host": f"{HOST}:{deployed.port}"})
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"]
        assert http.get("/triseal/api/metrics").status_code == 404


def through(deployed, host="localhost"):
    """Return an HTTP client of the proxy."""
    return httpx.Client(
        base_url=f"https://{host}:{deployed.port}",
        verify=client_of(deployed, deployed.api)._verification,
        trust_env=False,
        timeout=30,
    )


def test_calls_count_for_the_address_that_the_proxy_saw(deployed):
    """The proxy replaces a forged header, and the server separates the callers behind the proxy."""
    path = f"/triseal/api/trainings/{'0' * 32}/join"
    body = {"member": "bank", "code": "a guess"}
    with through(deployed, "127.0.0.1") as http:
        for i in range(2 * JOINS):
            forged = {"X-Forwarded-For": f"192.0.2.{i % 200}"}
            if http.post(path, json=body, headers=forged).status_code == 429:
                break
        else:
            pytest.fail("the forged addresses were counted")
    with through(deployed, "[::1]") as http:
        assert http.post(path, json=body).status_code == 422


def test_no_process_has_failed(deployed):
    deployed.check()
    assert "Traceback" not in deployed.log()


def test_a_party_whose_process_has_died_is_noticed(deployed, resolved, schema):
    """The last test on this deployment: the proxy still accepts connections for the party."""
    url = deployed.stage.replace("https://", "https://{party}.")
    presence = Presence(schema.parties, Settings(agent_url=url, server_ca=deployed.authority))
    assert presence.absent() == ()
    (bank,) = [each for each in deployed.processes if each.log_path.name == "bank.log"]
    bank.kill()
    until(lambda: [party.name for party in presence.absent()] == ["bank"])
    assert 'data-absent="bank"' in presence.notes()
