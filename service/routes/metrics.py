"""What the ones who keep the server running ask of it: figures, and whether it lives."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from service.dependencies import RoomsDep
from service.rules import count_live
from service.storage import Storage

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(rooms: RoomsDep) -> Response:
    """Counts, seconds and bytes for Prometheus, in its text format; no ids and no names."""
    alive = await run_in_threadpool(_alive, rooms.storage)
    waiting, running = rooms.evaluator.under_way
    text = rooms.metrics.text(applications=alive, waiting=waiting, running=running)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/health/live")
async def live() -> JSONResponse:
    """200 whenever the server's process answers at all; restart it when this fails."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/health/ready", responses={503: {"description": "A worker has no engine, or not yet."}}
)
async def ready(rooms: RoomsDep) -> JSONResponse:
    """200 when both workers have their engine, 503 otherwise; `/health` says why it has none."""
    if rooms.ready:
        return JSONResponse({"status": "ok"})
    return JSONResponse(
        {"status": "starting" if rooms.fault is None else "failed"}, status_code=503
    )


def _alive(storage: Storage) -> int:
    with storage.read() as session:
        return count_live(session, time.time())
