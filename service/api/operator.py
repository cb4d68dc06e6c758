"""Routes for the operator, with the operator's token: list, show, cancel, revoke, erase."""

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


@router.get(
    "/applications",
    summary="List applications",
    response_description="A page of applications.",
    responses=_LISTS,
)
def applications(
    services: ServicesDep,
    after: Annotated[
        str | None,
        Query(max_length=32, description="The value of `after` from the previous page."),
    ] = None,
) -> ApplicationLines:
    """List all applications, at most 200 per page, ordered by their ids.

    If `after` in the response is not null, pass it in the next call to get the next page.
    """
    return services.operations.applications(after)


@router.get(
    "/jobs",
    summary="List jobs",
    response_description="The newest jobs.",
    responses=_LISTS,
)
def jobs(
    services: ServicesDep,
    status: Annotated[
        RunStatus | None, Query(description="List only jobs with this status.")
    ] = None,
) -> JobLines:
    """List the 200 newest jobs, newest first, optionally with one status only."""
    return services.operations.jobs(status)


@router.get(
    "/applications/{client_id}",
    summary="Show an application",
    response_description="The application's state.",
    responses=_ONE,
)
def show(client_id: ClientId, services: ServicesDep) -> ApplicationState:
    """Return the state of an application, as its parties see it."""
    return services.operations.show(client_id)


@router.delete(
    "/applications/{client_id}",
    status_code=204,
    summary="Erase an application as the operator",
    response_description="The application has been erased.",
    responses=_ONE,
)
async def erase(client_id: ClientId, services: ServicesDep) -> None:
    """Erase all of an application's data at once; a run in progress is stopped."""
    await services.erasure.erase_for_operator(client_id)
    logger.info("erased by the operator", extra={"facts": {"application": client_id}})


@router.delete(
    "/applications/{client_id}/runs/{program}",
    summary="Cancel a run as the operator",
    response_description="The program's state.",
    responses=problems(*APPLICATION, NotAuthorised, UnknownName),
)
async def cancel(client_id: ClientId, program: ProgramName, services: ServicesDep) -> ProgramState:
    """Cancel a run that is queued or running; a run in any other state is left unchanged."""
    state = await run_in_threadpool(services.jobs.cancel_for_operator, client_id, program)
    logger.info("cancelled by the operator", extra={"facts": {"application": client_id}})
    return services.runs.cancelled(client_id, state)


@router.delete(
    "/applications/{client_id}/tokens",
    status_code=204,
    summary="Revoke all tokens of an application",
    response_description="The tokens are no longer valid.",
    responses=_ONE,
)
def revoke(client_id: ClientId, server_state: ServerStateDep, services: ServicesDep) -> None:
    """Revoke all tokens of an application, the watch token included.

    The application's data stays until it expires or is erased.
    """
    services.operations.revoke(client_id)
    server_state.events.changed(client_id)
    logger.info("tokens revoked", extra={"facts": {"application": client_id}})
