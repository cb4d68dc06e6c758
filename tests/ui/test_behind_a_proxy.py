"""A page behind a reverse proxy with another name and a path prefix, in a real browser."""

from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.ui.guarded_pages import Page
from tests.ui.serving import served
from utils.ports import free_port

NOT_PASSED_ON = {"host", "connection", "content-length", "transfer-encoding"}


def proxy(upstream, keep_host):
    """A proxy that strips /triseal; it forwards the browser's Host or the upstream's."""
    client = httpx.AsyncClient(base_url=upstream, trust_env=False, timeout=60)

    async def forward(request):
        kept = {} if not keep_host else {"host": request.headers["host"]}
        headers = [
            (name, value) for name, value in request.headers.items() if name not in NOT_PASSED_ON
        ]
        path = httpx.URL(
            path=request.url.path.removeprefix("/triseal"), query=request.url.query.encode()
        )
        asked = client.build_request(
            request.method, path, headers=[*headers, *kept.items()], content=await request.body()
        )
        answer = await client.send(asked, stream=True)
        client.cookies.clear()  # cookies belong to the browser
        passed = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("transfer-encoding", "connection")
        }
        return StreamingResponse(answer.aiter_raw(), answer.status_code, passed)

    @asynccontextmanager
    async def lifespan(_):
        yield
        await client.aclose()

    route = Route("/triseal/{path:path}", forward, methods=["GET", "POST"])
    return Starlette(routes=[route], lifespan=lifespan)


@pytest.mark.parametrize(("kind", "keep_host"), [("party", True), ("single", False)])
def test_page_works_at_the_address_of_its_proxy(browser, tmp_path, kind, keep_host):
    port = free_port()
    address = f"http://localhost:{port}/triseal"
    setting = "agent_url" if kind == "party" else "page_url"
    made = Page(kind, tmp_path, **{setting: f"{address}/"})
    assert made.link.startswith(f"{address}/?token=")
    context = browser.new_context()
    try:
        with made.served() as upstream, served(proxy(upstream, keep_host), port):
            page = context.new_page()
            page.set_default_timeout(40_000)
            asked = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(made.link)
            assert page.url == f"{address}/"
            if kind == "party":
                found = page.wait_for_selector("#send[disabled][title]")
                assert "Join an application first" in found.get_attribute("title")
                page.fill("#join-code input, #join-code textarea", "a code")
                page.click("#join")
                page.wait_for_selector("text=No such application; this is a test.")
                assert made.joined == ["a code"]
            else:
                page.wait_for_selector("#make-keys")
            assert all(url.startswith(f"{address}/") for url in asked if "://" in url)
            context.clear_cookies()
            assert page.goto(f"{address}/").status == 403
    finally:
        context.close()


def test_unknown_proxy_name_is_refused(tmp_path):
    port = free_port()
    made = Page("party", tmp_path)
    with made.served() as upstream, served(proxy(upstream, keep_host=True), port):
        headers = {"Host": "unlisted.example"}
        answer = httpx.get(f"http://127.0.0.1:{port}/triseal/", headers=headers, trust_env=False)
        assert answer.status_code == 421 and "TRISEAL_ALLOWED_HOSTS" in answer.text
