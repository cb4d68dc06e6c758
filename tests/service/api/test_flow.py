"""The life of an application over HTTP, and the order of its steps."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY, EXPLAIN, PublicModel
from tests.service.driver import Application, Server, bearer, code_of
from trials.stand_in import CLIENT_FILES, message, public_model, result_of


def events_of(application: Application) -> Iterator[dict[str, Any]]:
    path = f"/applications/{application.client_id}/events"
    with application.server.http.stream("GET", path, headers=application.auth()) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                assert name == "state"
                yield json.loads(line.removeprefix("data:"))


def test_health_and_model_are_public(server: Server) -> None:
    assert server.http.get("/health").json() == {
        "status": "ok",
        "engine": "clear",
        "model_version": public_model().model_version,
    }
    model = server.http.get("/model").json()
    assert "schema" in model
    assert PublicModel.model_validate(model) == public_model()
    client = server.http.get("/model/client")
    assert client.content == CLIENT_FILES
    assert client.headers["content-type"] == "application/zip"
    assert hashlib.sha256(client.content).hexdigest() == model["client_sha256"]


def test_file_may_be_sent_again_by_either_method(server: Server) -> None:
    application = server.joined()
    first = application.parties[0]
    receipts = [application.send(first, way=way).json() for way in ("PUT", "PUT", "POST", "PUT")]
    assert receipts == receipts[:1] * 4
    other = application.send(first, payload=b"other bits", way="PUT").json()
    slots = application.state()["slots"]
    (slot,) = (s for s in slots if (s["party"], s["file_name"]) == (first, ENCRYPTED_INPUTS))
    assert slot["sha256"] == other["sha256"] != receipts[0]["sha256"]
    path = f"/applications/{application.client_id}/traffic"
    items = server.http.get(path, headers=application.auth()).json()["items"]
    assert [(i["sender"], i["receiver"], i["what"], i["bytes"]) for i in items] == [
        (first, "server", ENCRYPTED_INPUTS, receipt["bytes"]) for receipt in [*receipts, other]
    ]
    application.erase()


def test_application_from_opening_to_explanation(server: Server) -> None:
    application = server.open()
    assert len(application.client_id) == 32
    first, *_, last = application.parties
    for party in application.parties:
        assert application.join(party).status_code == 200
    state = application.state()
    assert (state["state"], state["joined"]) == ("open", application.parties)
    assert f"{last}: {ENCRYPTED_INPUTS}" in state["missing"]["decide"]

    sent = {}
    for party in application.parties:
        sent[party, ENCRYPTED_INPUTS] = message(party, ENCRYPTED_INPUTS)
        receipt = application.send(party).json()
        assert receipt["client_type"] == party
        assert receipt["sha256"] == hashlib.sha256(sent[party, ENCRYPTED_INPUTS]).hexdigest()
        assert receipt["bytes"] == len(sent[party, ENCRYPTED_INPUTS])
        assert receipt["state"] == "open"
    sent[first, EVALUATION_KEY] = message(first, EVALUATION_KEY, bytes(3_000_000))
    receipt = application.send(first, EVALUATION_KEY, bytes(3_000_000)).json()
    assert receipt["state"] == "ready"

    seconds = application.run().json()
    assert isinstance(seconds, float) and 0 < seconds < 5
    assert application.output().content == result_of("decide", sent)
    assert application.output().headers["content-type"] == "application/octet-stream"
    assert application.run().json() == seconds, "a program that is done is not run again"
    assert application.state()["state"] == "decided"

    sent[last, "explanation_inputs"] = message(last, "explanation_inputs")
    assert application.explanation().status_code == 200
    assert application.run(EXPLAIN).status_code == 200
    assert application.output(EXPLAIN).content == result_of(EXPLAIN, sent)
    state = application.state()
    assert state["state"] == "explained"
    assert state["programs"]["explain"]["progress"] == 1
    assert state["missing"] == {"decide": [], "explain": [], "reasons": []}


def test_program_defaults_to_decide(server: Server) -> None:
    application = server.filled()
    application.permit()
    data = {"client_id": application.client_id}
    auth = application.auth(application.parties[-1])
    assert server.http.post("/run_fhe", data=data, headers=auth).status_code == 200
    assert server.http.post("/get_output", data=data, headers=auth).status_code == 200
    assert application.state()["state"] == "decided"


def test_join_codes_work_once_and_for_their_party(server: Server) -> None:
    application = server.open()
    first, second, *_ = application.parties
    assert code_of(application.join(first, application.codes[second])) == "not-authorised"
    assert code_of(application.join(first, "")) == "not-authorised"
    assert code_of(application.join("nobody")) == "unknown-party"
    assert application.join(first).status_code == 200
    again = application.join(first)
    assert again.status_code == 401
    assert again.headers["www-authenticate"] == "Bearer"
    assert code_of(again) == "not-authorised"
    assert application.codes[first] not in again.text
    assert len(set(application.codes.values())) == len(application.codes)


def test_run_out_of_order_names_the_missing_steps(server: Server) -> None:
    application = server.joined()
    first, second, *_ = application.parties
    assert code_of(application.output()) == "out-of-step"
    application.send(first)
    answer = application.run()
    assert (answer.status_code, code_of(answer)) == (409, "out-of-step")
    detail = answer.json()["detail"]
    assert f"{second}: {ENCRYPTED_INPUTS}" in detail
    assert f"{first}: {EVALUATION_KEY}" in detail
    assert f"{first}: {ENCRYPTED_INPUTS}" not in detail
    assert "decide" in application.run(EXPLAIN).json()["detail"]

    application = server.filled()
    assert code_of(application.run(EXPLAIN)) == "out-of-step"
    application.run()
    answer = application.run(EXPLAIN)
    assert code_of(answer) == "out-of-step"
    assert "explanation_inputs" in answer.json()["detail"]
    assert code_of(application.output(EXPLAIN)) == "out-of-step"


def test_slot_may_be_replaced_until_it_is_used(server: Server) -> None:
    application = server.filled()
    party = application.parties[1]
    before = len(server.blobs())
    again = application.send(party, payload=b"another")
    assert again.status_code == 200
    assert len(server.blobs()) == before, "the replaced file is gone"
    application.run()
    late = application.send(party, payload=b"too late")
    assert (late.status_code, code_of(late)) == (409, "already-sent")
    slot = next(s for s in application.state()["slots"] if s["party"] == party)
    assert slot["sha256"] == again.json()["sha256"]
    # Not used by `decide`, so it may be sent until `explain` has run.
    assert application.explanation().status_code == 200
    assert application.explanation().status_code == 200
    application.run(EXPLAIN)
    assert code_of(application.explanation()) == "already-sent"


def test_concurrent_requests_share_one_run(server: Server) -> None:
    application = server.filled(b"sleep 1")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: application.run(), range(6)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.json() for a in answers}) == 1, "all wait for the same run"
    assert application.state()["programs"]["decide"]["attempts"] == 1


def test_slots_of_an_active_run_cannot_be_replaced(server: Server) -> None:
    application = server.filled(b"sleep 1.5")
    states = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(application.run)
        for state in events_of(application):
            states.append(state)
            if state["state"] == "running" and state["programs"]["decide"]["progress"] > 0:
                break
        resent = application.send(application.parties[1])
        assert code_of(resent) == "already-running"
        assert code_of(application.run(EXPLAIN)) == "already-running"
        assert code_of(application.output()) == "out-of-step"
        # Uploads of other applications are still checked.
        assert server.filled().state()["state"] == "ready"
        assert not running.done()
        assert running.result().json() >= 1.5


def test_a_run_continues_after_its_client_disconnects(server: Server) -> None:
    application = server.filled(b"sleep 1")
    application.permit()
    url = httpx.URL(server.http.base_url).join("/run_fhe")
    with pytest.raises(httpx.ReadTimeout):
        data = {"client_id": application.client_id}
        httpx.post(url, data=data, headers=application.auth(), timeout=0.4)
    assert application.state()["state"] == "running"
    for state in events_of(application):
        if state["state"] != "running":
            break
    assert application.run().json() >= 1
    assert application.output().status_code == 200


def test_events_report_each_change_until_the_end(server: Server) -> None:
    application = server.filled(b"sleep 1")
    seen: list[dict[str, Any]] = []
    first_seen = threading.Event()

    def listen() -> None:
        for state in events_of(application):
            seen.append(state)
            first_seen.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert first_seen.wait(10)
    assert application.run().status_code == 200
    assert application.erase().status_code == 204
    listener.join(10)
    assert not listener.is_alive(), "the stream ends with the application"
    assert [seen[0]["state"], seen[-1]["state"]] == ["ready", "decided"]
    shares = [s["programs"]["decide"]["progress"] for s in seen]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) >= 3


def test_erase_removes_everything(server: Server) -> None:
    before = server.blobs()
    application = server.filled()
    application.run()
    assert len(server.blobs()) > len(before)
    assert code_of(server.http.delete(f"/applications/{application.client_id}")) == "not-authorised"
    assert application.erase().status_code == 204
    assert server.blobs() == before
    for answer in (application.run(), application.output(), application.erase()):
        assert (answer.status_code, code_of(answer)) == (404, "unknown-application")
    files = [path for path in server.data.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert not any(application.client_id.encode() in path.read_bytes() for path in files)


def test_erase_stops_a_running_application(server: Server) -> None:
    before = server.blobs()
    application = server.filled(b"sleep 1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(application.run)
        while application.state()["state"] != "running":
            pass
        assert application.erase().status_code == 204
        assert code_of(running.result()) == "unknown-application"
    assert server.blobs() == before


def test_secrets_are_kept_as_digests_and_stay_out_of_the_log(server: Server) -> None:
    application = server.filled()
    application.run()
    database = b"".join(path.read_bytes() for path in server.data.glob("*.sqlite3*"))
    for secret in (*application.tokens.values(), *application.codes.values()):
        assert secret.encode() not in database
        assert secret not in server.log()
    assert f'"application": "{application.client_id}"' in server.log(), "ids are no secrets"


def test_files_are_readable_by_their_owner_only(server: Server) -> None:
    server.filled()
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert (server.data / "blobs").stat().st_mode & 0o777 == 0o700
    files = [path for path in server.data.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


@pytest.mark.parametrize(
    "path", ["/applications/{}", "/applications/{}/events"], ids=["state", "events"]
)
def test_state_needs_a_token_of_that_application(server: Server, path: str) -> None:
    mine, other = server.joined(), server.joined()
    url = path.format(mine.client_id)
    answers: list[httpx.Response] = [
        server.http.get(url),
        server.http.get(url, headers=bearer("wrong")),
        server.http.get(url, headers=other.auth()),
        server.http.get(url, headers={"Authorization": "Basic eDp5"}),
    ]
    assert {(a.status_code, code_of(a)) for a in answers} == {(401, "not-authorised")}
