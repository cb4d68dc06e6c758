"""The server as an ASGI app: its routes, its bounds, and its life from start to end."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from service import problems
from service.applications import Applications
from service.dependencies import Desk, Rooms
from service.evaluation import Evaluator
from service.events import Events
from service.headers import SecurityHeaders
from service.limits import SMALL_BODY, BodyLimit
from service.metrics import Metrics, ProblemCount
from service.relay import Relay
from service.routes import applications, messages, metrics, model, relay
from service.runs import Runs
from service.storage import Storage
from service.upkeep import recover, sweep
from service.worker import EngineLoader, load_registered
from settings import Settings
from utils.errors import TrisealError

logger = logging.getLogger("triseal.app")

_RELAY_PATH = re.compile(r"/applications/[^/]*/messages")
LONGEST_SWEEP_SECONDS = 60.0
SHORTEST_SWEEP_SECONDS = 0.2


class GuardedApp(FastAPI):
    """A FastAPI app whose answers all carry the security headers, and whose problems are counted.

    Both lie around what FastAPI builds: added to it, they would miss the answer to a fault of ours.
    """

    def __init__(self, figures: Metrics, **facts: Any) -> None:
        super().__init__(**facts)
        self._figures = figures

    def build_middleware_stack(self) -> ASGIApp:
        """What FastAPI builds, in the two layers of ours."""
        return SecurityHeaders(
            ProblemCount(super().build_middleware_stack(), self._figures),
            pages=(self.docs_url, self.redoc_url, self.swagger_ui_oauth2_redirect_url),
            cacheable=(self.openapi_url,),
        )


def create_app(settings: Settings, loader: EngineLoader = load_registered) -> FastAPI:
    """The app; nothing is started or written before its lifespan begins.

    `loader` must be importable by its name, since it is called in the worker processes.
    """

    figures = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        storage = Storage(settings.server_data)
        recover(storage)
        rooms = Rooms(settings, storage, Events(), Evaluator(settings, loader), figures)
        app.state.rooms = rooms
        background = [asyncio.create_task(_load(rooms)), asyncio.create_task(_sweep(rooms))]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            if rooms.desk is not None:
                await rooms.desk.runs.stop()
            await rooms.evaluator.stop()
            storage.close()

    app = GuardedApp(
        figures,
        title="Triseal",
        summary="Credit decisions on encrypted data; this server holds no key.",
        version="0.1.0",
        lifespan=lifespan,
    )
    problems.install(app)
    for room in (model, applications, messages, relay, metrics):
        app.include_router(room.router)
    app.add_middleware(BodyLimit, limit_of=lambda path: _limit(app, path))
    return app


def _limit(app: FastAPI, path: str) -> int:
    if _RELAY_PATH.fullmatch(path):
        return relay.LARGEST_REQUEST
    desk: Desk | None = app.state.rooms.desk
    if path != "/send_file" or desk is None:
        return SMALL_BODY
    return desk.largest_slot + SMALL_BODY


async def _load(rooms: Rooms) -> None:
    """Start the workers and, when they have their engine, open the desk."""
    start = time.monotonic()
    try:
        introduction = await rooms.evaluator.start()
    except TrisealError as error:
        rooms.fault = error
        logger.error("the engine cannot be loaded: %s", error.message)
        return
    public = introduction.public
    registry = Applications(
        rooms.storage,
        public,
        hours=rooms.settings.application_hours,
        maximum=rooms.settings.maximum_applications,
    )
    rooms.desk = Desk(
        public=public,
        public_json=public.model_dump_json(by_alias=True).encode(),
        client_files=introduction.client_files,
        largest_slot=max(slot.maximum_bytes for slot in public.slots),
        applications=registry,
        runs=Runs(registry, rooms.evaluator, rooms.events, rooms.metrics),
        relay=Relay(rooms.storage, public),
    )
    logger.info(
        "ready",
        extra={
            "facts": {
                "engine": public.engine.name,
                "model": public.model_version,
                "seconds": round(time.monotonic() - start, 1),
            }
        },
    )


async def _sweep(rooms: Rooms) -> None:
    """Erase expired applications, again and again."""
    lifetime = rooms.settings.application_hours * 3600
    pause = min(LONGEST_SWEEP_SECONDS, max(SHORTEST_SWEEP_SECONDS, lifetime / 4))
    while True:
        try:
            erased = await run_in_threadpool(sweep, rooms.storage, time.time())
        except Exception:  # whatever it is, the next round tries again
            logger.exception("sweeping")
        else:
            for client_id in erased:
                rooms.events.changed(client_id)
            if erased:
                logger.info("expired", extra={"facts": {"applications": len(erased)}})
        await asyncio.sleep(pause)
