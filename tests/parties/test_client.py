"""The client's handling of responses: types, size limits, and errors if no server responds."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from parties import client as transport
from parties.client import ServerClient, Waiting
from utils.errors import (
    ForbiddenSlot,
    InvalidRequest,
    MalformedMessage,
    OutOfStep,
    QueueFull,
    ServerBusy,
    ServerUnreachable,
    TooManyRequests,
    TransportError,
    error_classes,
)
from utils.ports import free_port

CLIENT_ID = "0123456789abcdef" * 2


def client_for(handler):
    return ServerClient("http://server.test", 5, httpx.MockTransport(handler))


class Healthy(BaseHTTPRequestHandler):
    """A server that is ready."""

    def do_GET(self):
        body = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def problem(code, status=409, detail="Do this first."):
    body = {"type": f"urn:triseal:error:{code}", "title": "T", "status": status, "detail": detail}
    return httpx.Response(
        status, content=json.dumps(body), headers={"content-type": "application/problem+json"}
    )


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_a_reported_problem_is_raised_as_the_class_that_it_names(code):
    client = client_for(lambda request: problem(code))
    with pytest.raises(error_classes()[code]) as caught:
        client.queue(CLIENT_ID, "token")
    assert type(caught.value).code == code
    assert caught.value.message == "Do this first."


@pytest.mark.parametrize(
    "response",
    [
        problem("a-code-of-a-later-version"),
        httpx.Response(500, json={"type": 7}),
        httpx.Response(500, json={"type": "about:blank"}),
    ],
)
def test_unknown_problem_raises_transport_error_with_message(response):
    client = client_for(lambda request: response)
    with pytest.raises(TransportError) as caught:
        client.get_output(CLIENT_ID, "token")
    assert type(caught.value) is TransportError
    assert caught.value.message


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        (None, 1.0),
        ("-3", 1.0),
        ("soon", 1.0),
        ("9" * 400, 3600.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0),
        ("Fri, 31 Dec 2999 23:59:59 GMT", 3600.0),
    ],
)
def test_busy_error_has_the_retry_time(said, seconds):
    headers = {} if said is None else {"Retry-After": said}
    for code, kind in (("queue-full", QueueFull), ("too-many-requests", TooManyRequests)):
        answer = problem(code, 429)
        answer.headers.update(headers)
        with pytest.raises(kind) as caught:
            client_for(lambda request, a=answer: a).queue(CLIENT_ID, "token")
        assert caught.value.retry_seconds == seconds and caught.value.message == "Do this first."
    plain = httpx.Response(429, text="slow down", headers=headers)  # from a proxy
    with pytest.raises(ServerBusy) as caught:
        client_for(lambda request: plain).open_application()
    assert caught.value.retry_seconds == seconds


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_error_counts_as_temporary(status):
    answers = [httpx.Response(status, text="<html>bad gateway</html>")] * 2
    client = client_for(lambda request: answers.pop() if answers else stated(0.5))
    assert client.state(CLIENT_ID, "token").programs["decide"].progress == 0.5
    with pytest.raises(ServerUnreachable, match=str(status)):
        client_for(lambda request: httpx.Response(status, text="")).open_application()


class Failing:
    """A server whose connection breaks with each of `errors`; `seen` are the requests received."""

    def __init__(self, *errors, answer):
        self.errors, self.answer, self.seen = list(errors), answer, []

    def __call__(self, request):
        self.seen.append((request.method, request.url.path, request.read()))
        if self.errors:
            raise self.errors.pop(0)
        return self.answer


BROKEN = (httpx.ReadError("reset"), httpx.ConnectError("refused"))


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda c: c.run(CLIENT_ID, "t"), lambda: httpx.Response(200, content=b"0.25")),
        (lambda c: c.get_output(CLIENT_ID, "t"), lambda: httpx.Response(200, content=b"result")),
        (lambda c: c.state(CLIENT_ID, "t"), lambda: stated(0.5)),
        (lambda c: c.post(CLIENT_ID, "t", "hello", None, b"x"), lambda: numbered()),
        (lambda c: c.send_file(CLIENT_ID, "bank", "slot", b"bytes", "t"), lambda: receipt()),
        (lambda c: c.cancel(CLIENT_ID, "t"), lambda: programmed()),
        (lambda c: c.renew(CLIENT_ID, "t"), lambda: httpx.Response(200, json={"token": "new"})),
    ],
    ids=["run", "get_output", "state", "post", "send_file", "cancel", "renew"],
)
def test_repeatable_calls_are_retried_when_the_connection_breaks(call, answer):
    server = Failing(*BROKEN, answer=answer())
    assert call(client_for(server)) is not None
    first, *others = server.seen
    assert len(others) == 2 and {seen[:2] for seen in others} == {first[:2]}
    assert len({body for _, _, body in server.seen}) == 1  # each attempt sends the complete body


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.open_application(),
        lambda c: c.join(CLIENT_ID, "bank", "code"),
        lambda c: c.queue(CLIENT_ID, "t"),
        lambda c: c.erase(CLIENT_ID, "t"),
    ],
    ids=["open", "join", "queue", "erase"],
)
def test_unrepeatable_calls_are_made_once(call):
    server = Failing(*BROKEN, answer=numbered())
    with pytest.raises(ServerUnreachable):
        call(client_for(server))
    assert len(server.seen) == 1


def test_a_busy_server_is_retried_after_the_given_time():
    answers = [httpx.Response(200, content=b"0.25"), problem("queue-full", 429)]
    told = []
    found = client_for(lambda request: answers.pop()).run(
        CLIENT_ID, "token", told=lambda error, seconds: told.append((error, seconds))
    )
    assert found == 0.25
    assert isinstance(told[0][0], QueueFull) and 0 < told[0][1] <= 1.2


def test_join_sends_scopes_and_returns_the_expiry():
    seen = []

    def handler(request):
        seen.append((request.url.path, json.loads(request.content or b"null")))
        return httpx.Response(
            200,
            json={"token": "t", "scopes": ["read"], "expires_at": "2030-01-02T03:04:05Z"},
        )

    client = client_for(handler)
    joined = client.join(CLIENT_ID, "bank", "code", ["read"])
    assert joined.scopes == ("read",) and joined.expires_at.year == 2030
    assert "token='t'" not in repr(joined)
    client.join(CLIENT_ID, "bank", "code")
    client.renew(CLIENT_ID, "t")
    assert seen == [
        (
            f"/applications/{CLIENT_ID}/join",
            {"party": "bank", "code": "code", "scopes": ["read"]},
        ),
        (f"/applications/{CLIENT_ID}/join", {"party": "bank", "code": "code"}),
        (f"/applications/{CLIENT_ID}/token", None),
    ]


@pytest.mark.parametrize(
    ("name", "method"), [("queue", "POST"), ("program", "GET"), ("cancel", "DELETE")]
)
def test_run_is_requested_at_its_own_url(name, method):
    server = Failing(answer=programmed())
    found = getattr(client_for(server), name)(CLIENT_ID, "token", "explain")
    assert found.status == "queued" and found.under_way and not found.stopped
    assert server.seen[0][:2] == (method, f"/applications/{CLIENT_ID}/runs/explain")


def test_an_unreachable_server_is_reported_with_its_address():
    client = ServerClient(f"http://127.0.0.1:{free_port()}", 5)
    with pytest.raises(ServerUnreachable) as caught:
        client.model()
    assert client.url in caught.value.message
    assert "make demo" in caught.value.message


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("gone"),
        httpx.WriteTimeout("slow"),
    ],
)
def test_broken_connection_raises_server_unreachable(error):
    def handler(request):
        raise error

    with pytest.raises(ServerUnreachable):
        client_for(handler).open_application()


def test_read_timeout_error_says_the_server_may_be_busy():
    def handler(request):
        raise httpx.ReadTimeout("slow")

    with pytest.raises(ServerUnreachable, match="in time"):
        client_for(handler).model()


def test_response_larger_than_its_limit_is_refused(monkeypatch):
    monkeypatch.setattr(transport, "RESULT_BYTES", 1000)
    sent = []

    def flood():
        for _ in range(1000):
            sent.append(1)
            yield b"x" * 100

    with pytest.raises(MalformedMessage):
        client_for(lambda request: httpx.Response(200, content=flood())).get_output(CLIENT_ID, "t")
    assert len(sent) < 20


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"[1]", b"hello", b'{"status": "odd"}'])
def test_a_response_of_another_server_is_reported(body):
    client = client_for(lambda request: httpx.Response(200, content=body))
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.health()
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.run(CLIENT_ID, "token")


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("starting", 503)])
def test_health_is_read_while_the_server_starts(status, code):
    client = client_for(lambda request: httpx.Response(code, json={"status": status}))
    assert client.health().status == status


def test_token_is_sent_only_in_the_header():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, content=b"0.25")

    assert client_for(handler).run(CLIENT_ID, "secret-token", "explain") == 0.25
    (request,) = seen
    assert request.headers["authorization"] == "Bearer secret-token"
    assert "secret-token" not in str(request.url) and b"secret-token" not in request.content
    assert dict(httpx.QueryParams(request.content.decode())) == {
        "client_id": CLIENT_ID,
        "program": "explain",
    }


def test_upload_sends_raw_bytes_to_the_slots_path():
    def handler(request):
        assert request.method == "PUT"
        assert request.url.path == f"/applications/{CLIENT_ID}/slots/encrypted_inputs"
        assert request.headers["content-type"] == "application/octet-stream"
        assert request.headers["content-length"] == "2"
        assert request.headers["authorization"] == "Bearer token"
        assert request.read() == b"\0\1"
        return problem("out-of-step")

    with pytest.raises(OutOfStep):
        client_for(handler).send_file(CLIENT_ID, "bank", "encrypted_inputs", b"\0\1", "token")


def test_receipt_for_another_party_raises_forbidden_slot():
    with pytest.raises(ForbiddenSlot, match="belongs to bank"):
        client_for(lambda request: receipt()).send_file(CLIENT_ID, "agency", "slot", b"x", "token")


def state(progress):
    return {
        "client_id": CLIENT_ID,
        "state": "running",
        "created_at": "",
        "expires_at": "",
        "joined": [],
        "slots": [],
        "programs": {"decide": {"status": "running", "progress": progress}},
        "missing": {},
        "a_later_field": 1,
    }


def stated(progress):
    return httpx.Response(200, json=state(progress))


def programmed():
    return httpx.Response(202, json={"status": "queued", "attempts": 0, "job": "ab"})


def numbered():
    return httpx.Response(200, json={"number": 7})


def receipt():
    names = {"client_id": CLIENT_ID, "client_type": "bank", "file_name": "slot"}
    return httpx.Response(200, json={**names, "bytes": 5, "sha256": "0" * 64})


def test_events_are_read_until_silence():
    def stream():
        yield b": a comment\n\n"
        yield f"event: state\ndata: {json.dumps(state(0.25))}\n\n".encode()
        yield f"event: state\ndata: {json.dumps(state(0.5))}\n\n".encode()
        raise httpx.ReadTimeout("silence")

    client = client_for(lambda request: httpx.Response(200, content=stream()))
    found = [s.programs["decide"].progress for s in client.events(CLIENT_ID, "token", 1)]
    assert found == [0.25, 0.5]


def test_environment_proxy_is_ignored(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)  # the control: another client tries the proxy, which does not exist
        with ServerClient(url, 5) as client:
            assert client.health().status == "ok"


def test_relayed_messages_are_sent_as_base64():
    seen = []

    def handler(request):
        seen.append(request)
        if request.method == "POST" and request.url.path.endswith("/messages"):
            return httpx.Response(200, json={"number": 7})
        if request.method == "POST":
            return httpx.Response(
                201, json={"client_id": CLIENT_ID, "expires_at": "", "join_codes": {}}
            )
        message = {"number": 7, "sender": "bank", "receiver": None, "step": "hello", "body": "AP8="}
        return httpx.Response(
            200, json={"messages": [message], "state": state(0) | {"programs": {}}, "tag": "t"}
        )

    client = client_for(handler)
    assert client.post(CLIENT_ID, "token", "hello", "bank", b"\0\xff") == 7
    assert json.loads(seen[-1].content) == {"step": "hello", "receiver": "bank", "body": "AP8="}
    relayed = client.messages(CLIENT_ID, "token", after=3, wait=20, seen="t")
    assert relayed.messages[0].body == b"\0\xff" and relayed.tag == "t"
    assert dict(seen[-1].url.params) == {"after": "3", "wait": "20", "seen": "t"}
    assert seen[-1].extensions["timeout"]["read"] >= 30
    client.open_application()
    assert seen[-1].content == b""
    client.open_application(["bank"])
    assert json.loads(seen[-1].content) == {"readers": ["bank"]}


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.open_application([]), "readers"),
        (lambda c: c.join(CLIENT_ID, "bank", "secret" * 50), "code"),
        (lambda c: c.join(CLIENT_ID, "bank", "secret", ["fly" * 10]), "scopes.0"),
        (lambda c: c.post(CLIENT_ID, "token", "No step", None, b"x"), "step"),
        (lambda c: c.post(CLIENT_ID, "token", "hello", None, bytes(1 << 17)), "body"),
        (lambda c: c.exchange(CLIENT_ID, "token", [("hello", None, b"x")] * 9), "messages"),
        (lambda c: c.exchange(CLIENT_ID, "token", waiting=Waiting(26)), "wait"),
        (lambda c: c.run(CLIENT_ID, "token", "x" * 300), "program"),
    ],
)
def test_request_outside_the_contract_is_not_sent(call, field):
    seen = []
    client = client_for(seen.append)
    with pytest.raises(InvalidRequest, match=f"not valid: {field}: ") as caught:
        call(client)
    assert not seen and "secret" not in caught.value.message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def exchanged(**change):
    message = {"number": 7, "sender": "bank", "receiver": None, "step": "hello", "body": "AP8="}
    known = {"state": state(0) | {"programs": {}}, "tag": "t", "after": 7, "numbers": [6]}
    return known | {"messages": [message]} | change


def test_an_exchange_posts_and_reads_in_one_call():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, json=exchanged())

    client = client_for(handler)
    until = (("bank", "hello"),)
    waiting = Waiting(20, "t", until, "encrypted_inputs", "decide", 0.3, with_result=True)
    found = client.exchange(CLIENT_ID, "token", [("hello", None, b"\0\xff")], 3, waiting)
    assert (found.numbers, found.messages[0].body, found.after) == ((6,), b"\0\xff", 7)
    assert seen[-1].url.path.endswith(f"/applications/{CLIENT_ID}/exchange")
    assert json.loads(seen[-1].content) == {
        "messages": [{"step": "hello", "receiver": None, "body": "AP8="}],
        "after": 3,
        "wait": 20,
        "seen": "t",
        "until": [{"sender": "bank", "step": "hello"}],
        "until_filled": "encrypted_inputs",
        "until_ended": "decide",
        "linger": 0.3,
        "with_result": True,
        "permits": [],
        "receipts": [],
        "run": None,
    }
    assert seen[-1].extensions["timeout"]["read"] >= 30


@pytest.mark.parametrize(
    "change", [{"numbers": []}, {"numbers": [1, 2]}, {"after": -1}, {"after": 2**31}, {"tag": 1}]
)
def test_inconsistent_exchange_response_is_refused(change):
    client = client_for(lambda request: httpx.Response(200, json=exchanged(**change)))
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.exchange(CLIENT_ID, "token", [("hello", None, b"x")])


@pytest.mark.parametrize("body", ["not base64!", "A", 7, None])
def test_a_message_without_a_valid_body_is_refused(body):
    message = {"number": 1, "sender": "bank", "receiver": None, "step": "hello", "body": body}
    answer = {"messages": [message], "state": state(0) | {"programs": {}}, "tag": "t"}
    client = client_for(lambda request: httpx.Response(200, json=answer))
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.messages(CLIENT_ID, "token")
