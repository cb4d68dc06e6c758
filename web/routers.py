"""Routers that look at a request only if one of their paths begins like the request's.

FastAPI compares a request's path with every route of every router, one after the other.
"""

from __future__ import annotations

from functools import cached_property

from fastapi import APIRouter
from starlette.routing import Match
from starlette.types import Scope

from web.paths import path_in_app


class SegmentRouter(APIRouter):
    """A router that does not match a request whose first segment none of its paths has.

    It may get no more routes once it has matched a request.
    """

    @cached_property
    def _segments(self) -> frozenset[str] | None:
        """The first segments of all paths; None if a route could match any."""
        found = [_first_segment(getattr(route, "path", "/{any}")) for route in self.routes]
        return None if any("{" in each for each in found) else frozenset(found)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if self._segments is not None and _first_segment(path_in_app(scope)) not in self._segments:
            return Match.NONE, {}
        return super().matches(scope)


def _first_segment(path: str) -> str:
    return path[1:].partition("/")[0]
