"""Routes for runs as jobs: start a run, check its progress, cancel it."""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool

from contract.http import ProgramState
from service.api.dependencies import ClientId, ProgramName, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, TOKEN, make_router, problems
from utils.errors import (
    AlreadyRunning,
    ConsentMissing,
    ForeignMessage,
    OutOfStep,
    PermitSpent,
    QueueFull,
    QuotaExceeded,
    UnknownName,
)

logger = logging.getLogger("triseal.runs")
router = make_router("runs", "/applications")

ASKED = (
    *(UnknownName, OutOfStep, AlreadyRunning, ForeignMessage, QuotaExceeded, QueueFull),
    *(ConsentMissing, PermitSpent),
)
"""Errors that may keep a program from being queued."""


@router.post(
    "/{client_id}/runs/{program}",
    status_code=202,
    summary="Start a run",
    response_description="The program's state; the run continues in the background.",
    responses=problems(*APPLICATION, *TOKEN, *ASKED),
)
async def ask(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """Queue a program and return at once.

    This spends a permit of every party whose data the program uses; a comparison needs none. A
    program that is queued, running or done is left unchanged. Requires a token with the scope
    `run`.
    """
    return await services.runs.ask(client_id, token, program)


@router.get(
    "/{client_id}/runs/{program}",
    summary="Check a run",
    response_description="The program's state.",
    responses=problems(*APPLICATION, *TOKEN, UnknownName),
)
async def look(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """Return the state of a program: its status, progress, times and error, if any.

    Requires a token with the scope `read`.
    """
    return await run_in_threadpool(
        services.jobs.view, client_id, token, program, services.scheduler.live_runs
    )


@router.delete(
    "/{client_id}/runs/{program}",
    summary="Cancel a run",
    response_description="The program's state.",
    responses=problems(*APPLICATION, *TOKEN, UnknownName),
)
async def cancel(
    client_id: ClientId, program: ProgramName, services: ServicesDep, token: TokenDep
) -> ProgramState:
    """Cancel a run that is queued or running; it may be started again, with new permits.

    A run in any other state is left unchanged. Requires a token with the scope `run`.
    """
    state = await services.runs.cancel(client_id, token, program)
    logger.info("cancel", extra={"facts": {"application": client_id, "job": state.job}})
    return state
