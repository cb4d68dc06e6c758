"""Requests generated from the agents' OpenAPI documents, against real agents without a server.

No response is an internal error, and each matches the document: status, content type, headers,
schema.
"""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from governance.store_key import key_file, make_key_file
from parties.client import ServerClient
from parties.governance.api.app import Guarded
from parties.governance.api.apps import institution_app, owner_app
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from settings import Settings
from utils.ports import free_port

TOKEN = "t" * 43
FEW = settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
CALLS = [
    (name, method, path)
    for name, make_app in (("owner", owner_app), ("institution", institution_app))
    for path, item in make_app().openapi()["paths"].items()
    for method in item
]


def at_home(app):
    """Return the app for a client that calls every host `testserver`."""

    async def addressed(scope, receive, send):
        headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"host"]
        await app({**scope, "headers": [*headers, (b"host", b"127.0.0.1")]}, receive, send)

    return addressed


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """The documents of an owner's and an institution's agent, whose server is away."""
    folder = tmp_path_factory.mktemp("agents")
    own = Settings(token_calls=100_000)
    with contextlib.ExitStack() as held:
        client = held.enter_context(ServerClient(f"http://127.0.0.1:{free_port()}", 1))
        make_key_file(folder / "key")
        owner = Owner.start(folder / "ann", client, "ann", key_file(folder / "key"))
        held.enter_context(contextlib.closing(owner))
        bank = Institution.start(folder / "bank", client, "bank-1", "token")
        held.enter_context(contextlib.closing(bank))
        owner.store_data(b'{"v": 1}', "t", "")
        yield {
            "owner": schemathesis.openapi.from_asgi(
                "/openapi.json", at_home(owner_app(Guarded(owner, TOKEN, own)))
            ),
            "institution": schemathesis.openapi.from_asgi(
                "/openapi.json", at_home(institution_app(Guarded(bank, TOKEN, own)))
            ),
        }


@pytest.mark.parametrize(("agent", "method", "path"), CALLS)
def test_responses_match_the_document(schemas, agent, method, path):
    operation = schemas[agent][path][method]

    @FEW
    @given(st.data())
    def attempt(data):
        case = data.draw(operation.as_strategy(generation_mode=data.draw(MODES)))
        for values in (case.query, case.body):
            if isinstance(values, dict) and isinstance(values.get("wait"), int | float):
                values["wait"] = 0
        case.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 500:  # without a server, no other one is in order
            assert answer.status_code == 503, answer.text

    attempt()
