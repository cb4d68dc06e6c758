"""The guard over HTTP; foreign pages in a browser are tested in test_foreign_pages."""

import asyncio
import re

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import Mount

from settings import Settings
from tests.ui.conftest import with_parties
from tests.ui.guarded_pages import KINDS, Page
from tests.ui.links import opened
from ui.access import PageAccess
from ui.guard import PageGuard
from ui.places import agent_place


@pytest.fixture(scope="module", params=KINDS)
def page(request, tmp_path_factory):
    """Every kind of page, served as by its entry point."""
    made = Page(request.param, tmp_path_factory.mktemp("page"), allowed_hosts="demo.test")
    with made.served():
        yield made


@pytest.fixture(scope="module")
def party(tmp_path_factory):
    made = Page("party", tmp_path_factory.mktemp("party"), allowed_hosts="demo.test")
    with made.served():
        yield made


@pytest.fixture
def stranger(page):
    with httpx.Client(base_url=page.place.address, trust_env=False, timeout=20) as client:
        yield client


def calls(page):
    """Return every method and path that Gradio serves, with parameters filled in."""
    (mount,) = page.app.routes
    assert isinstance(mount, Mount)
    pending = list(mount.app.routes)
    for route in pending:
        router = getattr(route, "original_router", None)  # of FastAPI, for a router within
        if router is not None:
            pending += router.routes
            continue
        path = re.sub(r"\{[^}]*\}", "x", route.path)
        for method in route.methods if isinstance(route, APIRoute) else ("GET",):
            yield method, path


def test_without_the_cookie_every_route_is_refused(page, stranger):
    made = set(calls(page))
    assert {("GET", "/config"), ("POST", "/gradio_api/queue/join")} <= made
    assert {("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/upload")} <= made
    for method, path in made:
        answer = stranger.request(method, path)
        assert answer.status_code == 403, (method, path)
        assert method == "HEAD" or "with its link" in answer.text
        assert "set-cookie" not in answer.headers


def test_foreign_host_name_is_refused_despite_the_cookie(page):
    with opened(page.link) as client:
        for method, path in set(calls(page)):
            answer = client.request(method, path, headers={"Host": f"evil.example:{page.port}"})
            assert answer.status_code == 421, (method, path)
            assert method == "HEAD" or "TRISEAL_ALLOWED_HOSTS" in answer.text


def test_link_sets_a_cookie_for_its_page_only_and_is_reusable(page, stranger):
    for _ in range(2):  # a second browser, or the first one after it was closed
        answer = stranger.get(page.link)
        assert answer.status_code == 303 and answer.headers["location"] == "./"
        value, *attributes = answer.headers["set-cookie"].split("; ")
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict"]
        assert value.startswith("triseal-") and f"-{page.port}=" in value
        assert page.place.access.token not in value
        assert stranger.get("/config").status_code == 200
        stranger.cookies.clear()
        assert stranger.get("/config").status_code == 403


@pytest.mark.parametrize("query", ["token=", "token=x", "token=%ff", "token=x&token=y"])
def test_wrong_token_is_refused(page, stranger, query):
    answer = stranger.get(f"/?{query}")
    assert answer.status_code == 403 and "out of date" in answer.text
    assert "set-cookie" not in answer.headers


def test_token_opens_only_the_page(page, stranger):
    token = {"token": page.place.access.token}
    assert stranger.get("/config", params=token).status_code == 403
    assert stranger.post("/gradio_api/queue/join", params=token).status_code == 403
    assert stranger.post("/", params=token).status_code == 403


def test_other_link_parameters_are_kept(stranger, page):
    answer = stranger.get(f"{page.link}&join=a%22b&watch=c.d")
    assert answer.headers["location"] == "./?join=a%22b&watch=c.d"


