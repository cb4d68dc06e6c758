"""Rejection of invalid names, tokens, ids and bodies, without any change of state."""

from __future__ import annotations

import os

import httpx
import pytest

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY
from tests.service.driver import Application, Server, bearer, refused
from trials.stand_in import message

pytestmark = pytest.mark.usefixtures("unchanged")

PATHS = [
    "../../etc/passwd",
    "..%2f..%2fetc",
    "/etc/passwd",
    "a\x00b",
    "..",
    ".",
    "",
    "C:\\x",
    "é/ß",
]


def test_unknown_party_program_and_file_name_are_rejected(application: Application) -> None:
    first = application.parties[0]
    detail = refused(application.send(first, client_type="nobody"), 422, "unknown-party")
    assert first in detail
    detail = refused(application.send(first, file_name="secret_key"), 422, "unknown-name")
    assert ENCRYPTED_INPUTS in detail
    for answer in (application.run("predict"), application.output("predict")):
        assert "decide" in refused(answer, 422, "unknown-name")


def test_slot_of_another_party_is_rejected(application: Application) -> None:
    first, second, *_ = application.parties
    content = message(first, ENCRYPTED_INPUTS)
    stolen = application.send(first, content=content, headers=application.auth(second))
    assert second in refused(stolen, 403, "forbidden-slot")
    # The party's own name with a slot of another party.
    refused(application.send(second, EVALUATION_KEY), 422, "unknown-name")


def test_wrong_and_missing_tokens_are_rejected(application: Application, server: Server) -> None:
    first = application.parties[0]
    other = server.open()
    other.join(first)
    for headers in (bearer("x"), bearer(application.codes[first]), other.auth(), {"X-None": "1"}):
        for answer in (
            application.send(first, headers=headers),
            application.run(headers=headers),
            application.output(headers=headers),
        ):
            refused(answer, 401, "not-authorised")
            assert answer.headers["www-authenticate"] == "Bearer"
    other.erase()


def test_unknown_application_is_rejected(application: Application) -> None:
    unknown = {"client_id": os.urandom(16).hex()}
    first = application.parties[0]
    refused(application.send(first, **unknown), 404, "unknown-application")
    refused(application.run(**unknown), 404, "unknown-application")
    refused(application.output(**unknown), 404, "unknown-application")


@pytest.mark.parametrize("path", PATHS)
def test_path_characters_in_names_are_rejected(application: Application, path: str) -> None:
    first = application.parties[0]
    answers = [
        application.send(first, client_id=path),
        application.run(client_id=path),
        application.output(client_id=path),
    ]
    for answer in answers:
        refused(answer, 422, "invalid-request")
    refused(application.send(first, client_type=path), 422, "unknown-party")
    refused(application.send(first, file_name=path), 422, "unknown-name")
    if path:  # empty means the default
        refused(application.run(path), 422, "unknown-name")
    refused(application.join(path, "x"), 422, "unknown-party")
    encoded = httpx.URL("/applications/x").copy_with(raw_path=b"/applications/%2e%2e%2fx")
    refused(application.server.http.get(encoded), 404, "about:blank")


def test_id_pattern_must_match_completely(application: Application) -> None:
    for almost in (application.client_id + "\n", application.client_id.upper(), "0" * 31, "٣" * 32):
        refused(application.run(client_id=almost), 422, "invalid-request")


JSON = {"Content-Type": "application/json"}
FORM_CALLS = ("/send_file", "/run_fhe", "/get_output")
URLENCODED = "application/x-www-form-urlencoded"


def with_type(application: Application, path: str, kind: str) -> httpx.Response:
    headers = {**application.auth(), "Content-Type": kind}
    return application.server.http.post(path, content=b"client_id=1", headers=headers)


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 999])
def test_form_without_boundary_is_rejected(application: Application, boundary: str) -> None:
    for path in FORM_CALLS:
        answer = with_type(application, path, "multipart/form-data" + boundary)
        refused(answer, 422, "invalid-request")


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/json", "multipart/mixed; boundary=b", "a", "multipart"],
)
def test_form_of_other_content_type_is_rejected(application: Application, kind: str) -> None:
    for path in FORM_CALLS:
        refused(with_type(application, path, kind), 415, "unsupported-content")
    refused(with_type(application, "/send_file", URLENCODED), 415, "unsupported-content")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", URLENCODED, "application/problem+json", "application/jsonx"]
)
def test_json_of_other_content_type_is_rejected(application: Application, kind: str) -> None:
    path = f"/applications/{application.client_id}"
    for call in (f"{path}/join", f"{path}/messages", "/applications"):
        detail = refused(with_type(application, call, kind), 415, "unsupported-content")
        assert "application/json" in detail


def test_content_types_may_have_parameters_and_capitals(application: Application) -> None:
    answer = with_type(application, "/run_fhe", f"{URLENCODED.upper()}; charset=utf-8")
    assert "client_id" in refused(answer, 422, "invalid-request")
    path = f"/applications/{application.client_id}/join"
    answer = with_type(application, path, "Application/JSON ; charset=utf-8")
    refused(answer, 422, "invalid-request")


def test_invalid_fields_are_named_without_their_values(application: Application) -> None:
    http, path = application.server.http, f"/applications/{application.client_id}/join"
    refused(http.post(path, content=b"{", headers=JSON), 422, "invalid-request")
    detail = refused(http.post(path, json={"code": 5, "party": "x"}), 422, "invalid-request")
    assert "code" in detail
    secret = "S" * 300
    answer = http.post(path, json={"code": secret, "party": "x"})
    assert "code" in refused(answer, 422, "invalid-request")
    assert secret not in answer.text
    detail = refused(
        http.post(path, json={"party": "x", "code": "y", "z": 1}), 422, "invalid-request"
    )
    assert "z" in detail
    surrogate = b'{"party": "\\ud800", "code": "x"}'
    refused(http.post(path, content=surrogate, headers=JSON), 422, "invalid-request")
    detail = refused(http.post("/run_fhe"), 422, "invalid-request")
    assert "client_id" in detail
    refused(application.run(colour="red"), 422, "invalid-request")


def test_unknown_paths_and_methods_are_rejected(server: Server) -> None:
    refused(server.http.get("/nothing"), 404, "about:blank")
    answer = server.http.get("/run_fhe")
    refused(answer, 405, "about:blank")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", FORM_CALLS)
@pytest.mark.parametrize("headers", [{}, bearer("not-a-token")], ids=["none", "wrong"])
def test_call_without_a_valid_token_says_where_one_comes_from(
    application: Application, path: str, headers: dict[str, str]
) -> None:
    party = application.parties[0]
    fields, files = {"client_id": application.client_id, "program": "decide"}, None
    if path == "/send_file":
        del fields["program"]
        fields |= {"client_type": party, "file_name": ENCRYPTED_INPUTS}
        files = {"files": ("slice", message(party, ENCRYPTED_INPUTS))}
    answer = application.server.http.post(path, data=fields, files=files, headers=headers)
    detail = refused(answer, 401, "not-authorised")
    assert "`POST /applications`" in detail and "/join`" in detail
