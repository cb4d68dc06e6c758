"""A program's run as a job: ask for it, look at it, cancel it."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool

from contract.http import ProgramState
from service.api.dependencies import ClientId, ProgramName, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, TOKEN, make_router, problems
from utils.errors import (
    AlreadyRunning,
    ForeignMessage,
    OutOfStep,
    QueueFull,
    QuotaExceeded,
    UnknownName,
)

logger = logging.getLogger("triseal.runs")
router = make_router("runs", "/applications")

ASKED = (UnknownName, OutOfStep, AlreadyRunning, ForeignMessage, QuotaExceeded, QueueFull)
"""What may keep a program from being queued."""


@router.post(
    "/{client_id}/runs/{program}",
    status_code=202,
    responses=problems(*APPLICATION, *TOKEN, *ASKED),
)
async def ask(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """Queue a program and answer at once. One that is queued, running or done is left as it is."""
    return await services.runs.ask(client_id, token, program)


@router.get("/{client_id}/runs/{program}", responses=problems(*APPLICATION, *TOKEN, UnknownName))
async def look(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """How far it is."""
    return await run_in_threadpool(services.jobs.view, client_id, token, program)


@router.delete("/{client_id}/runs/{program}", responses=problems(*APPLICATION, *TOKEN, UnknownName))
async def cancel(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """End a run that waits or is under way; it may be asked for again."""
    state = await services.runs.cancel(client_id, token, program)
    logger.info("cancel", extra={"facts": {"application": client_id, "job": state.job}})
    return state