@pytest.mark.parametrize(
    ("cookie", "status"),
    [("", 403), ("{name}=x", 403), ("{name}={token}", 403), ("{name}={value}x", 403)],
)
def test_wrong_cookie_is_refused(page, stranger, cookie, status):
    kept = page.place.cookie()["Set-Cookie"].split(";")[0]
    name, _, value = kept.partition("=")
    own = cookie.format(name=name, value=value, token=page.place.access.token)
    assert stranger.get("/config", headers={"Cookie": own}).status_code == status
    assert stranger.get("/config", headers={"Cookie": kept}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:1",
        "http://localhost",
        "https://127.0.0.1",
        "null",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example@127.0.0.1:{port}",
    ],
)
def test_requests_from_other_origins_are_refused(page, origin):
    with opened(page.link) as client:
        given = {"Origin": origin.format(port=page.port)}
        for method, path in (("GET", "/config"), ("POST", "/gradio_api/queue/join")):
            answer = client.request(method, path, headers=given)
            assert answer.status_code == 403 and "another web page" in answer.text
            assert not [name for name in answer.headers if name.startswith("access-control")]
        assert client.get("/config", headers={"Origin": page.place.address}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_cross_site_fetches_are_refused(page, site):
    with opened(page.link) as client:
        for more in (
            {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"},
            {},
        ):
            answer = client.get("/config", headers={"Sec-Fetch-Site": site, **more})
            assert answer.status_code == 403
        goes = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        posted = client.post("/", headers={"Sec-Fetch-Site": site, **goes})
        assert posted.status_code == 403
        led = client.get("/?join=code", headers={"Sec-Fetch-Site": site, **goes})
        assert led.status_code == 403 and "Another page sent you here" in led.text


def test_cross_site_link_opens_through_an_intermediate_page(page, stranger):
    led = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    answer = stranger.get(f"{page.link}&join=a%22b", headers=led)
    assert answer.status_code == 200 and "SameSite=Strict" in answer.headers["set-cookie"]
    assert 'content="0;url=./?join=a%22b"' in answer.text
    assert page.place.access.token not in answer.text


def test_responses_restrict_framing_and_referrers(page):
    by = f"http://127.0.0.1:{page.place.port}" if page.kind == "party" else "'none'"
    with opened(page.link) as client, httpx.Client(base_url=page.place.address) as stranger:
        for answer in (client.get("/"), client.get("/config"), stranger.get("/")):
            policy = answer.headers["content-security-policy"]
            assert f"frame-ancestors {by}" in policy and "default-src" in policy
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"


def test_browsers_keep_only_gradios_files(page):
    with opened(page.link) as client, httpx.Client(base_url=page.place.address) as stranger:
        name = re.search(r"assets/index-[\w-]+\.js", client.get("/").text)[0]
        kept = client.get(name)
        assert kept.status_code == 200 and "immutable" in kept.headers["cache-control"]
        assert "private" in kept.headers["cache-control"]
        for answer in (stranger.get(name), client.get("assets/none.js")):
            assert answer.status_code != 200
            assert "immutable" not in answer.headers.get("cache-control", "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200),
        ("127.0.0.1", 200),
        ("[::1]:{port}", 200),
        ("LOCALHOST:9", 200),
        ("demo.test", 200),
        ("demo.test.evil.example", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("127.0.0.2:{port}", 421),
        ("[::2]", 421),
        ("localhost:{port}@evil.example", 421),
        ("localhost:99999", 421),
        ("", 421),
    ],
)
def test_only_allowed_host_names_are_accepted(party, host, status):
    with opened(party.link) as client:
        named = host.format(port=party.port)
        assert client.get("/config", headers={"Host": named}).status_code == status


def test_forwarded_host_must_be_allowed(party):
    with opened(party.link) as client:
        for given, status in (("demo.test", 200), ("evil.example", 421), ("localhost, x.y", 421)):
            answer = client.get("/config", headers={"X-Forwarded-Host": given})
            assert answer.status_code == status


@pytest.mark.parametrize(
    ("url", "path", "secure"),
    [
        (None, "/", False),
        ("https://first.example", "/", True),
        ("https://{party}.example/triseal/", "/triseal/", True),
        ("http://first.example/triseal", "/triseal/", False),
    ],
)
def test_cookie_is_for_the_pages_own_address(party, url, path, secure):
    """A header that names another scheme changes nothing."""
    schema = with_parties(2)
    settings = Settings(page_port=party.port, agent_url=url)
    place = agent_place(settings, "first", schema.party("first").label, party.port)

    async def opened_by(scheme):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": f"token={place.access.token}".encode(),
            "headers": [(b"host", b"localhost"), (b"x-forwarded-proto", scheme.encode())],
        }
        await PageGuard(party.app, place)(scope, None, send)
        return dict(sent[0]["headers"])[b"set-cookie"].decode()

    for scheme in ("http", "https"):
        kept = asyncio.run(opened_by(scheme)).split("; ")
        assert kept[1:4] == [f"Path={path}", "HttpOnly", "SameSite=Strict"]
        assert (kept[4:] == ["Secure"]) is secure


def test_websocket_without_the_cookie_is_refused(party):
    cookie = party.place.cookie()["Set-Cookie"].split(";")[0]
    for headers, through in (
        ({"host": "evil.example", "cookie": cookie}, False),
        ({"host": "localhost"}, False),
        ({"host": "localhost", "cookie": cookie, "origin": "http://evil.example"}, False),
        ({"host": "localhost", "cookie": cookie}, True),
    ):
        reached, sent = [], []

        async def app(scope, receive, send, reached=reached):
            reached.append(scope["path"])

        async def send(message, sent=sent):
            sent.append(message["type"])

        scope = {
            "type": "websocket",
            "path": "/gradio_api/queue/join",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        asyncio.run(PageGuard(app, party.place)(scope, None, send))
        assert (bool(reached), sent) == (through, [] if through else ["websocket.close"])


def test_pages_on_all_addresses_accept_only_listed_names(tmp_path):
    everywhere = "0.0.0.0"  # noqa: S104 - nothing is bound
    made = Page("party", tmp_path, page_host=everywhere, allowed_hosts="demo.test")
    assert made.place.address == f"http://127.0.0.1:{made.port}"
    hosts = made.place.hosts
    assert hosts.named("demo.test:1") and hosts.named("localhost")
    assert hosts.named(everywhere) is None and hosts.named("192.0.2.1") is None


def test_cookie_outlives_a_restart_with_the_same_token_only():
    def cookie(name="bank", port=1, token="a" * 43):
        return PageAccess(name, port, SecretStr(token)).cookie("/", secure=False)["Set-Cookie"]

    kept = cookie().split(";")[0]
    assert PageAccess("bank", 1, SecretStr("a" * 43)).opened(kept)
    value = kept.split("=")[1]
    assert value not in cookie("applicant") and value not in cookie(token="b" * 43)
    assert value not in cookie(port=2)
    for other in (PageAccess("bank", 1), PageAccess("bank", 1, SecretStr("b" * 43))):
        assert not other.opened(kept)


def test_parties_pages_have_different_cookies(tmp_path):
    one, two = Page("party", tmp_path), Page("party", tmp_path)
    with one.served(), two.served(), opened(one.link) as client:
        assert client.get(f"{two.place.address}/config").status_code == 403
        assert client.get(two.link).status_code == 200
        assert client.get(f"{two.place.address}/config").status_code == 200
        assert client.get(f"{one.place.address}/config").status_code == 200


def test_requests_succeed_without_the_guard(tmp_path):
    """Control: without the guard, the same calls succeed."""
    made = Page("party", tmp_path)
    with made.served(guarded=False) as url, httpx.Client(base_url=url, trust_env=False) as client:
        foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
        assert client.get("/config", headers=foreign).status_code == 200
        answer = client.post("/gradio_api/call/join", json={"data": ["code"]}, headers=foreign)
        assert answer.status_code == 200
        client.get(f"/gradio_api/call/join/{answer.json()['event_id']}", headers=foreign)
    assert made.joined == ["code"]
