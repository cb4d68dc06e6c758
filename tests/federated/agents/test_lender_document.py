"""The OpenAPI document of a lender's agent, and generated requests that have to match it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from federated.agents.api.app import TAGS, lender_app
from federated.agents.api.command import local_lender
from federated.scorecard import Prediction
from parties.governance.api.app import Guarded
from settings import Settings
from tests.federated.agents.lenders import csv_of, wanted
from tests.parties.governance.api.test_fuzz_agents import CHECKS, FEW, MODES, TOKEN, at_home
from utils.ports import free_port

DOCUMENT = lender_app().openapi()
CALLS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app of a lender with one data set, whose server is away."""
    folder = tmp_path_factory.mktemp("lender")
    away = wanted(folder, "lender_1", f"http://127.0.0.1:{free_port()}")
    with local_lender(replace(away, data=folder / "own.csv"), Settings()) as lender:
        (folder / "own.csv").write_bytes(csv_of(1))
        lender.data.store("loans", csv_of(1))
        yield lender_app(Guarded(lender, TOKEN, Settings(token_calls=100_000)))


def test_the_document_is_valid_and_describes_every_call():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT)):
        assert reference.rpartition("/")[2] in DOCUMENT["components"]["schemas"], reference
    for method, path in CALLS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"] and operation["description"] and operation["security"]
        assert set(operation["tags"]) <= set(TAGS)
    assert {path for _, path in CALLS} >= {"/fl_train", "/fl_train/{run_id}", "/fl_predict"}


def test_the_page_of_the_document_is_served_offline_and_without_secrets(app):
    client = TestClient(app, base_url="http://127.0.0.1")
    page = client.get("/docs")
    assert page.status_code == 200 and "https://" not in page.text
    assert TOKEN not in client.get("/openapi.json").text
    assert client.get("/fl_train").headers["cache-control"] == "no-store"


def test_a_prediction_has_the_members_of_the_scorecard():
    found = DOCUMENT["paths"]["/fl_predict"]["post"]["responses"]["200"]["content"]
    name = found["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert (
        set(DOCUMENT["components"]["schemas"][name]["properties"])
        == set(Prediction.model_fields)
        == {"probability", "label", "method", "color", "request_id"}
    )


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_no_request_breaks_the_agent(app, method, path):
    schema = schemathesis.openapi.from_asgi("/openapi.json", at_home(app))
    operation = schema[path][method]

    @FEW
    @given(st.data())
    def ask(data):
        case = data.draw(operation.as_strategy(generation_mode=data.draw(MODES)))
        case.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = case.call()
        case.validate_response(answer, checks=CHECKS)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text

    ask()
