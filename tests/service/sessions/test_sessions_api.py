"""Sessions over a real server, by the calls that the agents of owners and institutions make."""

from __future__ import annotations

import base64
import os
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.sessions import LARGEST_SESSION_MESSAGE, Connected, Hosted, SessionEventRequest
from governance.permits import Use, issue
from parties.client import ServerClient
from service.api.sessions import LARGEST_SESSION_REQUEST
from service.sessions.session_log import owner_id
from tests.service.driver import Server, bearer, refused
from tests.service.sessions.pairs import RECEIPT, REQUEST, hex_of
from utils.errors import (
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    PermitSpent,
    UnknownName,
)
from utils.signed_requests import OWNER, SCHEME, authorization
from web.rate_limits import CONNECTS, ERASURES, HOSTINGS

BANK = Ed25519PrivateKey.generate()
CALLS = 300
"""Calls per minute of a token or address: few, to reach the limit."""


class Sessions:
    """A server with partners, and a client of it."""

    def __init__(self, server: Server) -> None:
        self.server, self.http = server, server.http
        self.operator = bearer((server.data / "operator_token").read_text())
        self.client = ServerClient(server.url, 30)
        self.bank, self.bank_2 = self.register("bank_1"), self.register("bank_2")

    def register(self, name: str) -> str:
        body = {"partner_id": name, "partner_type": "bank", "key": hex_of(BANK)}
        made = self.http.post("/operator/partners", json=body, headers=self.operator)
        return str(made.json()["token"])

    def session(self, owner: Ed25519PrivateKey) -> tuple[Hosted, Connected]:
        hosted = self.client.host_session(owner)
        return hosted, self.client.connect_session(hosted.session_id, self.bank, hosted.code)

    def logs(self, **filters: Any) -> list[dict[str, Any]]:
        found = self.http.get("/logs", params=filters, headers=self.operator)
        return list(found.json()["items"])


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    server = Server(tmp_path_factory.mktemp("sessions") / "data", token_calls=CALLS).wait()
    yield Sessions(server)
    server.stop()
    assert "Exception in ASGI application" not in server.log()


