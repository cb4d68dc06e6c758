"""The security headers of all responses; streams and the documentation page still work."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from settings import Settings
from tests.service.driver import Application, Server
from trials.stand_in import load
from web import documentation
from web.security_headers import NOTHING


def require_guarded(answer: httpx.Response, policy: str | None = NOTHING) -> None:
    headers = answer.headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("referrer-policy") == ["no-referrer"]
    assert len(headers.get_list("content-security-policy")) == 1
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert not [name for name in headers if name.startswith("access-control-")]
    if policy is not None:
        assert headers["content-security-policy"] == policy
        assert headers.get_list("cache-control") == ["no-store"]


def sources_of(policy: str) -> dict[str, list[str]]:
    rules = [rule.split() for rule in policy.split(";")]
    return {name: sources for name, *sources in rules}


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/metrics", "/model", "/model/client"]
)
def test_public_calls_have_security_headers(server: Server, path: str) -> None:
    answer = server.http.get(path)
    assert answer.status_code == 200
    require_guarded(answer)


def test_application_calls_have_security_headers(server: Server) -> None:
    application = server.filled()
    path = f"/applications/{application.client_id}"
    answers = [
        server.http.post("/applications"),
        application.run(),
        application.output(),
        application.explanation(),
        server.http.get(path, headers=application.auth()),
        server.http.get(f"{path}/messages", headers=application.auth()),
        server.http.get(f"{path}/traffic", headers=application.auth()),
        application.erase(),
    ]
    assert all(answer.is_success for answer in answers)
    for answer in answers:
        require_guarded(answer)


def test_files_are_sent_as_attachments(server: Server) -> None:
    application = server.filled()
    assert application.run().status_code == 200
    for answer, name in (
        (application.output(), "result.bin"),
        (server.http.get("/model/client"), "client.zip"),
    ):
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_error_responses_have_security_headers(server: Server, application: Application) -> None:
    answers = {
        401: server.http.get(f"/applications/{application.client_id}"),
        404: server.http.get("/docs/nowhere"),
        405: server.http.put("/docs"),
        409: application.output(),
        413: server.http.post("/applications", content=b"x" * 100_000),
        422: server.http.post("/applications", json={"readers": 1}),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {
        status: status for status in answers
    }
    for status, answer in answers.items():
        require_guarded(answer, policy=None if status == 405 else NOTHING)


def test_internal_errors_have_security_headers() -> None:
    app = create_app(Settings(), load)

    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("a fault of ours")

    # Without its lifespan the app has no server_state, which only the body limit uses.
    app.user_middleware.clear()
    answer = TestClient(app, raise_server_exceptions=False).get("/fault")
    assert answer.status_code == 500
    require_guarded(answer)


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_other_origins_get_no_cors_headers(server: Server, method: str) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    require_guarded(server.http.request(method, "/applications", headers=headers))


def test_event_streams_have_headers_and_are_not_buffered(server: Server) -> None:
    application = server.joined()
    path = f"/applications/{application.client_id}/events"
    with server.http.stream("GET", path, headers=application.auth()) as answer:
        require_guarded(answer)
        assert answer.headers["content-type"].startswith("text/event-stream")
        states = (line for line in answer.iter_lines() if line.startswith("data:"))
        assert application.client_id in next(states), "it comes though the stream has not ended"
        assert application.send(application.parties[0]).status_code == 200
        assert '"received_bytes":' in next(states)
        assert application.erase().status_code == 204
        assert list(states) == []


@pytest.mark.parametrize("path", documentation.PATHS)
def test_documentation_loads_from_this_server_only(server: Server, path: str) -> None:
    answer = server.http.get(path)
    assert answer.status_code == 200
    require_guarded(answer, policy=None)
    assert "cache-control" not in answer.headers
    policy = sources_of(answer.headers["content-security-policy"])
    named = {source for sources in policy.values() for source in sources}
    exact = {source for source in named if re.fullmatch("'sha256-[A-Za-z0-9+/=]{44}'", source)}
    assert exact <= set(policy["style-src"])
    assert named - exact == {"'none'", "'self'", "data:"}, "no host, and no other inline style"
    assert "'self'" in policy["connect-src"], "for openapi.json and for trying calls out"


@pytest.mark.parametrize("viewer", documentation.VIEWERS, ids=lambda viewer: viewer.name)
def test_documentation_page_has_no_inline_script_or_foreign_url(
    server: Server, viewer: documentation.Viewer
) -> None:
    page = server.http.get(viewer.page).text
    found = re.findall(r'(?:src|href)="([^"]*)"', page)
    served = [f"/{link}" for link in found if not link.startswith("data:")]
    assert set(served) == {path for path in viewer.paths if path.endswith((".js", ".css"))}
    assert not re.search(r"<script>|<style|style=|\bon[a-z]+=", page)


def test_server_never_redirects(server: Server) -> None:
    for path in ("/docs/", "/health/", "/applications/", "/redoc/", "//elsewhere.example/"):
        assert server.http.get(path).status_code == 404, path


def test_openapi_document_may_be_cached(server: Server) -> None:
    answer = server.http.get("/openapi.json")
    assert answer.status_code == 200
    require_guarded(answer, policy=None)
    assert answer.headers["content-security-policy"] == NOTHING
    assert "cache-control" not in answer.headers
