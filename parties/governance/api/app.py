"""The HTTP interface of an agent as an ASGI app, guarded like the server's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from parties.governance.api.browsed import Browsed
from settings import Settings
from utils.hosts import AllowedHosts
from utils.tokens import digest
from web import documentation, openapi, problems
from web.body_limits import SMALL_BODY, BodyLimit, Pace
from web.hosts import HostGuard
from web.rate_limits import RateLimits
from web.security_headers import SecurityHeaders
from web.stopping import StopAnswer

HOST = "127.0.0.1"
"""The only address at which an agent's interface listens."""
UNKNOWN_HOST = (
    "This agent does not accept requests for that host name: use the address that it printed."
)
FOREIGN_ORIGIN = "A page of another origin may not call this agent."
NO_ACCESS_MEMBER = {
    "type": "string",
    "description": "Why there is no result: the request does not allow a use at present.",
}


@dataclass(frozen=True, repr=False)
class Guarded:
    """An agent behind its interface: an Owner or an Institution, and the interface's token."""

    agent: Any
    token: str
    settings: Settings


class AgentApp(FastAPI):
    """A FastAPI app with the security headers of the server, and its own OpenAPI document."""

    def __init__(
        self, described: Mapping[str, str], more_members: Mapping[str, Any], **facts: Any
    ) -> None:
        super().__init__(**facts)
        self._described, self._more_members = described, more_members

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document: FastAPI's, completed on the first call."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = openapi.complete(super().openapi(), self._described, {})
        schemas = document["components"]["schemas"]
        schemas["Problem"] = copy.deepcopy(schemas["Problem"])  # the server's has no such members
        schemas["Problem"]["properties"] |= self._more_members
        return document

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's middleware stack, wrapped in this app's own."""
        return SecurityHeaders(
            StopAnswer(super().build_middleware_stack()),
            pages=documentation.PATHS,
            cacheable=(self.openapi_url,),
        )


def make_app(
    title: str,
    summary: str,
    routers: Sequence[APIRouter],
    described: Mapping[str, str],
    large: Mapping[str, int],
    guarded: Guarded | None,
    more_members: Mapping[str, Any] = MappingProxyType({"result": NO_ACCESS_MEMBER}),
) -> AgentApp:
    """Return the app of an agent; without `guarded`, only for its OpenAPI document.

    `described` are the tags' descriptions. `large` are the most bytes of a body, by path, where
    they differ from 64 KiB; a path that ends with / stands for all paths in it. `more_members` are
    further members of problems.
    """
    app = AgentApp(
        described,
        more_members,
        title=title,
        summary=summary,
        version="0.1.0",
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own pages load their viewers from third-party hosts
        redoc_url=None,
    )
    problems.install(app)
    for router in routers:
        app.include_router(router)
    app.include_router(documentation.router)
    if guarded is None:
        return app
    app.state.agent = guarded.agent
    app.state.browsed = Browsed()
    app.state.token_digest = digest(guarded.token)
    app.state.rate_limits = RateLimits(guarded.settings)
    pace = Pace(guarded.settings.stall_timeout, guarded.settings.stall_timeout)
    app.add_middleware(
        BodyLimit,
        limit_of=lambda path: large.get(path, large.get(_parent(path), SMALL_BODY)),
        pace_of=lambda _: pace,
    )
    app.add_middleware(
        HostGuard,
        hosts=AllowedHosts(HOST),
        unknown_host=UNKNOWN_HOST,
        foreign_origin=FOREIGN_ORIGIN,
    )
    return app


def _parent(path: str) -> str:
    return path[: path.rfind("/") + 1]
