"""Several servers on one PostgreSQL and object store: all are equivalent, and one may die."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.interface import DECIDE
from governance.permits import Use, issue
from parties.client import ServerClient
from parties.trainings_client import TrainingPost, TrainingsClient
from tests.service.applications.test_relay import heard, say
from tests.service.driver import Application, Server, bearer
from tests.service.jobs.test_waiting import until
from tests.service.sessions.pairs import hex_of
from tests.service.test_life import expected
from utils.errors import PermitSpent


@pytest.fixture
def servers(tmp_path: Path, postgres, object_store) -> Iterator[list[Server]]:
    url, options = object_store
    shared = {
        "database_url": postgres(),
        "blob_url": url,
        "blob_options": json.dumps(options),
        "lease_seconds": 1,
        "log_key": "5a" * 32,
    }
    running = [Server(tmp_path / name, **shared) for name in ("a", "b")]
    yield [server.wait() for server in running]
    for server in running:
        server.stop()


def at(application: Application, server: Server) -> Application:
    """Return the same application, as seen through another server."""
    return replace(application, server=server)


def test_application_is_served_by_all_servers_and_survives_one(servers: list[Server]) -> None:
    a, b = servers
    mine = a.open()
    theirs = at(mine, b)
    first, *others = mine.parties
    for party in mine.parties:
        assert theirs.join(party).status_code == 200

    told: list[str] = []

    def listen() -> None:
        told.extend(m["step"] for m in heard(theirs, first, wait=20))

    listener = threading.Thread(target=listen)
    listener.start()
    assert say(mine, others[0]).status_code == 200
    listener.join(10)
    assert told == ["hello"], "one who waits at a server is woken by what another was told"

    assert mine.send(first, "evaluation_key").status_code == 200
    for party, server in zip(mine.parties, (a, b, a), strict=True):
        order = b"sleep 2" if party == first else b"bits"
        assert at(mine, server).send(party, payload=order).status_code == 200

    both = [server.data / "blobs" for server in servers]
    assert [folder for folder in both if folder.exists() and any(folder.rglob("*"))] == []

    mine.queue()
    until(theirs, "running")
    operator = (a.data / "operator_token").read_text()
    jobs = a.http.get("/operator/jobs", headers={"Authorization": f"Bearer {operator}"}).json()
    doing = jobs["items"][0]["server"]
    dying, living = (a, b) if f'"node": "{doing}"' in a.log() else (b, a)
    dying.kill()
    left = at(mine, living)
    assert left.run().status_code == 200
    program = left.state()["programs"][DECIDE]
    assert (program["status"], program["attempts"]) == ("done", 2)
    assert left.output().content == expected(left, b"sleep 2")
    assert left.erase().status_code == 204


def test_servers_append_to_one_log_without_forks(servers: list[Server]) -> None:
    def some(server: Server) -> None:
        for _ in range(3):
            application = server.filled()
            assert application.run().status_code == 200
            assert application.erase().status_code == 204

    start = servers[0].http.get("/log").json()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, servers * 2))
    audits = [server.http.get("/integrity/verify").json() for server in servers]
    assert [audit["healthy"] for audit in audits] == [True, True]
    sizes = {audit["size"] for audit in audits}
    assert sizes == {start["size"] + 4 * 3 * 5}, "3 permits, a use and an erasure each"
    notes = {server.http.get("/log/checkpoint").text for server in servers}
    assert len(notes) == 1 and start["origin"] in notes.pop()


def test_run_can_be_cancelled_through_another_server(servers: list[Server]) -> None:
    a, b = servers
    application = a.filled(b"sleep 15")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with suppress(httpx.TransportError):
            answers.append(application.run())

    asking = threading.Thread(target=ask)
    asking.start()
    until(at(application, b), "running")
    assert at(application, b).cancel().json()["status"] == "cancelled"
    asking.join(10)
    assert [answer.status_code for answer in answers] == [409]
    assert at(application, b).send(application.parties[0]).status_code == 200
    assert application.run().status_code == 200
    assert at(application, b).output().content == expected(application)


def test_a_session_is_served_by_all_servers_and_its_permit_counts_once(
    servers: list[Server],
) -> None:
    owner, partner = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    operator = bearer((servers[0].data / "operator_token").read_text())
    body = {"partner_id": "bank_1", "partner_type": "bank", "key": hex_of(partner)}
    made = servers[0].http.post("/operator/partners", json=body, headers=operator)
    a, b = (ServerClient(server.url, 30) for server in servers)
    hosted = a.host_session(owner)
    sid = hosted.session_id
    with ThreadPoolExecutor(8) as pool:
        begun = time.monotonic()
        waiting = pool.submit(a.session_messages, sid, hosted.token, wait=25, seen="waiting")
        connected = b.connect_session(sid, made.json()["token"], hosted.code)
        assert waiting.result().state == "connected"
        waiting = pool.submit(a.session_messages, sid, hosted.token, wait=25, seen="connected")
        b.post_session_message(sid, connected.token, 1, b"hello")
        assert len(waiting.result().items) == 1
        assert time.monotonic() - begun < 15, "a call at one server is woken by the other"
        use = Use(
            "owner", "ab" * 32, "bank_1", "statistic", requester=bytes.fromhex(hex_of(partner))
        )
        permit = issue(owner, use, time.time())
        asked = [
            pool.submit(client.use_permit, sid, hosted.token, permit, "cd" * 32, {})
            for client in (a, b) * 4
        ]
    spent = [isinstance(each.exception(), PermitSpent) for each in asked]
    assert sorted(spent) == [False] + [True] * 7
    assert all(s.http.get("/integrity/verify").json()["healthy"] for s in servers)


def test_a_training_is_served_by_all_servers(servers: list[Server]) -> None:
    a, b = (TrainingsClient(server.url, 30) for server in servers)
    names = ["bank_1", "bank_2", "bank_3"]
    hosted = a.host_training(Ed25519PrivateKey.generate(), names)
    tid = hosted.training_id
    tokens = [b.join_training(tid, name, hosted.codes[name]).token for name in names]
    with ThreadPoolExecutor(4) as pool:
        coming = pool.submit(a.exchange, tid, hosted.token, wait=25, least=3)
        lenders = [
            pool.submit(client.exchange, tid, token, [post], wait=25)
            for client, token in zip((a, b, b), tokens, strict=True)
            for post in [TrainingPost(1, "coordinator", b"masked")]
        ]
        begun = time.monotonic()
        found = coming.result(30)
        assert sorted(m.sender for m in found.messages) == names
        post = TrainingPost(1, None, b"sum")
        a.exchange(tid, hosted.token, [post], after=found.after)
        assert [lender.result(30).messages[0].body for lender in lenders] == [b"sum"] * 3
        assert time.monotonic() - begun < 15, "woken by what was posted at the other server"
        waiting = pool.submit(b.exchange, tid, hosted.token, after=found.after, wait=25)
        a.close_training(tid, hosted.token)
        assert waiting.result(15).state == "closed"
