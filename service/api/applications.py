"""Routes for applications: open, join, renew or revoke a token, read the state, erase."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from contract.http import ApplicationState, Joined, JoinRequest, Opened, OpenRequest
from service.api.dependencies import (
    ClientId,
    LoadedServices,
    ServerStateDep,
    ServicesDep,
    TokenDep,
    address_of,
)
from service.api.examples import EVENT
from service.api.openapi import APPLICATION, BODY, READY, TOKEN, content, make_router, problems
from service.applications.events import Events
from utils.errors import (
    ApplicationError,
    ForeignMessage,
    NotAuthorised,
    OutOfStep,
    TooManyApplications,
    TooManyRequests,
    UnknownParty,
)

logger = logging.getLogger("triseal.applications")
router = make_router("applications", "/applications")

SEND_SECONDS = 30.0
"""A client that reads nothing from an event stream for so long is disconnected."""


@router.post(
    "",
    status_code=201,
    summary="Open an application",
    response_description="The application's id, one join code per party, and the watch token.",
    responses=problems(*READY, *BODY, UnknownParty, TooManyApplications, TooManyRequests),
)
def open_application(
    request: Request,
    server_state: ServerStateDep,
    services: ServicesDep,
    body: OpenRequest | None = None,
) -> Opened:
    """Open an application and return a join code for each party.

    Give each party its own code, over a channel that you trust: the code can be exchanged for that
    party's token exactly once. The `watch_token` shows the application's state and traffic, but
    does not allow taking part. Neither the codes nor the token are shown again.
    """
    server_state.rate_limits.opening(address_of(request))
    body = body or OpenRequest()
    opened = services.applications.open(
        body.readers, body.witnesses, body.explanation_readers, body.reasons_readers
    )
    logger.info("opened", extra={"facts": {"application": opened.client_id}})
    return opened


@router.post(
    "/{client_id}/join",
    summary="Join as a party",
    response_description="The party's token, its scopes, and when it expires.",
    responses=problems(*APPLICATION, *BODY, ForeignMessage, UnknownParty, NotAuthorised),
)
def join(
    client_id: ClientId, body: JoinRequest, server_state: ServerStateDep, services: ServicesDep
) -> Joined:
    """Exchange a party's join code for its token. A code works once.

    Send the token as `Authorization: Bearer <token>` in the party's other calls. `permit_key` is
    the key that signs the party's permits, without which no program runs on its data.
    """
    joined = services.party_tokens.join(
        client_id, body.party, body.code, body.scopes, body.permit_key, body.model_sha256
    )
    server_state.events.changed(client_id)
    return joined


@router.post(
    "/{client_id}/token",
    summary="Renew a token",
    response_description="The new token, with the same scopes.",
    responses=problems(*APPLICATION, *TOKEN),
)
def renew(client_id: ClientId, services: ServicesDep, token: TokenDep) -> Joined:
    """Replace the party's token with a new one of the same scopes.

    The old token stays valid for one more minute, so that a lost response locks nobody out.
    """
    return services.party_tokens.renew(client_id, token)


@router.delete(
    "/{client_id}/token",
    status_code=204,
    summary="Revoke a token",
    response_description="The token is no longer valid.",
    responses=problems(*APPLICATION, *TOKEN),
)
def revoke(client_id: ClientId, services: ServicesDep, token: TokenDep) -> None:
    """Revoke the token of this call, at once.

    The join code has been used, so a party whose only token is revoked cannot rejoin.
    """
    services.party_tokens.revoke(client_id, token)


@router.get(
    "/{client_id}",
    summary="Read an application's state",
    response_description="The application's state.",
    responses=problems(*APPLICATION, *TOKEN),
)
def state(client_id: ClientId, services: ServicesDep, token: TokenDep) -> ApplicationState:
    """Return the files that have arrived, the missing ones, and the state of each program.

    Requires a party's token with the scope `read`, or the watch token.
    """
    return services.applications.look(client_id, token, services.scheduler.live_runs)


@router.get(
    "/{client_id}/events",
    response_class=EventSourceResponse,
    summary="Stream an application's state",
    responses=content("text/event-stream", "Events named `state`.", EVENT)
    | problems(*APPLICATION, *TOKEN),
)
async def events(
    client_id: ClientId, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> EventSourceResponse:
    """Stream the application's state as server-sent events named `state`.

    The first event holds the current state; another follows each change and each report of
    progress. The stream ends when the application expires or is erased. Requires a party's token
    with the scope `read`, or the watch token.
    """
    await run_in_threadpool(services.applications.require_viewer, client_id, token)
    stream = _states(client_id, services, server_state.events)
    return EventSourceResponse(stream, send_timeout=SEND_SECONDS)


@router.delete(
    "/{client_id}",
    status_code=204,
    summary="Erase an application",
    response_description="The application has been erased.",
    responses=problems(*APPLICATION, *TOKEN, OutOfStep),
)
async def erase(client_id: ClientId, services: ServicesDep, token: TokenDep) -> None:
    """Erase all of the application's data at once, for every party.

    A run in progress is stopped. While a review of the decision is open, only the applicant can
    erase the application. Requires a token with the scope `erase`.
    """
    await services.erasure.erase(client_id, token)
    logger.info("erased", extra={"facts": {"application": client_id}})


async def _states(
    client_id: str, services: LoadedServices, events: Events
) -> AsyncIterator[ServerSentEvent]:
    last = None
    with events.subscribe(client_id) as changed:
        while True:
            changed.clear()
            try:
                now = await run_in_threadpool(
                    services.applications.state, client_id, services.scheduler.live_runs
                )
            except ApplicationError:
                return
            if now != last:
                last = now
                yield ServerSentEvent(data=now.model_dump_json(), event="state")
            left = datetime.fromisoformat(now.expires_at).timestamp() - time.time()
            try:
                await asyncio.wait_for(changed.wait(), max(left, 0.0) + 0.01)
            except TimeoutError:
                continue  # the application has expired, which the next read reports
