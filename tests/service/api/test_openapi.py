"""The OpenAPI document: complete, consistent with its own schemas, and served by its pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from service.api.examples import EXAMPLES
from service.api.openapi import TAGS, problems
from service.app import create_app
from settings import Settings
from trials.stand_in import load
from utils import errors
from utils.errors import error_classes
from web.problems import MEDIA_TYPE, TYPE_PREFIX

DOCUMENT: dict[str, Any] = create_app(Settings(), load).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}
Media = tuple[str, dict[str, Any]]


def media_of(operation: dict[str, Any]) -> Iterator[Media]:
    """Yield each content type that a call accepts or returns, with its schema and examples."""
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for response in operation["responses"].values():
        yield from response.get("content", {}).items()


def examples_of(media: dict[str, Any]) -> list[Any]:
    found = [one["value"] for one in media.get("examples", {}).values()]
    found += [media["example"]] if "example" in media else []
    for schema in (media["schema"], *media["schema"].get("anyOf", [])):
        name = schema.get("$ref", "").rpartition("/")[2]
        found += DOCUMENT["components"]["schemas"].get(name, {}).get("examples", [])
    return found


def valid(value: Any, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_document_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT)):
        assert reference.rpartition("/")[2] in DOCUMENT["components"]["schemas"], reference


@pytest.mark.parametrize("call", OPERATIONS)
def test_every_call_is_described(call: str) -> None:
    operation = OPERATIONS[call]
    assert operation["summary"] and operation["description"]
    assert set(operation["tags"]) <= set(TAGS)
    assert "500" in operation["responses"]
    assert any(status.startswith("2") for status in operation["responses"])
    for status, response in operation["responses"].items():
        assert response["description"] not in ("", "Successful Response"), status
    for parameter in operation.get("parameters", []):
        assert parameter["description"], parameter["name"]
    # FastAPI's own summary is the function's name in words.
    assert operation["summary"] != operation["operationId"].replace("_", " ").title()


@pytest.mark.parametrize("call", OPERATIONS)
def test_every_body_has_valid_examples(call: str) -> None:
    for kind, media in media_of(OPERATIONS[call]):
        found = examples_of(media)
        assert found, f"{kind} has no example"
        for example in found:
            valid(example, media["schema"])


@pytest.mark.parametrize("call", OPERATIONS)
def test_every_error_has_its_codes(call: str) -> None:
    for status, response in OPERATIONS[call]["responses"].items():
        if status.startswith("2"):
            continue
        media = response["content"][MEDIA_TYPE]
        codes = {one["type"].removeprefix(TYPE_PREFIX) for one in examples_of(media)}
        assert codes
        assert codes <= {*error_classes(), "about:blank"}
        assert all(one["status"] == int(status) for one in examples_of(media))
        other = {**examples_of(media)[0], "type": "urn:triseal:error:no-such-error"}
        with pytest.raises(jsonschema.ValidationError):
            valid(other, media["schema"])
        assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503", "507"))


def test_calls_with_a_token_declare_it() -> None:
    secured = {call for call, operation in OPERATIONS.items() if operation.get("security")}
    refusing = {call for call, operation in OPERATIONS.items() if "401" in operation["responses"]}
    with_codes = {"POST /applications/{client_id}/join", "POST /trainings/{training_id}/join"}
    assert refusing - secured == with_codes, "they take a code"
    assert secured <= refusing
    schemes = {"party", "operator", "witness", "partner", "owner", "any_owner"}
    schemes |= {"session", "training"}
    assert set(DOCUMENT["components"]["securitySchemes"]) == schemes


def test_calls_with_a_body_document_its_errors() -> None:
    bodies = {call for call, operation in OPERATIONS.items() if "requestBody" in operation}
    assert len(bodies) == 26
    for call in bodies:
        assert {"408", "413", "415", "422"} <= set(OPERATIONS[call]["responses"]), call


def test_names_of_calls_are_unique_and_short() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]{3,30}", name) for name in names)


def test_examples_belong_to_used_schemas() -> None:
    for name, value in EXAMPLES.items():
        assert DOCUMENT["components"]["schemas"][name]["examples"] == [value]


def test_errors_of_one_status_are_listed_together() -> None:
    found = problems(errors.OutOfStep, errors.AlreadySent, errors.OutOfStep, errors.QueueFull)
    assert list(found) == sorted(found) and {409, 429} <= set(found)
    assert {403, 421, 503} <= set(found)  # possible for every call
    assert list(found[409]["content"][MEDIA_TYPE]["examples"]) == ["out-of-step", "already-sent"]
    assert found[409]["description"] == (
        "`out-of-step`: an earlier step has not been done yet; "
        "`already-sent`: the message can no longer be replaced."
    )


def test_document_generation_is_idempotent() -> None:
    app = create_app(Settings(), load)
    assert app.openapi() is app.openapi()
    assert app.openapi() == DOCUMENT
