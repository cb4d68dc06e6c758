"""The server as an ASGI app: its routes, middleware and lifespan."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import (
    applications,
    governance,
    log,
    model,
    operator,
    permits,
    reviews,
    runs,
    sessions,
    trainings,
    witness,
)
from service.api import calls as messages
from service.api import health as metrics
from service.api import messages as relay
from service.api.dependencies import LoadedServices, ServerState
from service.api.openapi import complete
from service.applications.applications import Applications
from service.applications.decision_files import DecisionFiles
from service.applications.events import Events
from service.applications.party_tokens import PartyTokens
from service.applications.permits import Permits
from service.applications.relay import Relay
from service.applications.reviews import Reviews
from service.applications.slots import Slots
from service.applications.witnesses import WitnessTasksService
from service.erasure import Erasure
from service.execution.checker import Checker
from service.execution.interface import Introduction
from service.execution.selection import executor_of
from service.execution.worker import EngineLoader, load_registered
from service.garbage_collector import ORPHAN_SECONDS, recover, remove_orphans, sweep
from service.governance.services import Governance
from service.http.hosts import FOREIGN_ORIGIN, UNKNOWN_HOST, hosts_of
from service.jobs.queue import Claims, Jobs
from service.jobs.scheduler import Scheduler
from service.jobs.waiting import Runs
from service.operations.metrics import Metrics, ProblemCount
from service.operations.overview import Operations
from service.sessions.rows import is_session
from service.sessions.services import SessionServices
from service.storage.blobs import MAXIMUM_BYTES
from service.storage.operator_token import operator_token
from service.storage.storage import Storage
from service.trainings.arrivals import is_training
from service.trainings.services import TrainingServices
from settings import Settings
from utils.errors import DeploymentMixed, StorageUnavailable, TrisealError
from utils.one_line import in_one_line
from utils.tokens import new_id
from web import documentation, problems
from web.body_limits import SMALL_BODY, BodyLimit, Pace
from web.forwarded import forwarded
from web.hosts import HostGuard
from web.rate_limits import RateLimits
from web.request_log import RequestLog
from web.security_headers import SecurityHeaders
from web.stopping import StopAnswer

logger = logging.getLogger("triseal.app")

_RELAY_PATH = re.compile(r"/applications/[^/]*/messages")
_EXCHANGE_PATH = re.compile(r"/applications/[^/]*/exchange")
_SESSION_PATH = re.compile(r"/sessions/[^/]*/messages")
_TRAINING_PATH = re.compile(r"/trainings/[^/]*/exchange")
_UPLOAD_PATH = re.compile(r"/send_file|/applications/[^/]*/slots/[^/]*")
_POLICY_PATH = re.compile(r"/policies/[^/]*")
LARGEST_POLICY = 1 << 20
"""Bytes of a request with a file of the policy."""
LONGEST_SWEEP_SECONDS = 60.0
SHORTEST_SWEEP_SECONDS = 0.2
CLUSTER_SECONDS = 5.0
"""Pause between attempts to reach a cluster that is not available yet."""
TIDY_SECONDS = 600.0
"""Interval between searches for blobs that no row refers to."""
FAULT_SECONDS = 5.0
"""Interval between probes of a failing storage."""


class GuardedApp(FastAPI):
    """A FastAPI app that logs requests, counts errors, and adds security headers to all responses.

    The middleware for this wraps FastAPI's whole stack. Added with `add_middleware`, it would not
    see the response to an unhandled exception.
    """

    def __init__(self, figures: Metrics, proxies: str, **facts: Any) -> None:
        super().__init__(**facts)
        self._figures, self._proxies = figures, proxies
        self.start_fault: TrisealError | OSError | None = None
        """The error that kept the lifespan from starting."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or the lifespan; report a failed startup in one line."""

        async def brief_send(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and self.start_fault is not None:
                message = {**message, "message": in_one_line(self.start_fault)}
            await send(message)

        await super().__call__(scope, receive, brief_send if scope["type"] == "lifespan" else send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document: FastAPI's, completed on the first call."""
        return self.openapi_schema or complete(super().openapi())

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's middleware stack, wrapped in this app's own."""
        return RequestLog(
            SecurityHeaders(
                ProblemCount(
                    StopAnswer(forwarded(super().build_middleware_stack(), self._proxies)),
                    self._figures,
                ),
                pages=documentation.PATHS,
                cacheable=(self.openapi_url,),
            )
        )


def create_app(
    settings: Settings, loader: EngineLoader = load_registered, storage: Storage | None = None
) -> FastAPI:
    """Return the app; nothing is started or written before its lifespan begins.

    `loader` must be importable by name, since it is called in the worker processes. `storage` may
    be a storage that is already open; the app closes it.
    """

    figures = Metrics()
    small_bodies = Pace(settings.stall_timeout, settings.stall_timeout)

    @asynccontextmanager
    async def lifespan(app: GuardedApp) -> AsyncIterator[None]:
        try:
            server_state = await _open_server_state(settings, loader, figures, storage)
        except (TrisealError, OSError) as error:
            app.start_fault = error
            raise
        app.state.server_state = server_state
        background = [
            asyncio.create_task(_load(server_state)),
            asyncio.create_task(_sweep(server_state)),
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            if server_state.services is not None:
                await server_state.services.scheduler.stop()
                await server_state.services.runs.stop()
            await asyncio.gather(server_state.executor.stop(), server_state.checker.stop())
            server_state.storage.close()

    app = GuardedApp(
        figures,
        settings.trusted_proxies,
        title="Triseal",
        summary="Credit decisions on encrypted data; this server holds no key.",
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,  # behind a proxy with a path prefix, the redirect would be wrong
        docs_url=None,  # FastAPI's own pages load their viewers from third-party hosts
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # this app has its own
    )
    problems.install(app)
    # The router compares a path with one route after another, so frequent ones come first.
    for routes in (
        trainings,
        relay,
        messages,
        applications,
        runs,
        permits,
        reviews,
        model,
        metrics,
        witness,
        operator,
    ):
        app.include_router(routes.router)
    for router in (sessions.router, log.router, governance.router, governance.operator_router):
        app.include_router(router)
    app.include_router(documentation.router)
    app.add_middleware(
        BodyLimit,
        limit_of=lambda path: _limit(app, path),
        # Uploads are timed from the start of their file (service/applications/uploads.py).
        pace_of=lambda path: None if _UPLOAD_PATH.fullmatch(path) else small_bodies,
    )
    app.add_middleware(  # the last one added comes first
        HostGuard,
        hosts=hosts_of(settings),
        unknown_host=UNKNOWN_HOST,
        foreign_origin=FOREIGN_ORIGIN,
    )
    return app


async def _open_server_state(
    settings: Settings, loader: EngineLoader, figures: Metrics, opened: Storage | None
) -> ServerState:
    storage = await run_in_threadpool(Storage, settings) if opened is None else opened
    try:
        recover(storage)
        return ServerState(
            settings=settings,
            storage=storage,
            events=Events(),
            executor=executor_of(settings, storage.place, loader),
            checker=Checker(settings, loader),
            rate_limits=RateLimits(settings),
            metrics=figures,
            operator_token=operator_token(settings),
            governance=await run_in_threadpool(Governance.open, storage, settings),
            sessions=SessionServices.open(storage, settings),
            trainings=TrainingServices.open(storage, settings),
        )
    except BaseException:
        storage.close()
        raise


def _limit(app: FastAPI, path: str) -> int:
    if _RELAY_PATH.fullmatch(path):
        return relay.LARGEST_REQUEST
    if _EXCHANGE_PATH.fullmatch(path):
        return relay.LARGEST_EXCHANGE
    if _SESSION_PATH.fullmatch(path):
        return sessions.LARGEST_SESSION_REQUEST
    if _TRAINING_PATH.fullmatch(path):
        return trainings.LARGEST_TRAINING_EXCHANGE
    if _POLICY_PATH.fullmatch(path):
        return LARGEST_POLICY
    if not _UPLOAD_PATH.fullmatch(path):
        return SMALL_BODY
    services: LoadedServices | None = app.state.server_state.services
    # While the engine loads, no file is read and the response is 503, not 413.
    return SMALL_BODY + (MAXIMUM_BYTES if services is None else services.largest_slot)


async def _load(server_state: ServerState) -> None:
    """Start the workers and create the services once the engine is loaded."""
    start = time.monotonic()
    while True:
        try:
            introduction, _ = await asyncio.gather(
                server_state.executor.start(), server_state.checker.start()
            )
            break
        except TrisealError as error:
            server_state.fault = error
            logger.error("the engine cannot be loaded: %s", error.message)
            if not server_state.executor.may_come_later:
                return
            await asyncio.sleep(CLUSTER_SECONDS)
    public = introduction.public
    if hashlib.sha256(introduction.client_files).hexdigest() != public.client_sha256:
        server_state.fault = DeploymentMixed(
            "The client files do not match the digest in the model; compile the model again."
        )
        return
    server_state.fault = None
    services = _load_services(server_state, introduction)
    if not server_state.storage.shared:
        await run_in_threadpool(services.claims.recover)
    services.scheduler.start()
    server_state.storage.listen(_on_change(server_state, services.scheduler))
    server_state.services = services
    logger.info(
        "ready",
        extra={
            "facts": {
                "engine": public.engine.name,
                "model": public.model_version,
                "node": services.node,
                "seconds": round(time.monotonic() - start, 1),
            }
        },
    )


def _load_services(server_state: ServerState, introduction: Introduction) -> LoadedServices:
    public, storage, settings = introduction.public, server_state.storage, server_state.settings
    shared = (storage, public, settings)
    all_applications, jobs = Applications(*shared), Jobs(*shared)
    node = new_id()
    claims = Claims(*shared, node)
    scheduler = Scheduler(
        claims,
        server_state.executor,
        server_state.events,
        server_state.metrics,
        lease_seconds=settings.lease_seconds,
        evaluation_timeout=settings.evaluation_timeout,
    )
    return LoadedServices(
        node=node,
        public=public,
        public_json=public.model_dump_json(by_alias=True).encode(),
        client_files=introduction.client_files,
        largest_slot=max(slot.maximum_bytes for slot in public.slots),
        applications=all_applications,
        party_tokens=PartyTokens(*shared),
        permits=Permits(*shared),
        slots=Slots(*shared),
        jobs=jobs,
        claims=claims,
        scheduler=scheduler,
        runs=Runs(
            jobs, scheduler, server_state.executor, server_state.events, server_state.metrics
        ),
        erasure=Erasure(
            storage, all_applications, scheduler, server_state.executor, server_state.events
        ),
        relay=Relay(storage, public),
        reviews=Reviews(*shared),
        decision_files=DecisionFiles(*shared),
        witness_tasks=WitnessTasksService(*shared),
        operations=Operations(storage, public),
    )


def _on_change(server_state: ServerState, scheduler: Scheduler) -> Callable[[str | None], None]:
    """Return the callback for changes announced by other servers; it may run in any thread."""
    loop = asyncio.get_running_loop()
    events, arrivals = server_state.events, server_state.trainings.arrivals

    def changed(client_id: str | None) -> None:
        if client_id is not None and is_training(client_id):
            arrivals.announced(client_id)
            return
        if client_id is not None and is_session(client_id):
            events.changed(client_id)
            return
        loop.call_soon_threadsafe(scheduler.wake)
        if client_id is None:
            events.changed_all()
            arrivals.changed_all()
        else:
            events.changed(client_id)

    return changed


async def _sweep(server_state: ServerState) -> None:
    """Erase expired applications and, less often, orphaned blobs, until cancelled."""
    lifetime = server_state.settings.application_hours * 3600
    pause = min(LONGEST_SWEEP_SECONDS, max(SHORTEST_SWEEP_SECONDS, lifetime / 4))
    tidied = time.monotonic()
    while True:
        try:
            swept = await run_in_threadpool(sweep, server_state.storage, time.time())
            if time.monotonic() - tidied > TIDY_SECONDS:
                tidied = time.monotonic()
                swept.stores += await run_in_threadpool(
                    remove_orphans, server_state.storage, ORPHAN_SECONDS
                )
        except StorageUnavailable:
            pass  # logged once, by the storage
        except Exception:  # the next round tries again
            logger.exception("sweeping")
        else:
            for client_id in swept.applications:
                server_state.events.changed(client_id)
            for store in swept.stores:
                await server_state.executor.forget(store)
            if swept.stores:
                logger.info("expired", extra={"facts": {"applications": len(swept.stores)}})
        with suppress(StorageUnavailable):
            await run_in_threadpool(server_state.storage.probe)
        await asyncio.sleep(
            pause if server_state.storage.health.fault is None else min(pause, FAULT_SECONDS)
        )
