"""The listener at which partners redeem permits: one bounded call, and nothing for web pages."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from parties.governance.api.exchange import exchange_app
from parties.governance.exchange_seal import LARGEST_CALL
from settings import Settings
from utils.errors import PermitSpent
from web import rate_limits

JSON = {"Content-Type": "application/json"}


class Redeeming:
    def __init__(self):
        self.bodies = []

    def redeem(self, body):
        self.bodies.append(body)
        if len(self.bodies) > 1:
            raise PermitSpent("This permit has been used already.")
        return b'{"sealed": "x"}'


@pytest.fixture
def owner():
    return Redeeming()


@pytest.fixture
def client(owner):
    return TestClient(exchange_app(owner, Settings()), raise_server_exceptions=False)


def test_body_reaches_the_owner_and_errors_are_problems(client, owner):
    answer = client.post("/exchange", content=b'{"permit": 1}', headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"sealed": "x"})
    assert answer.headers["cache-control"] == "no-store"
    again = client.post("/exchange", content=b'{"permit": 1}', headers=JSON)
    assert (again.status_code, again.json()["type"]) == (409, "urn:triseal:error:permit-spent")
    assert owner.bodies == [b'{"permit": 1}'] * 2


def test_nothing_else_reaches_the_owner(client, owner):
    for origin in ("http://evil.example", "null", "http://testserver"):
        answer = client.post("/exchange", content=b"{}", headers={**JSON, "Origin": origin})
        assert answer.status_code == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/exchange", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415
    large = client.post("/exchange", content=b"x" * (LARGEST_CALL + 1), headers=JSON)
    assert large.status_code == 413
    for path in ("/", "/docs", "/openapi.json", "/requests", "/see_data_store"):
        assert client.get(path).status_code == 404
    assert client.get("/exchange").status_code == 405
    assert owner.bodies == []


def test_calls_of_an_address_are_limited(owner, monkeypatch):
    monkeypatch.setattr(rate_limits, "OPENINGS", 2)
    few = TestClient(exchange_app(owner, Settings()))
    statuses = [few.post("/exchange", content=b"{}", headers=JSON).status_code for _ in range(3)]
    assert statuses == [200, 409, 429]
    assert json.loads(owner.bodies[0]) == {} and len(owner.bodies) == 2
