"""Responses with a model, written in the thread of the function that returns the model.

FastAPI sends what a synchronous function returns to a second thread to validate it. The models of
this project are valid when they are made, and each change of threads costs time under load.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response


def written(endpoint: Callable[..., Any], status: int | None) -> Callable[..., Any]:
    """Return a route's function so that it returns a response instead of a model.

    `status` is 200 if it is None. Only a synchronous function whose annotation names a model is
    changed. A value of another class, even of a subclass, is returned as it is, so that FastAPI
    validates it.
    """
    model = typing.get_type_hints(endpoint).get("return")
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    if not is_model or inspect.iscoroutinefunction(endpoint):
        return endpoint

    @wraps(endpoint)
    def writing(*given: Any, **named: Any) -> Any:
        found = endpoint(*given, **named)
        if type(found) is not model:
            return found
        text = found.model_dump_json(by_alias=True)
        return Response(text, status or HTTPStatus.OK, media_type="application/json")

    return writing
