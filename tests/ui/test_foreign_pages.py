"""Foreign pages in a browser that has every page of Triseal open: they get nothing.

In this browser `evil.example` resolves to this machine, like a name after DNS rebinding. Its path
/attack is the attacker's page; all other requests reach the real pages. The whole demonstration is
attacked on IPv6, single pages on IPv4.
"""

from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.app import create_app
from service.http.hosts import HostGuard
from settings import Settings
from tests.ui.conftest import chromium_with
from tests.ui.demos import Demo
from tests.ui.guarded_pages import KINDS, Page
from tests.ui.serving import served
from tests.ui.test_stage import Stage
from trials.stand_in import load
from utils.ports import free_port

READ = ("/", "/config", "/gradio_api/info", "/gradio_api/app_id", "/theme.css")
SERVER_READ = ("/", "/health", "/model", "/model/client", "/metrics", "/docs", "/openapi.json")
FETCH = """async ([base, method, path, body]) => {
  const init = {method, credentials: "include"};
  if (body) { init.body = body; init.headers = {"Content-Type": "application/json"}; }
  try {
    const answer = await fetch(base + path, init);
    return [answer.status, (await answer.text()).slice(0, 200000)];
  } catch (error) { return [0, String(error)]; }
}"""
CALL = '{"data": ["a join code of the stranger"]}'


@pytest.fixture(scope="module")
def browser():
    with chromium_with(
        "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP evil6.example [::1]",
        # Some browsers ask before a public page accesses the local network; not all do.
        "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
    ) as started:
        yield started


@pytest.fixture
def context(browser):
    opened = browser.new_context()
    opened.set_default_timeout(40_000)
    yield opened
    opened.close()


def open_link(context, made):
    """Follow the page's link: from now on the browser has its cookie."""
    assert context.request.get(made.link).ok


