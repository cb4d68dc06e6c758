"""What the ones who keep the server running ask of it: figures, and whether it lives."""

from __future__ import annotations

import time
from typing import Literal

from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from service.dependencies import RoomsDep
from service.openapi import content, not_yet, problems, room
from service.rules import count_live
from service.storage import Storage
from utils.errors import DiskFull, StorageUnavailable

router = room("operation")


class Sign(BaseModel):
    """A sign of life: `ok`, or why the server wants no requests now."""

    status: Literal["ok", "starting", "failed"]


@router.get(
    "/metrics",
    response_class=Response,
    responses=content("text/plain", "The figures.", "triseal_applications 3.0\n")
    | problems(StorageUnavailable),
)
async def metrics(rooms: RoomsDep) -> Response:
    """Counts, seconds and bytes for Prometheus, in its text format; no ids and no names."""
    alive = await run_in_threadpool(_alive, rooms.storage)
    queued, running = (
        (0, 0) if rooms.desk is None else await run_in_threadpool(rooms.desk.claims.counts)
    )
    text = rooms.metrics.text(applications=alive, queued=queued, running=running)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/health/live", response_model=Sign)
async def live() -> JSONResponse:
    """200 whenever the server's process answers at all; restart it when this fails."""
    return JSONResponse({"status": "ok"})


@router.get("/health/ready", response_model=Sign, responses=not_yet(Sign, StorageUnavailable))
async def ready(rooms: RoomsDep) -> JSONResponse:
    """200 when the workers have their engine and the storage answers and has room, else 503.

    A problem says what is wrong with the storage, and `/health` why the engine cannot be loaded.
    """
    if rooms.ready:
        try:
            await run_in_threadpool(rooms.storage.probe)
        except DiskFull as full:
            raise StorageUnavailable(full.message) from full
        return JSONResponse({"status": "ok"})
    return JSONResponse(
        {"status": "starting" if rooms.fault is None else "failed"}, status_code=503
    )


def _alive(storage: Storage) -> int:
    with storage.read() as session:
        return count_live(session, time.time())
