"""Predictions of the finished model: XGBoost's own, and decisions on encrypted data."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost

from engines.levelled.build import build as build_levelled
from features.encoding import Layout
from features.schema import Schema
from federated.scorecard import FIELDS, record_of
from model.booster import parse_ensemble
from model.program import decide_program, explain_program
from model.quantise import quantise
from tests.conftest import write_small_deployment
from tests.federated.agents.lenders import SCHEMA, Agent
from tests.parties.running import started
from training.synthetic_german import draw

BODY = {
    "age": 35,
    "sex": "female",
    "job": 2,
    "housing": "own",
    "credit": 2300,
    "purpose": "radio/TV",
    "duration": 18,
}


@pytest.fixture(scope="module")
def layout():
    return Layout(Schema.load(SCHEMA))


@pytest.fixture(scope="module")
def booster(trained):
    return trained[2].http.get(f"/fl_train/{trained.run_id}/model").content


@pytest.fixture(scope="module")
def bodies():
    """Return loans of a region of its own as flat bodies, with a missing sex here and there."""
    rows = json.loads(draw(40, seed=11, region=7)[list(FIELDS)].to_json(orient="records"))
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


@pytest.fixture(scope="module")
def programs_of(booster, layout, bodies):
    """Return a function from a score width to the programs of the trained model."""
    bits = np.stack([layout.encode(record_of(body, layout)) for body in bodies])
    ensemble = parse_ensemble(json.loads(booster), layout)

    def make(score_bits):
        decide = decide_program(quantise(ensemble, layout, score_bits, bits), layout)
        return {"decide": decide, "explain": explain_program(decide, layout)}

    return make


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, booster, layout, programs_of):
    """Return a deployment of the trained model that opens only decisions."""
    folder = tmp_path_factory.mktemp("federated_deployment")
    engines = {"clear": {}, "levelled": build_levelled(programs_of, layout, folder)}
    write_small_deployment(folder, layout.schema, booster, programs_of(7), engines)
    return folder


def test_probabilities_are_those_of_xgboost(trained, booster, layout, bodies):
    model = xgboost.Booster(model_file=bytearray(booster))
    bits = np.stack([layout.encode(record_of(body, layout)) for body in bodies])
    expected = model.predict(xgboost.DMatrix(bits))
    found = [trained[2].call("POST", "/fl_predict", json=body) for body in bodies]
    assert np.allclose([one["probability"] for one in found], expected, rtol=0, atol=1e-6)
    assert [one["label"] == "good" for one in found] == list(expected >= 0.5)
    assert {one["method"] for one in found} == {"federated"}
    assert len({one["label"] for one in found}) == 2
    numbers = [one["request_id"] for one in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(bodies)))


def test_numbers_of_requests_go_on_after_a_restart(trained):
    before = trained[3].call("POST", "/fl_predict", json=BODY)["request_id"]
    trained[3].close()
    trained[3].start()
    after = trained[3].call("POST", "/fl_predict", json={**BODY, "encrypted": False})
    assert after["request_id"] == before + 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"age": 17}, "age"),
        ({"age": 10**400}, "age"),
        ({"credit": "much"}, "credit"),
        ({"purpose": "yacht"}, "purpose"),
        ({"colour": "red"}, "colour"),
        ({"credit_amount": 5}, "twice"),
        ({"encrypted": "yes"}, "encrypted"),
        ({"job": {"level": 2}}, "job"),
    ],
)
def test_a_body_that_is_no_loan_is_refused(trained, change, word):
    answer = trained[2].call("POST", "/fl_predict", 422, json={**BODY, **change})
    assert word in answer["detail"]


def test_a_number_that_json_does_not_have_is_refused(trained):
    content = json.dumps({**BODY, "credit": float("nan")})
    headers = {"Content-Type": "application/json"}
    trained[2].call("POST", "/fl_predict", 422, content=content, headers=headers)


def test_without_a_model_for_the_call_there_is_no_prediction(trained, tmp_path):
    agent = Agent(tmp_path, "lender_9", trained.server.url)
    try:
        answer = agent.call("POST", "/fl_predict", 409, json=BODY)
        assert answer["type"].endswith("no-federated-model") and "/fl_train" in answer["detail"]
    finally:
        agent.close()


def test_a_server_with_another_model_gets_no_ciphertext(trained):
    answer = trained[2].call("POST", "/fl_predict", 409, json={**BODY, "encrypted": True})
    assert answer["type"].endswith("model-not-compiled") and trained.run_id[:8] in answer["detail"]


def test_a_decision_on_encrypted_data(trained, tmp_path, deployment, programs_of, layout, bodies):
    """The model's own decision, by a server that was given ciphertexts only."""
    server = started(tmp_path, deployment, "levelled")
    agent = trained[2]
    agent.close()
    try:
        agent.start(server=server.url)
        program = programs_of(7)["decide"]
        for good in (True, False):
            body = next(
                body
                for body in bodies
                if (program.scores(layout.encode(record_of(body, layout))[None, :])[0][0] >= 0)
                == good
            )
            found = agent.call("POST", "/fl_predict", json={**body, "encrypted": True})
            assert found.pop("request_id") > 0
            assert found == {
                "probability": None,
                "label": "good" if good else "bad",
                "method": "federated-encrypted",
                "color": "green" if good else "red",
            }
        left = [path for path in (agent.wanted.home / "decisions").rglob("*") if path.is_file()]
        assert [path.name for path in left] == [".triseal-folder"]
    finally:
        agent.close()
        agent.start(server=trained.server.url)
        server.stop()
