"""The server's calls for witnesses: who may make them, and what becomes of seeds and statements."""

import hashlib
import time

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.interface import DECIDE, ENCRYPTED_INPUTS
from engines.registry import load_server_engine
from parties.joint.files import MemberFiles
from tests.witness.running import agreed_and_run
from utils.errors import (
    AlreadySent,
    InvalidRequest,
    NotAuthorised,
    ResultNotWitnessed,
    UnknownName,
)
from utils.signed_requests import WINDOW_SECONDS, authorization, signer_of
from witness.client import WitnessClient
from witness.judge import Judge

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
REQUEST = ("GET", "/witness/tasks?wait=0", b"")
NOW = 1_800_000_000.0


def test_signed_request_names_its_signer():
    header = authorization(KEY, *REQUEST, NOW)
    assert signer_of(header, *REQUEST, NOW + WINDOW_SECONDS, ["0" * 64, PUBLIC]) == PUBLIC


@pytest.mark.parametrize(
    ("request_", "now", "known"),
    [
        (("POST", *REQUEST[1:]), NOW, [PUBLIC]),
        (("GET", "/witness/tasks?wait=1", b""), NOW, [PUBLIC]),
        ((*REQUEST[:2], b"x"), NOW, [PUBLIC]),
        (REQUEST, NOW + WINDOW_SECONDS + 1, [PUBLIC]),
        (REQUEST, NOW - WINDOW_SECONDS - 1, [PUBLIC]),
        (REQUEST, NOW, ["0" * 64]),
        (REQUEST, NOW, []),
    ],
)
def test_any_other_request_is_refused(request_, now, known):
    with pytest.raises(NotAuthorised):
        signer_of(authorization(KEY, *REQUEST, NOW), *request_, now, known)


def test_malformed_headers_are_refused():
    header = authorization(KEY, *REQUEST, NOW)
    other = authorization(Ed25519PrivateKey.generate(), *REQUEST, NOW)
    mixed = " ".join([*header.split()[:3], other.split()[3]])
    for wrong in ("", "Bearer x", header + " ", header.upper(), header[:-1], mixed):
        with pytest.raises(NotAuthorised):
            signer_of(wrong, *REQUEST, NOW, [PUBLIC])


def test_application_names_some_witnesses_all_or_none(watched):
    server, witness = watched
    named = [{"name": "Auditor", "key": witness.public}]
    url = f"{server.url}/applications"
    with httpx.Client(trust_env=False) as http:
        assert http.get(f"{server.url}/witnesses").json() == {"items": named}
        for body, found in (({}, named), ({"witnesses": ["Auditor"]}, named)):
            assert http.post(url, json=body).json()["witnesses"] == found
        assert http.post(url, json={"witnesses": []}).json()["witnesses"] == []
        refused = http.post(url, json={"witnesses": ["Other"]})
        assert (refused.status_code, refused.json()["type"][-15:]) == (422, InvalidRequest.code)


def test_seed_is_for_witnesses_only_and_removed_with_their_statement(
    watched, session, table, witness
):
    agreed_and_run(table)
    server = watched[0]
    token = MemberFiles(session.connection.store, session.client_id, "bank").token()
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        for headers in ({}, {"Authorization": f"Bearer {token}"}):
            for path in ("tasks", f"tasks/{'0' * 32}/result"):
                answer = http.get(f"/witness/{path}", headers=headers)
                assert answer.status_code == 401
        stranger = authorization(KEY, "GET", "/witness/tasks", b"", time.time())
        answer = http.get("/witness/tasks", headers={"Authorization": stranger})
        assert answer.status_code == 401
    with WitnessClient(server.url, 30, witness.key) as client:
        (task,) = client.tasks().items
        assert (task.client_id, task.program) == (session.client_id, DECIDE)
        found = client.result(task.id)
        assert len(found.seed) == 32
        stored = [path.read_bytes() for path in server.data.rglob("*") if path.is_file()]
        assert any(found.result in data for data in stored)
        assert not any(found.seed in data or found.seed.hex().encode() in data for data in stored)
        judge = Judge(load_server_engine("levelled", server.deployment), witness.key)
        assert judge.holds(task.program, task.model_sha256)
        assert not judge.holds(task.program, "0" * 64) and not judge.holds("x", task.model_sha256)
        messages = {
            key: client.message(task.id, *key, limit) for key, limit in judge.slots(DECIDE).items()
        }
        bank = hashlib.sha256(messages["bank", ENCRYPTED_INPUTS]).hexdigest()
        assert bank == session.state().sha256_of("bank", ENCRYPTED_INPUTS)
        with pytest.raises(UnknownName):
            client.message(task.id, "bank", "other", 1 << 20)
        with pytest.raises(ResultNotWitnessed):
            client.state(task.id, bytes(64), None)
        evaluated = judge.evaluate(task.client_id, DECIDE, messages)
        signed = judge.judge(evaluated, found.result, found.seed).signature
        client.state(task.id, signed, None)
        client.state(task.id, signed, None)  # a lost response is repeated
        with pytest.raises(AlreadySent):
            client.state(task.id, None, "result_differs")
        assert client.tasks().items == ()
        for gone in (task.id, "0" * 32):
            with pytest.raises(UnknownName):
                client.result(gone)
