"""A route that reads its JSON body and its dependencies itself.

FastAPI spends a fifth of the event loop's time for a call on dependencies and the body. The route
to which most calls go therefore avoids that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from service.api.dependencies import get_services, party_token
from service.http.content_types import TypedRoute


class DirectRoute(TypedRoute):
    """Calls an async endpoint with `client_id`, `body`, `request`, `services` and `token`.

    The endpoint declares these parameters as for FastAPI, which documents them. An invalid body
    raises RequestValidationError.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request."""
        kind: type[BaseModel] = get_type_hints(self.endpoint)["body"]
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            content = await request.body()
            services = await get_services(request)
            token = await party_token(request)
            try:
                body = kind.model_validate_json(content)
            except ValidationError as error:
                raise RequestValidationError(
                    [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
                ) from error
            return await endpoint(request.path_params["client_id"], body, request, services, token)

        return handle
