"""Open an application, join it, follow it, erase it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from contract.http import ApplicationState, Joined, Opened
from service.api.dependencies import ClientId, LoadedServices, ServerStateDep, ServicesDep, TokenDep
from service.api.examples import EVENT
from service.api.openapi import APPLICATION, BODY, READY, TOKEN, content, make_router, problems
from service.applications.events import Events
from utils.errors import (
    ApplicationError,
    NotAuthorised,
    TooManyApplications,
    TooManyRequests,
    UnknownParty,
)

logger = logging.getLogger("triseal.applications")
router = make_router("applications", "/applications")

SEND_SECONDS = 30.0
"""A listener that takes nothing for so long is cut off."""


class OpenRequest(BaseModel):
    """Which parties learn the answer; all where none are named."""

    model_config = ConfigDict(extra="forbid")

    readers: Annotated[
        list[Annotated[str, Field(max_length=256)]] | None, Field(min_length=1, max_length=64)
    ] = None


class JoinRequest(BaseModel):
    """Which party joins, with the code it was given.

    `scopes` are what its token may do, of send, run, read, relay and erase; all where none is
    named.
    """

    model_config = ConfigDict(extra="forbid")

    party: Annotated[str, Field(max_length=256)]
    code: Annotated[str, Field(max_length=256, repr=False)]
    scopes: Annotated[
        list[Annotated[str, Field(max_length=16)]] | None, Field(min_length=1, max_length=8)
    ] = None


@router.post(
    "",
    status_code=201,
    responses=problems(*READY, *BODY, UnknownParty, TooManyApplications, TooManyRequests),
)
def open_application(
    request: Request,
    server_state: ServerStateDep,
    services: ServicesDep,
    body: OpenRequest | None = None,
) -> Opened:
    """Open an application; hand each party its own join code."""
    server_state.rate_limits.opening("" if request.client is None else request.client.host)
    opened = services.applications.open(None if body is None else body.readers)
    logger.info("opened", extra={"facts": {"application": opened.client_id}})
    return opened


@router.post(
    "/{client_id}/join", responses=problems(*APPLICATION, *BODY, UnknownParty, NotAuthorised)
)
def join(
    client_id: ClientId, body: JoinRequest, server_state: ServerStateDep, services: ServicesDep
) -> Joined:
    """Give a join code for the party's token. A code works once."""
    joined = services.party_tokens.join(client_id, body.party, body.code, body.scopes)
    server_state.events.changed(client_id)
    return joined


@router.post("/{client_id}/token", responses=problems(*APPLICATION, *TOKEN))
def renew(client_id: ClientId, services: ServicesDep, token: TokenDep) -> Joined:
    """A new token in place of this one, which is good for a minute more."""
    return services.party_tokens.renew(client_id, token)


@router.delete("/{client_id}/token", status_code=204, responses=problems(*APPLICATION, *TOKEN))
def revoke(client_id: ClientId, services: ServicesDep, token: TokenDep) -> None:
    """End this token, at once; the party has no other way in."""
    services.party_tokens.revoke(client_id, token)


@router.get("/{client_id}", responses=problems(*APPLICATION, *TOKEN))
def state(client_id: ClientId, services: ServicesDep, token: TokenDep) -> ApplicationState:
    """What has been sent, what is missing, what has been run."""
    return services.applications.look(client_id, token, services.scheduler.progress)


@router.get(
    "/{client_id}/events",
    response_class=EventSourceResponse,
    responses=content("text/event-stream", "Events named `state`.", EVENT)
    | problems(*APPLICATION, *TOKEN),
)
async def events(
    client_id: ClientId, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> EventSourceResponse:
    """The state as server-sent events named `state`: now, and at each change or progress.

    Ends when the application is gone.
    """
    await run_in_threadpool(services.applications.require_viewer, client_id, token)
    stream = _states(client_id, services, server_state.events)
    return EventSourceResponse(stream, send_timeout=SEND_SECONDS)


@router.delete("/{client_id}", status_code=204, responses=problems(*APPLICATION, *TOKEN))
async def erase(client_id: ClientId, services: ServicesDep, token: TokenDep) -> None:
    """Erase everything of this application, now; a run of it under way is ended."""
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
                    services.applications.state, client_id, services.scheduler.progress
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
                continue  # its time is over, which the next look finds
