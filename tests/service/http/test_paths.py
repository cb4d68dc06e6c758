"""A path prefix of the ASGI server (`uvicorn --root-path`) does not change the limits."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from settings import Settings
from trials.stand_in import load
from web.body_limits import SMALL_BODY
from web.paths import path_in_app
from web.security_headers import DOCUMENTATION, NOTHING


@pytest.mark.parametrize(
    ("path", "root", "found"),
    [
        ("/docs", "", "/docs"),
        ("/triseal/docs", "/triseal", "/docs"),
        ("/triseal/docs", "/triseal/", "/docs"),
        ("/docs", "/triseal", "/docs"),
        ("/trisealed/docs", "/triseal", "/trisealed/docs"),
        ("/triseal", "/triseal", "/triseal"),
    ],
)
def test_prefix_is_removed_if_present(path: str, root: str, found: str) -> None:
    assert path_in_app({"path": path, "root_path": root}) == found


class ServerState:
    """The services while the engine loads."""

    services = fault = None


@pytest.fixture
def app() -> Any:
    made = create_app(Settings(), load)
    made.state.server_state = ServerState()
    return made


def test_policies_and_limits_ignore_the_prefix(app: Any) -> None:
    client = TestClient(app, base_url="http://localhost", root_path="/triseal")
    page = client.get("/triseal/docs")
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == DOCUMENTATION
    document = client.get("/triseal/openapi.json")
    assert document.headers["content-security-policy"] == NOTHING
    assert "cache-control" not in document.headers
    large = bytes(2 * SMALL_BODY)
    assert client.post("/triseal/send_file", content=large).status_code == 503, "not 413"
    slot = client.put("/triseal/applications/0/slots/evaluation_key", content=large)
    assert slot.status_code == 503, "not 413"
    assert client.post("/triseal/run_fhe", content=large).status_code == 413
