"""For the one who runs the server, with the operator's token: see all, cancel, revoke, erase."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import Depends, Query
from starlette.concurrency import run_in_threadpool

from contract.http import ApplicationState, ProgramState, RunStatus
from service.api.dependencies import (
    ClientId,
    ProgramName,
    ServerStateDep,
    ServicesDep,
    require_operator,
)
from service.api.openapi import APPLICATION, READY, make_router, problems
from service.operations.overview import ApplicationLines, JobLines
from utils.errors import InvalidRequest, NotAuthorised, UnknownName

logger = logging.getLogger("triseal.operator")
router = make_router("operation", "/operator", dependencies=[Depends(require_operator)])

_LISTS = problems(*READY, InvalidRequest, NotAuthorised)
_ONE = problems(*APPLICATION, NotAuthorised)


@router.get("/applications", responses=_LISTS)
def applications(
    services: ServicesDep, after: Annotated[str | None, Query(max_length=32)] = None
) -> ApplicationLines:
    """All applications, a page at a time."""
    return services.operations.applications(after)


@router.get("/jobs", responses=_LISTS)
def jobs(services: ServicesDep, status: RunStatus | None = None) -> JobLines:
    """The newest jobs, of one status or of any."""
    return services.operations.jobs(status)


@router.get("/applications/{client_id}", responses=_ONE)
def show(client_id: ClientId, services: ServicesDep) -> ApplicationState:
    """What its parties see of an application."""
    return services.operations.show(client_id)


@router.delete("/applications/{client_id}", status_code=204, responses=_ONE)
async def erase(client_id: ClientId, services: ServicesDep) -> None:
    """Erase everything of an application, now."""
    await services.erasure.erase_for_operator(client_id)
    logger.info("erased by the operator", extra={"facts": {"application": client_id}})


@router.delete(
    "/applications/{client_id}/runs/{program}",
    responses=problems(*APPLICATION, NotAuthorised, UnknownName),
)
async def cancel(client_id: ClientId, program: ProgramName, services: ServicesDep) -> ProgramState:
    """End a run that waits or is under way."""
    state = await run_in_threadpool(services.jobs.cancel_for_operator, client_id, program)
    logger.info("cancelled by the operator", extra={"facts": {"application": client_id}})
    return services.runs.cancelled(client_id, state)


@router.delete("/applications/{client_id}/tokens", status_code=204, responses=_ONE)
def revoke(client_id: ClientId, server_state: ServerStateDep, services: ServicesDep) -> None:
    """End all tokens of an application; nobody can do anything in it until it expires."""
    services.operations.revoke(client_id)
    server_state.events.changed(client_id)
    logger.info("tokens revoked", extra={"facts": {"application": client_id}})
