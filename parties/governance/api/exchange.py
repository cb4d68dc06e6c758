"""The exchange of an owner's agent: `POST /exchange`, where partners redeem permits for records.

It is a listener of its own, since partners reach it from other machines. The permit and the proof
that the caller holds its key are the only access; parties/governance/exchange_seal.py has the
bodies. Web pages have no business here, and are refused.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from parties.governance.exchange_seal import LARGEST_CALL, PATH
from settings import Settings
from utils.errors import ForeignOrigin, InvalidRequest, UnsupportedContent
from web import problems
from web.body_limits import BodyLimit, Pace
from web.rate_limits import RateLimits
from web.security_headers import SecurityHeaders
from web.stopping import StopAnswer

MEDIA_TYPE = "application/json"


class ExchangeApp(FastAPI):
    """A FastAPI app with one call, without documentation."""

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's middleware stack, wrapped in this app's own."""
        return SecurityHeaders(StopAnswer(super().build_middleware_stack()), pages=())


def exchange_app(owner: Any, settings: Settings) -> ExchangeApp:
    """Return the app of an Owner's exchange."""
    app = ExchangeApp(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    problems.install(app)
    limits = RateLimits(settings)

    @app.post(PATH)
    async def exchange(request: Request) -> Response:
        if "origin" in request.headers:
            raise ForeignOrigin("A web page may not call this agent.")
        if request.client is None:
            raise InvalidRequest("The connection has no address.")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise UnsupportedContent(f"Send this as {MEDIA_TYPE}.")
        address = request.client.host
        limits.opening(address)
        with limits.calling(address):
            body = await request.body()
            return Response(await run_in_threadpool(owner.redeem, body), media_type=MEDIA_TYPE)

    pace = Pace(settings.stall_timeout, settings.stall_timeout)
    app.add_middleware(BodyLimit, limit_of=lambda _: LARGEST_CALL, pace_of=lambda _: pace)
    return app
