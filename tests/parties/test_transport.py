"""The client's handling of answers: typed, bounded, and clear where nothing answers."""

import json

import httpx
import pytest

from parties import transport
from parties.transport import ServerClient
from tests.parties.running import free_port
from utils.errors import (
    MalformedMessage,
    OutOfStep,
    ServerUnreachable,
    TransportError,
    error_classes,
)

CLIENT_ID = "0123456789abcdef" * 2


def client_for(handler):
    return ServerClient("http://server.test", 5, httpx.MockTransport(handler))


def problem(code, status=409, detail="Do this first."):
    body = {"type": f"urn:triseal:error:{code}", "title": "T", "status": status, "detail": detail}
    return httpx.Response(
        status, content=json.dumps(body), headers={"content-type": "application/problem+json"}
    )


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_a_reported_problem_is_raised_as_the_class_that_it_names(code):
    client = client_for(lambda request: problem(code))
    with pytest.raises(error_classes()[code]) as caught:
        client.run(CLIENT_ID, "token")
    assert type(caught.value).code == code
    assert caught.value.message == "Do this first."


@pytest.mark.parametrize(
    "response",
    [
        problem("a-code-of-a-later-version"),
        httpx.Response(502, text="<html>bad gateway</html>"),
        httpx.Response(500, json={"type": 7}),
        httpx.Response(500, json={"type": "about:blank"}),
    ],
)
def test_a_problem_of_no_known_kind_is_a_transport_error_with_a_message(response):
    client = client_for(lambda request: response)
    with pytest.raises(TransportError) as caught:
        client.get_output(CLIENT_ID, "token")
    assert type(caught.value) is TransportError
    assert caught.value.message


def test_nobody_listening_says_where_and_how_to_start():
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
def test_a_broken_connection_is_server_unreachable(error):
    def handler(request):
        raise error

    with pytest.raises(ServerUnreachable):
        client_for(handler).open_application()


def test_a_read_that_takes_too_long_says_that_the_server_may_be_busy():
    def handler(request):
        raise httpx.ReadTimeout("slow")

    with pytest.raises(ServerUnreachable, match="in time"):
        client_for(handler).run(CLIENT_ID, "token")


def test_an_answer_is_cut_off_at_its_limit(monkeypatch):
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
def test_an_answer_of_something_else_says_so(body):
    client = client_for(lambda request: httpx.Response(200, content=body))
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.health()
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.run(CLIENT_ID, "token")


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("starting", 503)])
def test_health_is_read_also_while_starting(status, code):
    client = client_for(lambda request: httpx.Response(code, json={"status": status}))
    assert client.health().status == status


def test_tokens_go_in_the_header_and_only_there():
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


def test_an_upload_has_the_fields_of_the_contract():
    def handler(request):
        body = request.read()
        for part in (b'name="client_id"', b'name="client_type"', b'name="file_name"', b'"files"'):
            assert part in body
        return problem("out-of-step")

    with pytest.raises(OutOfStep):
        client_for(handler).send_file(CLIENT_ID, "bank", "encrypted_inputs", b"\0\1", "token")


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


def test_events_are_read_until_silence():
    def stream():
        yield b": a comment\n\n"
        yield f"event: state\ndata: {json.dumps(state(0.25))}\n\n".encode()
        yield f"event: state\ndata: {json.dumps(state(0.5))}\n\n".encode()
        raise httpx.ReadTimeout("silence")

    client = client_for(lambda request: httpx.Response(200, content=stream()))
    found = [s.programs["decide"].progress for s in client.events(CLIENT_ID, "token", 1)]
    assert found == [0.25, 0.5]


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    client = ServerClient("http://127.0.0.1:1", 2)
    assert not [mount for mount in client._http._mounts.values() if mount is not None]


def test_messages_between_parties_travel_as_base64():
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


@pytest.mark.parametrize("body", ["not base64!", "A", 7, None])
def test_a_body_that_is_none_is_no_answer_of_a_triseal_server(body):
    message = {"number": 1, "sender": "bank", "receiver": None, "step": "hello", "body": body}
    answer = {"messages": [message], "state": state(0) | {"programs": {}}, "tag": "t"}
    client = client_for(lambda request: httpx.Response(200, json=answer))
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        client.messages(CLIENT_ID, "token")
