"""The parts of an OpenAPI document that FastAPI cannot derive by itself.

A route lists the error classes that it may return. Their status, type and text come from the
tables that the responses are built from, so the document always matches the responses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel

from utils import errors
from utils.errors import (
    ForeignOrigin,
    InvalidRequest,
    ServerStopping,
    TrisealError,
    UnknownHost,
    UnsupportedContent,
    UploadTooLarge,
    UploadTooSlow,
    error_classes,
)
from web.content_types import FORMS, TypedRoute
from web.problems import MEDIA_TYPE, TYPE_PREFIX, problem, status_of, title_of
from web.routers import SegmentRouter

Responses = dict[int | str, dict[str, Any]]

BODY = (InvalidRequest, UnsupportedContent, UploadTooLarge, UploadTooSlow)
"""Errors of every call that reads a body."""
EVERY = (ForeignOrigin, UnknownHost, ServerStopping)
"""Errors of every call."""

SERVER = {"url": ".", "description": "The server that this document comes from."}
"""Relative to the document, so that it stays correct behind a proxy that adds a path prefix."""
_CODES = ["about:blank", *(TYPE_PREFIX + code for code in sorted(error_classes()))]
_PROBLEM = {
    "title": "Problem",
    "description": "An error, as problem details (RFC 9457). `type` is stable and meant for "
    "programs; `detail` says what is wrong and what to do.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "enum": _CODES},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "The policy's reason for a denial."},
        "policy_violation": {"type": "string", "description": "The rule that denied."},
    },
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
    429: {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}}},
    503: {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}}},
    507: {"Retry-After": {"schema": {"type": "string", "pattern": "^[0-9]+$"}}},
}
_BLANK = {
    "type": "about:blank",
    "title": "Internal Server Error",
    "status": 500,
    "detail": "The server had an internal error; its log has the cause. Nothing was changed.",
}


def name_of(route: APIRoute) -> str:
    """Return the operation's id: the name of its function."""
    return route.name


def make_router(
    tag: str, prefix: str = "", *, name: Callable[[APIRoute], str] = name_of, **options: Any
) -> APIRouter:
    """Return a router that names operations after their functions and checks content types."""
    return SegmentRouter(
        prefix=prefix,
        tags=[tag],
        route_class=TypedRoute,
        generate_unique_id_function=name,
        **options,
    )


def problems(*classes: type[TrisealError]) -> Responses:
    """Return the responses, by status, of a call that may return these errors."""
    by_status: dict[int, list[type[TrisealError]]] = {}
    for cls in dict.fromkeys((*classes, *EVERY)):
        by_status.setdefault(status_of(cls), []).append(cls)
    return {status: _response(status, of) for status, of in sorted(by_status.items())}


def content(media_type: str, description: str, example: str) -> Responses:
    """Return the 200 response of a call that returns raw bytes or text."""
    schema = {"type": "string", "contentMediaType": media_type}
    said = {media_type: {"schema": schema, "example": example}}
    return {200: {"description": description, "content": said}}


def example(value: Any) -> Responses:
    """Return the 200 response with an example of a value that is not one of EXAMPLES."""
    return {200: {"content": {"application/json": {"example": value}}}}


def not_yet(model: type[BaseModel], *classes: type[TrisealError]) -> Responses:
    """Return the responses of a call whose 503 gives its reason as `model` or as a problem."""
    found = problems(*classes)
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    found[503]["content"]["application/json"] = {"schema": reference}
    return found


def complete(
    document: dict[str, Any], tags: Mapping[str, str], examples: Mapping[str, Any]
) -> dict[str, Any]:
    """Add to FastAPI's document the problem schema, examples, both form types and the tags.

    `tags` are descriptions by tag, in the order of the document; `examples` are by schema.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    for name, value in examples.items():
        schemas[name]["examples"] = [value]
    order = list(tags)
    document["paths"] = dict(
        sorted(
            document["paths"].items(),
            key=lambda item: min(order.index(o["tags"][0]) for o in item[1].values()),
        )
    )
    document["tags"] = [{"name": tag, "description": text} for tag, text in tags.items()]
    document["servers"] = [SERVER]
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in problems().items():
                operation["responses"].setdefault(str(status), response)
            operation["responses"].setdefault("500", _fault())
            bodies = operation.get("requestBody", {}).get("content", {})
            if FORMS[0] in bodies:
                bodies[FORMS[1]] = bodies[FORMS[0]]
    return document


def _response(status: int, classes: list[type[TrisealError]]) -> dict[str, Any]:
    phrases = _phrases()
    kinds = [TYPE_PREFIX + cls.code for cls in classes]
    schema = {
        "allOf": [
            _REFERENCE,
            {"properties": {"type": {"enum": kinds}, "status": {"const": status}}},
        ]
    }
    examples = {
        cls.code: {"value": _example(cls, phrases.get(cls.__name__, title_of(cls)))}
        for cls in classes
    }
    said = "; ".join(f"`{cls.code}`: {phrases.get(cls.__name__, title_of(cls))}" for cls in classes)
    response = {
        "description": f"{said}.",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if status in _HEADERS:
        response["headers"] = _HEADERS[status]
    return response


def _fault() -> dict[str, Any]:
    return {
        "description": "An internal error of the server.",
        "content": {MEDIA_TYPE: {"schema": _REFERENCE, "examples": {"fault": {"value": _BLANK}}}},
    }


def _example(cls: type[TrisealError], phrase: str) -> Any:
    """Return the body of the response that reports such an error."""
    return json.loads(bytes(problem(cls(f"{phrase[0].upper()}{phrase[1:]}.")).body))


def _phrases() -> Mapping[str, str]:
    """Return the meaning of each class, from the tree in the docstring of utils/errors.py."""
    return dict(re.findall(r"── (\w+) +(.+)", errors.__doc__ or ""))
