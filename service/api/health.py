"""What the ones who keep the server running ask of it: figures, and whether it lives."""

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
    """A sign of life: `ok`, or why the server wants no requests now."""

    status: Literal["ok", "starting", "failed"]


@router.get(
    "/metrics",
    response_class=Response,
    responses=content("text/plain", "The figures.", "triseal_applications 3.0\n")
    | problems(StorageUnavailable),
)
async def metrics(server_state: ServerStateDep) -> Response:
    """Counts, seconds and bytes for Prometheus, in its text format; no ids and no names."""
    alive = await run_in_threadpool(_alive, server_state.storage)
    queued, running = (
        (0, 0)
        if server_state.services is None
        else await run_in_threadpool(server_state.services.claims.counts)
    )
    text = server_state.metrics.text(applications=alive, queued=queued, running=running)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/health/live", response_model=Sign)
async def live() -> JSONResponse:
    """200 whenever the server's process answers at all; restart it when this fails."""
    return JSONResponse({"status": "ok"})


@router.get("/health/ready", response_model=Sign, responses=not_yet(Sign, StorageUnavailable))
async def ready(server_state: ServerStateDep) -> JSONResponse:
    """200 when the workers have their engine and the storage answers and has room, else 503.

    A problem says what is wrong with the storage, and `/health` why the engine cannot be loaded.
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
