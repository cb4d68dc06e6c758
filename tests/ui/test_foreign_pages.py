"""Foreign pages in a browser that has a page of Triseal open: they get nothing.

The whole demonstration is attacked in test_stage.py.
"""

import json
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pytest

from service.app import create_app
from settings import Settings
from tests.ui.conftest import chromium_with
from tests.ui.foreign import CALL, NAMED_BY_STRANGERS, READ, attack, fetch
from tests.ui.guarded_pages import KINDS, Page
from tests.ui.serving import served
from trials.stand_in import load
from utils.ports import free_port
from web.hosts import HostGuard


@pytest.fixture(scope="module")
def browser():
    with chromium_with(*NAMED_BY_STRANGERS) as started:
        yield started


@pytest.fixture
def context(browser):
    """Return a browser profile without cookies, in which pages are not drawn.

    Their documents have everything that a stranger is to be kept from; Gradio's scripts, which
    would draw them, take seconds of processor time.
    """
    opened = browser.new_context()
    opened.set_default_timeout(40_000)
    opened.route("**/assets/**", lambda route: route.abort())
    yield opened
    opened.close()


def has_form(frame):
    """Return True if a page or frame has received the party's form."""
    return "field-" in json.dumps(frame.evaluate("window.gradio_config || null"))


def open_link(context, made):
    """Follow the page's link: from now on the browser has its cookie."""
    assert context.request.get(made.link).ok


def framed(context, origin, address):
    """Return the visible text of an address in a frame of a foreign page."""
    answered = []
    page = attack(context, origin, f'<iframe src="{address}" width="900" height="700"></iframe>')
    page.on("response", lambda response: answered.append(response.url))
    page.wait_for_function("document.readyState === 'complete'")
    frame = page.frames[1]
    frame.wait_for_load_state()
    return frame


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return a function that serves a page, each kind only once, and forgets earlier actions."""
    with ExitStack() as served_pages:

        @lru_cache
        def made(kind, guarded):
            page = Page(kind, tmp_path_factory.mktemp(kind))
            served_pages.enter_context(page.served(guarded))
            return page

        def page_of(kind, guarded):
            page = made(kind, guarded)
            page.joined.clear()
            return page

        yield page_of


@pytest.mark.parametrize(("kind", "guarded"), [*((kind, True) for kind in KINDS), ("party", False)])
def test_dns_rebinding_cannot_read_or_act_on_pages(context, pages, kind, guarded):
    made = pages(kind, guarded)
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
def test_page_on_another_port_cannot_read_or_act(context, pages, guarded):
    """On the same host, the browser sends the cookie and Gradio allows reading."""
    made = pages("party", guarded)
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
def test_foreign_page_cannot_frame_a_partys_page(context, pages, name, guarded):
    made = pages("party", guarded)
    open_link(context, made)
    frame = framed(context, f"http://{name}:{free_port()}", f"{made.place.address}/")
    if guarded:
        assert frame.url.startswith("chrome-error://")
        assert not has_form(frame)
    else:
        assert has_form(frame)


@pytest.mark.parametrize("kind", ["stage", "single"])
def test_other_pages_cannot_be_framed(context, pages, kind):
    made = pages(kind, guarded=True)
    open_link(context, made)
    frame = framed(context, f"http://127.0.0.1:{free_port()}", f"{made.place.address}/")
    assert frame.url.startswith("chrome-error://")


def test_link_on_a_foreign_page_cannot_join(context, pages):
    made = pages("party", guarded=True)
    open_link(context, made)
    for name in ("evil.example", "127.0.0.1"):
        target = f"{made.place.address}/?join=a-code-of-the-stranger"
        page = attack(context, f"http://{name}:{free_port()}", f'<a href="{target}">A prize</a>')
        page.click("a")
        page.wait_for_url(f"{made.place.address}/**")
        assert not has_form(page)
    page.click("text=Open the page")  # of the second, whose cookie was sent
    page.wait_for_function("window.gradio_config")
    assert has_form(page)
    assert made.joined == []


@pytest.mark.parametrize("place", ["mail", "file"])
def test_page_link_works_from_any_page(context, pages, tmp_path, place):
    made = pages("party", guarded=True)
    if place == "mail":
        html = f'<a href="{made.link}">Your page</a>'
        page = attack(context, f"http://evil.example:{free_port()}", html)
        page.click("a")
    else:
        file = Path(tmp_path, "open.html")
        file.write_text(f'<meta http-equiv="refresh" content="0;url={made.link}">')
        page = context.new_page()
        page.goto(file.as_uri())
    page.wait_for_function("window.gradio_config")
    assert has_form(page)
    assert page.url == f"{made.place.address}/"
    assert page.evaluate("document.cookie") == ""  # HttpOnly
    assert page.context.request.get(made.place.address).status == 200  # with the cookie, again


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
