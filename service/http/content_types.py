"""Checks that a request's content type is one that its route documents."""

from __future__ import annotations

from fastapi import params
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from utils.errors import UnsupportedContent

JSON = ("application/json",)
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class TypedRoute(APIRoute):
    """A route that rejects a body of another type with UnsupportedContent, without reading it.

    FastAPI would report such a body as one with invalid fields. A route that parses its body itself
    checks the type itself (service/http/upload_form.py).
    """

    @property
    def accepted(self) -> tuple[str, ...]:
        """The accepted content types; empty if FastAPI does not read a body."""
        if self.body_field is None:
            return ()
        return FORMS if isinstance(self.body_field.field_info, params.Form) else JSON

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self.accepted and _has_body(headers):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in self.accepted:
                raise UnsupportedContent(f"Send this as {' or '.join(self.accepted)}.")
        await super().handle(scope, receive, send)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
