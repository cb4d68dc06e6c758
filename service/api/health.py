"""Routes for monitoring: Prometheus metrics, liveness and readiness."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.api.dependencies import ServerStateDep
from service.api.openapi import content, make_router, not_yet, problems
from service.applications.rules import count_live
from service.storage.storage import Storage
from utils.errors import DiskFull, StorageUnavailable

router = make_router("operation")


class Sign(BaseModel):
    """The result of a probe: `ok`, `starting` (the engine loads) or `failed` (it cannot load)."""

    status: Literal["ok", "starting", "failed"]


@router.get(
    "/metrics",
    summary="Export metrics",
    response_class=Response,
    responses=content("text/plain", "The metrics.", "triseal_applications 3.0\n")
    | problems(StorageUnavailable),
)
async def metrics(server_state: ServerStateDep) -> Response:
    """Return counts, durations and sizes in Prometheus's text format.

    The metrics contain no ids of applications and no names of parties.
    """
    alive = await run_in_threadpool(_alive, server_state.storage)
    queued, running = (
        (0, 0)
        if server_state.services is None
        else await run_in_threadpool(server_state.services.claims.counts)
    )
    text = server_state.metrics.text(applications=alive, queued=queued, running=running)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/health/live",
    response_model=Sign,
    summary="Probe liveness",
    response_description="The process is alive.",
)
async def live() -> JSONResponse:
    """Return 200 as long as the server's process handles requests; restart it if this fails."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/health/ready",
    response_model=Sign,
    summary="Probe readiness",
    response_description="The server is ready for requests.",
    responses=not_yet(Sign, StorageUnavailable),
)
async def ready(server_state: ServerStateDep) -> JSONResponse:
    """Return 200 if the engine is loaded and the storage works and has free space, else 503.

    With 503, a problem describes a fault of the storage. If the status is `failed`, `GET /health`
    tells why the engine cannot be loaded.
    """
    if server_state.ready:
        try:
            await run_in_threadpool(server_state.storage.probe)
        except DiskFull as full:
            raise StorageUnavailable(full.message) from full
        return JSONResponse({"status": "ok"})
    return JSONResponse(
        {"status": "starting" if server_state.fault is None else "failed"}, status_code=503
    )


def _alive(storage: Storage) -> int:
    with storage.read() as session:
        return count_live(session, time.time())