@pytest.fixture
def owner() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def from_address(sessions: Sessions, address: str) -> httpx.Client:
    """Return a client whose calls come from another address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=sessions.server.url, transport=transport, timeout=30)


def test_two_agents_talk_and_the_owner_logs_what_it_allows(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    client = sessions.client
    hosted = client.host_session(owner)
    sid = hosted.session_id
    before = client.session(sid, hosted.token)
    assert (before.state, before.owner_key, before.partner_key) == ("waiting", hex_of(owner), None)
    largest = os.urandom(LARGEST_SESSION_MESSAGE)
    assert client.post_session_message(sid, hosted.token, 1, largest) == 1
    connected = client.connect_session(sid, sessions.bank, hosted.code)
    assert connected.owner_key == hex_of(owner)
    facts = client.session(sid, connected.token)
    assert (facts.state, facts.partner_id, facts.partner_key) == (
        "connected",
        "bank_1",
        hex_of(BANK),
    )
    (message,) = client.session_messages(sid, connected.token).items
    assert base64.b64decode(message.body) == largest
    event = SessionEventRequest(
        kind="answer", outcome="allowed", digests={"request": REQUEST}, details={"why": "a loan"}
    )
    answer = client.log_event(sid, hosted.token, event)
    use = Use(
        iss="owner",
        sub=REQUEST,
        aud="bank_1",
        action="statistic",
        requester=BANK.public_key().public_bytes_raw(),
    )
    permit = issue(owner, use, time.time())
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(client.use_permit, sid, hosted.token, permit, RECEIPT, {}) for _ in range(4)
        ]
    spent = [isinstance(each.exception(), PermitSpent) for each in asked]
    assert sorted(spent) == [False, True, True, True]
    (line,) = sessions.logs(user_id=owner_id(hex_of(owner)), kind="use")
    assert line["index"] == next(each.result() for each in asked if not each.exception()) > answer
    client.close_session(sid, connected.token)
    client.close_session(sid, hosted.token)
    assert client.session(sid, hosted.token).state == "closed"
    assert sessions.http.get("/integrity/verify").json()["healthy"] is True


def test_a_waiting_call_ends_at_a_message_and_at_a_change_of_state(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    client = sessions.client
    hosted = client.host_session(owner)
    sid, found = hosted.session_id, []

    def listen(**query: Any) -> threading.Thread:
        waiting = threading.Thread(
            target=lambda: found.append(
                client.session_messages(sid, hosted.token, wait=25, **query)
            )
        )
        waiting.start()
        return waiting

    begun = time.monotonic()
    waiting = listen(seen="waiting")
    connected = client.connect_session(sid, sessions.bank, hosted.code)
    waiting.join(20)
    listen(seen="waiting").join(20)  # as if the change had come before the call
    waiting = listen(seen="connected")
    client.post_session_message(sid, connected.token, 1, b"hello")
    waiting.join(20)
    waiting = listen(after=1, seen="connected")
    client.close_session(sid, connected.token)
    waiting.join(20)
    assert time.monotonic() - begun < 15
    assert [(each.state, len(each.items)) for each in found] == [
        ("connected", 0),
        ("connected", 0),
        ("connected", 1),
        ("closed", 0),
    ]


def test_one_of_several_partners_gets_the_session(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    hosted = sessions.client.host_session(owner)

    def connect(token: str) -> Connected | None:
        try:
            return sessions.client.connect_session(hosted.session_id, token, hosted.code)
        except NotAuthorised:
            return None

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(connect, [sessions.bank, sessions.bank_2] * 2))
    assert len([each for each in found if each is not None]) == 1


def test_calls_are_strict(sessions: Sessions, owner: Ed25519PrivateKey) -> None:
    http, (hosted, connected) = sessions.http, sessions.session(owner)
    path = f"/sessions/{hosted.session_id}"
    good = bearer(hosted.token)
    refused(http.get(path), 401, "not-authorised")
    refused(http.get(f"/sessions/{'0' * 32}", headers=good), 422, "unknown-name")
    for wrong in ("x", "A" * 32, f"{hosted.session_id}%0a", "..%2flog"):
        assert http.get(f"/sessions/{wrong}", headers=good).status_code in (404, 422)
    posts: list[dict[str, Any]] = [
        {"number": 0, "body": "YQ=="},
        {"number": True, "body": "YQ"},
        {"number": 1, "body": "Y Q=="},
        {"number": 1, "body": "é"},
        {"number": 1, "body": "YQ==", "more": 1},
    ]
    for body in posts:
        refused(http.post(f"{path}/messages", json=body, headers=good), 422, "invalid-request")
    refused(http.post(f"{path}/messages", json={"number": 1, "body": ""}, headers=good), 422,
            "upload-empty")  # fmt: skip
    large = b"x" * (LARGEST_SESSION_REQUEST + 1)
    refused(http.post(f"{path}/messages", content=large, headers=good), 413, "upload-too-large")
    event = {"kind": "use", "digests": {"request": REQUEST}, "details": {}}
    refused(http.post(f"{path}/events", json=event, headers=good), 422, "invalid-request")
    for details in ('{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": 1.5}'):
        text = f'{{"kind": "request", "digests": {{"request": "{REQUEST}"}}, "details": {details}}}'
        sent = {**good, "Content-Type": "application/json"}
        answer = http.post(f"{path}/events", content=text.encode(), headers=sent)
        refused(answer, 422, "invalid-request")
    query = {"after": 2**31, "wait": 26, "seen": "open"}
    for name, value in query.items():
        answer = http.get(f"{path}/messages", params={name: value}, headers=good)
        refused(answer, 422, "invalid-request")
    use = {"permit": "a.b.c", "receipt": RECEIPT, "details": {}}
    refused(http.post(f"{path}/uses", json=use, headers=good), 403, "permit-invalid")
    refused(
        http.post(f"{path}/uses", json=use, headers=bearer(connected.token)), 403, "forbidden-scope"
    )
    with pytest.raises(InvalidRequest):
        sessions.client.session("../log", hosted.token)
    with pytest.raises(OutOfStep):
        sessions.client.post_session_message(hosted.session_id, hosted.token, 2, b"gap")


def test_hosting_needs_a_signature_that_counts_once(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    body = b'{"nonce": "%s"}' % secrets.token_hex(16).encode()

    def host(scheme: str = OWNER, signed: bytes = body, **change: Any) -> httpx.Response:
        now = change.get("now", time.time())
        header = authorization(owner, "POST", change.get("path", "/sessions"), signed, now, scheme)
        sent = {"Authorization": header, "Content-Type": "application/json"}
        return sessions.http.post("/sessions", content=body, headers=sent)

    refused(sessions.http.post("/sessions", json={}), 401, "not-authorised")
    refused(host(SCHEME), 401, "not-authorised")
    refused(host(signed=b"{}"), 401, "not-authorised")
    refused(host(path="/authorize/use"), 401, "not-authorised")
    refused(host(now=time.time() - 120), 401, "not-authorised")
    now = time.time()
    assert host(now=now).status_code == 201, "the control"
    refused(host(now=now), 409, "already-sent")
    with pytest.raises(InvalidRequest):
        sessions.client.host_session(owner, 24 * 31)
    # Two calls of one second differ.
    assert len({sessions.client.host_session(owner).session_id for _ in range(3)}) == 3


def test_an_owner_without_a_user_id_erases_itself_and_nobody_else(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    client, (hosted, _) = sessions.client, sessions.session(owner)
    other = Ed25519PrivateKey.generate()
    kept, _ = sessions.session(other)
    event = SessionEventRequest(
        kind="request", digests={"request": REQUEST}, details={"why": "a loan"}
    )
    number = client.log_event(hosted.session_id, hosted.token, event)
    user = owner_id(hex_of(owner))
    for stranger in (other, BANK):
        with pytest.raises(NotAuthorised):
            client.erase_owner(stranger, user)
    assert sessions.logs(user_id=user), "the control"
    size = sessions.http.get("/log").json()["size"]
    client.erase_owner(other, owner_id(hex_of(other)))  # nothing is in the log about it
    with pytest.raises(UnknownName):
        client.session(kept.session_id, kept.token)
    assert sessions.http.get("/log").json()["size"] == size
    client.erase_owner(owner, user)
    assert sessions.logs(user_id=user) == []
    (line,) = [line for line in sessions.logs(kind="request") if line["index"] == number]
    assert (line["user_id"], line["details"], line["erased"]) == (None, None, True)
    with pytest.raises(UnknownName):
        client.session(hosted.session_id, hosted.token)
    assert sessions.http.get("/integrity/verify").json()["healthy"] is True


def test_the_sessions_of_a_removed_partner_are_closed(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    hosted, (kept, _) = sessions.client.host_session(owner), sessions.session(owner)
    token = sessions.register("leaving")
    connected = sessions.client.connect_session(hosted.session_id, token, hosted.code)
    gone = sessions.http.delete("/operator/partners/leaving", headers=sessions.operator)
    assert gone.status_code == 204
    with pytest.raises(OutOfStep, match="closed"):
        sessions.client.post_session_message(hosted.session_id, connected.token, 1, b"a")
    assert sessions.client.session(kept.session_id, kept.token).state == "connected"


def test_guesses_of_codes_are_limited_and_do_not_shut_others_out(
    sessions: Sessions, owner: Ed25519PrivateKey
) -> None:
    hosted = sessions.client.host_session(owner)
    path = f"/sessions/{hosted.session_id}/connect"
    guesser = bearer(sessions.register("guesser"))
    with from_address(sessions, "127.0.0.7") as http:
        for _ in range(CONNECTS):
            answer = http.post(path, json={"code": secrets.token_urlsafe(32)}, headers=guesser)
            if answer.status_code == 429:
                break
            refused(answer, 401, "not-authorised")
        last = http.post(path, json={"code": hosted.code}, headers=guesser)
        refused(last, 429, "too-many-requests")
        another = bearer(sessions.bank_2)
        refused(http.post(path, json={"code": "x"}, headers=another), 429, "too-many-requests")
    with from_address(sessions, "127.0.0.8") as http:
        refused(http.post(path, json={"code": "x"}, headers=guesser), 429, "too-many-requests")
    assert sessions.client.connect_session(hosted.session_id, sessions.bank, hosted.code)


PUBLIC = (
    "/log",
    "/log/checkpoint",
    "/log/entries",
    "/log/proofs/inclusion?index=0",
    "/log/proofs/consistency?old=0",
    "/integrity/verify",
)


def test_public_calls_are_limited_by_address(sessions: Sessions) -> None:
    cosignature = {"size": 0, "line": "x"}
    with from_address(sessions, "127.0.0.9") as http:
        for _ in range(CALLS + 1):
            if http.get("/log").status_code == 429:
                break
        for path in PUBLIC:
            refused(http.get(path), 429, "too-many-requests")
        refused(http.post("/log/cosignatures", json=cosignature), 429, "too-many-requests")

        def signed(method: str, path: str, content: bytes) -> int:
            """Return the status of a call by a new key; `{own}` in the path is its owner's id."""
            key = Ed25519PrivateKey.generate()
            path = path.format(own=owner_id(hex_of(key)))
            header = authorization(key, method, path, content, time.time(), OWNER)
            sent = {"Authorization": header, "Content-Type": "application/json"}
            return http.request(method, path, content=content, headers=sent).status_code

        hosted = [signed("POST", "/sessions", b"{}") for _ in range(HOSTINGS + 1)]
        assert (hosted[0], hosted[-1]) == (201, 429), "another key does not help"
        erased = [signed("DELETE", "/consents/{own}", b"") for _ in range(ERASURES + 1)]
        assert (erased[0], erased[-1]) == (204, 429)
    assert all(sessions.http.get(path).status_code == 200 for path in PUBLIC), "the control"