def attack(context, origin, html="<title>harmless</title>"):
    """Open a foreign page at that origin."""
    page = context.new_page()
    page.route(f"{origin}/attack", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{origin}/attack")
    return page


def fetch(page, path, method="GET", body=None, base=""):
    """Return the status that the foreign page can read; 0 if the browser blocks it."""
    return page.evaluate(FETCH, [base, method, path, body])


def submit(context, address):
    """Return the status of a form sent to the address by a page on another port of this host."""
    form = f'<form method="post" enctype="text/plain" action="{address}"></form>'
    page = attack(
        context, f"http://{urlsplit(address).netloc.rsplit(':', 1)[0]}:{free_port()}", form
    )
    with page.expect_response(address) as answered:
        page.evaluate("document.forms[0].submit()")
    return answered.value.status


def framed(context, origin, address):
    """Return the visible text of an address in a frame of a foreign page."""
    answered = []
    page = attack(context, origin, f'<iframe src="{address}" width="900" height="700"></iframe>')
    page.on("response", lambda response: answered.append(response.url))
    page.wait_for_function("document.readyState === 'complete'")
    frame = page.frames[1]
    frame.wait_for_load_state()
    return frame


@contextmanager
def kept(kind, folder, guarded):
    made = Page(kind, folder)
    with made.served(guarded):
        yield made


@pytest.mark.parametrize(("kind", "guarded"), [*((kind, True) for kind in KINDS), ("party", False)])
def test_dns_rebinding_cannot_read_or_act_on_pages(context, tmp_path, kind, guarded):
    with kept(kind, tmp_path, guarded) as made:
        open_link(context, made)
        stranger = attack(context, f"http://evil.example:{made.port}")
        found = [fetch(stranger, path) for path in READ]
        called = fetch(stranger, "/gradio_api/call/join", "POST", CALL)
        if called[0] == 200:
            event = called[1].split('"')[3]
            fetch(stranger, f"/gradio_api/call/join/{event}")
    statuses, texts = {status for status, _ in found}, "".join(text for _, text in found)
    if guarded:
        assert statuses == {421} and called[0] == 421
        assert "gradio_config" not in texts and "field-" not in texts
        assert made.joined == []
    else:
        assert statuses == {200} and "gradio_config" in texts
        assert made.joined == ["a join code of the stranger"]


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_page_on_another_port_cannot_read_or_act(context, tmp_path, guarded):
    """On the same host, the browser sends the cookie and Gradio allows reading."""
    with kept("party", tmp_path, guarded) as made:
        open_link(context, made)
        stranger = attack(context, f"http://127.0.0.1:{free_port()}")
        read = fetch(stranger, "/config", base=made.place.address)
        fetch(stranger, "/gradio_api/run/join", "POST", CALL, base=made.place.address)
        called = fetch(stranger, "/gradio_api/call/join", "POST", CALL, base=made.place.address)
        if called[0] == 200:
            event = called[1].split('"')[3]
            fetch(stranger, f"/gradio_api/call/join/{event}", base=made.place.address)
    assert (read[0], "field-" in read[1]) == ((0, False) if guarded else (200, True))
    assert (made.joined == []) is guarded


@pytest.mark.parametrize(
    ("name", "guarded"), [("evil.example", True), ("127.0.0.1", True), ("127.0.0.1", False)]
)
def test_foreign_page_cannot_frame_a_partys_page(context, tmp_path, name, guarded):
    with kept("party", tmp_path, guarded) as made:
        open_link(context, made)
        frame = framed(context, f"http://{name}:{free_port()}", f"{made.place.address}/")
        if guarded:
            assert frame.url.startswith("chrome-error://")
            assert frame.locator("#send").count() == 0
        else:
            frame.locator("#send").wait_for()


@pytest.mark.parametrize("kind", ["stage", "single"])
def test_other_pages_cannot_be_framed(context, tmp_path, kind):
    with kept(kind, tmp_path, guarded=True) as made:
        open_link(context, made)
        frame = framed(context, f"http://127.0.0.1:{free_port()}", f"{made.place.address}/")
        assert frame.url.startswith("chrome-error://")


def test_link_on_a_foreign_page_cannot_join(context, tmp_path):
    with kept("party", tmp_path, guarded=True) as made:
        open_link(context, made)
        for name in ("evil.example", "127.0.0.1"):
            target = f"{made.place.address}/?join=a-code-of-the-stranger"
            page = attack(
                context, f"http://{name}:{free_port()}", f'<a href="{target}">A prize</a>'
            )
            page.click("a")
            page.wait_for_url(f"{made.place.address}/**")
            assert page.locator("#send").count() == 0
        page.click("text=Open the page")  # of the second, whose cookie was sent
        page.wait_for_selector("#send")
    assert made.joined == []


@pytest.mark.parametrize("place", ["mail", "file"])
def test_page_link_works_from_any_page(context, tmp_path, place):
    with kept("party", tmp_path, guarded=True) as made:
        if place == "mail":
            html = f'<a href="{made.link}">Your page</a>'
            page = attack(context, f"http://evil.example:{free_port()}", html)
            page.click("a")
        else:
            file = Path(tmp_path, "open.html")
            file.write_text(f'<meta http-equiv="refresh" content="0;url={made.link}">')
            page = context.new_page()
            page.goto(file.as_uri())
        page.wait_for_selector("#send")
        assert page.url == f"{made.place.address}/"
        assert page.evaluate("document.cookie") == ""  # HttpOnly
        assert page.reload(wait_until="commit").status == 200
        second = context.new_page()
        assert second.goto(made.place.address, wait_until="commit").status == 200


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_dns_rebinding_cannot_read_the_server(context, guarded):
    app = create_app(Settings(), load)
    if not guarded:
        app.user_middleware = [m for m in app.user_middleware if m.cls is not HostGuard]
    port = free_port()
    with served(app, port, lifespan="off"):  # the API's document needs no engine
        stranger = attack(context, f"http://evil.example:{port}")
        status, text = fetch(stranger, "/openapi.json")
    assert (status, "/send_file" in text) == ((421, False) if guarded else (200, True))


@pytest.fixture(scope="module")
def demo(tmp_path_factory, levelled_deployment):
    addresses = {"server_host": "::1", "page_host": "::1"}
    folder = tmp_path_factory.mktemp("foreign")
    started = Demo(folder, levelled_deployment, "levelled", **addresses)
    try:
        started.wait_for("Triseal is ready")
        yield started
    finally:
        started.stop()


def test_demo_works_on_ipv6(demo, schema):
    said = demo.log()
    assert f"listens at http://[::1]:{demo.server_port}" in said
    assert f"open http://[::1]:{demo.page_port}/?token=" in said
    for port in (demo.page_port, *demo.agent_ports(len(schema.party_names))):
        assert f"at http://[::1]:{port}" in said
        refused = httpx.get(f"http://[::1]:{port}", trust_env=False)
        assert refused.status_code == 403, "it responds, and asks for its link"


def test_demo_refuses_requests_without_access(context, demo, schema):
    one = Stage(context, demo, schema).open()
    assert one.page.url.startswith("http://[::1]:")
    assert all("//[::1]:" in one.url(party) for party in one.names)
    one.send().strip_done(4)  # the stage, which reads the log from the server, has it too
    before = one.page.inner_text(".ts-log")
    ports = [demo.page_port, *demo.agent_ports(len(one.names))]
    for port in ports:
        stranger = attack(context, f"http://evil6.example:{port}")
        for path in READ:
            assert fetch(stranger, path)[0] == 421
        for name in ("agree_decide", "send", "join", "new_application", "tick"):
            assert fetch(stranger, f"/gradio_api/call/{name}", "POST", CALL)[0] == 421
        near = attack(context, f"http://[::1]:{free_port()}")
        assert fetch(near, "/config", base=f"http://[::1]:{port}")[0] == 0
        called = f"http://[::1]:{port}/gradio_api/call/agree_decide"
        assert submit(context, called) == 403
    stranger = attack(context, f"http://evil6.example:{demo.server_port}")
    for path in SERVER_READ:
        assert fetch(stranger, path)[0] == 421
    assert fetch(stranger, "/applications", "POST", "{}")[0] == 421
    assert submit(context, f"http://[::1]:{demo.server_port}/applications") == 403
    for name in one.names:  # no party has agreed meanwhile
        assert "No party has agreed yet" in one.text(name, ".ts-section:has(#agree-decide)")
    assert one.page.inner_text(".ts-log") == before
    one.decide()


def test_frames_use_the_requested_host_name(context, schema, demo):
    one = Stage(context, demo, schema, host="localhost")
    for port in demo.agent_ports(len(one.names)):
        one.page.wait_for_selector(f".ts-frames >> text=localhost:{port}")
    one.open()
    assert all("//localhost:" in one.url(party) for party in one.names)
