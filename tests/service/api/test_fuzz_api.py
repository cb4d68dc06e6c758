"""Requests generated from the OpenAPI document, against a server in a separate process.

They are made without any token, and as a party of a real application. No response is a server
error, and each matches the document: status, content type, headers, schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.schemas import APIOperation

from contract.sessions import Hosted
from contract.trainings import TrainingHosted
from engines.interface import DECIDE, EXPLAIN, PROGRAMS
from parties.sessions_client import SessionsClient
from parties.trainings_client import TrainingsClient
from tests.service.api.test_openapi import OPERATIONS
from tests.service.driver import Application, Server, bearer
from trials.stand_in import message
from utils.tokens import new_id

FEW = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # what fails is small enough
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "GET /applications/{client_id}/events"
OF_PARTIES = [
    call
    for call, operation in OPERATIONS.items()
    if (operation.get("security") or "{client_id}" in call) and call != ENDLESS
]


@dataclass
class Insider:
    """A party of an application that has run, an owner with a session, a training's coordinator
    and the operator.
    """

    server: Server
    application: Application
    hosted: Hosted
    training: TrainingHosted

    @property
    def operator(self) -> str:
        return (self.server.data / "operator_token").read_text().strip()

    def enter(self, case: Case, call: str, program: str, party: str, slot: str) -> None:
        """Replace the ids, names and tokens of a request with valid ones."""
        client_id = self.application.client_id
        if "client_id" in case.path_parameters:
            case.path_parameters["client_id"] = client_id
        if "program" in case.path_parameters:
            case.path_parameters["program"] = program
        if "file_name" in case.path_parameters:
            case.path_parameters["file_name"] = slot
        if isinstance(case.body, dict):
            truth = {"client_id": client_id, "program": program, "client_type": party}
            truth |= {"party": party, "file_name": slot, "code": self.application.codes[party]}
            truth |= {"readers": [party], "files": message(party, slot), "receiver": None}
            case.body.update({k: v for k, v in truth.items() if k in case.body})
        if "session_id" in case.path_parameters:
            case.path_parameters["session_id"] = self.hosted.session_id
        token = self.application.tokens[party]
        if "operator" in schemes_of(call):
            token = self.operator
        if "session" in schemes_of(call):
            token = self.hosted.token
        if "training_id" in case.path_parameters:
            case.path_parameters["training_id"] = self.training.training_id
            token = self.training.token
        case.headers["Authorization"] = f"Bearer {token}"


@pytest.fixture(scope="module")
def insider(server: Server) -> Callable[[], Insider]:
    """An application that is created again when the last one is gone."""
    kept: list[Application] = []
    sessions: list[Hosted] = []
    trainings: list[TrainingHosted] = []
    partner = _partner(server)

    def give() -> Insider:
        if not sessions or not _connected(server, sessions[-1]):
            sessions.append(_session(server, partner))
        if not kept or not _whole(kept[-1]):
            application = server.filled()
            assert application.run().status_code == 200
            kept.append(application)
        if not trainings or not _open(server, trainings[-1]):
            with TrainingsClient(server.url, 30) as client:
                key = Ed25519PrivateKey.generate()
                trainings.append(client.host_training(key, ["bank_1", "bank_2", "bank_3"]))
        return Insider(server, kept[-1], sessions[-1], trainings[-1])

    return give


def _partner(server: Server) -> str:
    """Return the token of a registered partner."""
    operator = bearer((server.data / "operator_token").read_text().strip())
    body = {"partner_id": f"bank_{new_id()}", "partner_type": "bank", "key": "ab" * 32}
    return str(server.http.post("/operator/partners", json=body, headers=operator).json()["token"])


def _session(server: Server, partner: str) -> Hosted:
    with SessionsClient(server.url, 30) as client:
        hosted = client.host_session(Ed25519PrivateKey.generate())
        client.connect_session(hosted.session_id, partner, hosted.code)
        return hosted


def _connected(server: Server, hosted: Hosted) -> bool:
    found = server.http.get(f"/sessions/{hosted.session_id}", headers=bearer(hosted.token))
    return found.is_success and found.json()["state"] == "connected"


def _open(server: Server, training: TrainingHosted) -> bool:
    path = f"/trainings/{training.training_id}"
    found = server.http.get(path, headers=bearer(training.token))
    return found.is_success and found.json()["state"] == "open"


def _whole(application: Application) -> bool:
    """Return True if it exists, with all its tokens."""
    path, http = f"/applications/{application.client_id}", application.server.http
    seen = [http.get(path, headers=application.auth(party)) for party in application.parties]
    return all(answer.is_success for answer in seen)


@pytest.fixture(scope="module")
def operation(server: Server) -> Callable[[str], APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_url(f"{server.http.base_url}/openapi.json")

    @lru_cache
    def named(call: str) -> APIOperation[Any, Any, Any, Any]:
        method, _, path = call.partition(" ")
        return schema[path][method]

    return named


@pytest.fixture(scope="module")
def session() -> requests.Session:
    return requests.Session()


def schemes_of(call: str) -> set[str]:
    """Return the names of the security schemes that a call accepts."""
    return {name for each in OPERATIONS[call].get("security", []) for name in each}


def bounded(case: Case) -> Case:
    """Remove `wait`, with which the server delays its response."""
    for values in (case.query, case.body):
        wait = values.get("wait") if isinstance(values, dict) else None
        if isinstance(wait, int | float) and 0 < wait <= 25:
            values["wait"] = 0.01
    return case


MODES = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.mark.parametrize("call", OPERATIONS)
def test_unauthenticated_requests_match_the_document(
    call: str,
    operation: Callable[[str], APIOperation[Any, Any, Any, Any]],
    session: requests.Session,
) -> None:
    statuses = set()

    @FEW
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        mode = data.draw(MODES)
        case = bounded(data.draw(operation(call).as_strategy(generation_mode=mode)))
        answer = case.call_and_validate(session=session, checks=CHECKS, timeout=30)
        statuses.add(answer.status_code)

    ask()
    if OPERATIONS[call].get("security"):
        assert not [status for status in statuses if status < 400], (
            "the requests have no valid token"
        )


@pytest.mark.parametrize("call", OF_PARTIES)
def test_party_requests_match_the_document(
    call: str,
    operation: Callable[[str], APIOperation[Any, Any, Any, Any]],
    session: requests.Session,
    insider: Callable[[], Insider],
) -> None:
    statuses = set()

    @FEW
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        inside = insider()
        mode = data.draw(MODES)
        case = bounded(data.draw(operation(call).as_strategy(generation_mode=mode)))
        party = data.draw(st.sampled_from(inside.application.parties))
        program = data.draw(st.sampled_from([*PROGRAMS, DECIDE, EXPLAIN]))
        slot = data.draw(st.sampled_from(["encrypted_inputs", "evaluation_key"]))
        inside.enter(case, call, program, party, slot)
        answer = case.call_and_validate(session=session, checks=CHECKS, timeout=30)
        statuses.add(answer.status_code)

    ask()
    if schemes_of(call) & {"witness", "partner", "owner", "any_owner"}:
        assert statuses <= {401, 413, 422}, "nothing is given to a party of an application"
    elif OPERATIONS[call].get("security"):
        assert statuses - {401}, "the valid token is accepted"
