"""The routes' own class: it checks content types and holds what a call needs until its end.

It also has models written by the thread that made them (web/model_responses.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from fastapi import params
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from utils.errors import UnsupportedContent
from web.model_responses import written

JSON = ("application/json",)
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_HELD = "triseal.held"


class TypedRoute(APIRoute):
    """A route that rejects a body of another type with UnsupportedContent, without reading it.

    FastAPI would report such a body as one with invalid fields. A route that parses its body itself
    checks the type itself (service/http/upload_form.py).
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        status_code: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(path, written(endpoint, status_code), status_code=status_code, **options)

    @cached_property
    def accepted(self) -> tuple[str, ...]:
        """The accepted content types; empty if FastAPI does not read a body."""
        if self.body_field is None:
            return ()
        return FORMS if isinstance(self.body_field.field_info, params.Form) else JSON

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.accepted and _has_body(headers := Headers(scope=scope)):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in self.accepted:
                raise UnsupportedContent(f"Send this as {' or '.join(self.accepted)}.")
        with ExitStack() as held:
            scope[_HELD] = held
            await super().handle(scope, receive, send)


def held_by(scope: Scope) -> ExitStack:
    """Return the contexts that end when the response to this request has been sent.

    They replace dependencies with `yield`, for each of which FastAPI enters several async contexts.
    """
    held: ExitStack = scope[_HELD]
    return held


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
