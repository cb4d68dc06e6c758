"""JSON bodies that may be large, read after the caller's token has been checked.

FastAPI reads and parses a body before it solves any dependency, and parses it twice: with `json`
and with pydantic.
"""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from utils.errors import UnsupportedContent
from web.body_limits import SMALL_BODY
from web.content_types import JSON

_Model = TypeVar("_Model", bound=BaseModel)


def is_large(request: Request) -> bool:
    """Return True if a body may have more than SMALL_BODY bytes."""
    declared = request.headers.get("content-length", "")
    return not declared.isdecimal() or len(declared) > 9 or int(declared) > SMALL_BODY


async def read_json(request: Request, kind: type[_Model]) -> _Model:
    """Return the body of a request; raises UnsupportedContent and RequestValidationError."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in JSON:
        raise UnsupportedContent(f"Send this as {JSON[0]}.")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**fault, "loc": ("body", *fault["loc"])} for fault in faults]
        ) from None


def json_body(kind: type[BaseModel], example: Any) -> dict[str, Any]:
    """Return the part of an operation's OpenAPI document that describes such a body."""
    schema = kind.model_json_schema()
    parts = schema.pop("$defs", {})
    media = {"schema": _inlined(schema, parts), "example": example}
    return {"requestBody": {"required": True, "content": {JSON[0]: media}}}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """Return a schema with its parts in the place of the references to them."""
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _inlined(value, parts) for name, value in schema.items()}
