"""Open an application, join it, follow it, erase it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.answers import ApplicationState, Joined, Opened
from service.dependencies import Desk, DeskDep, RoomsDep, TokenDep
from service.events import Events
from utils.errors import ApplicationError

logger = logging.getLogger("triseal.applications")
router = APIRouter(prefix="/applications", tags=["applications"])

SEND_SECONDS = 30.0
"""A listener that takes nothing for so long is cut off."""


class OpenRequest(BaseModel):
    """Which parties learn the answer; all where none are named."""

    model_config = ConfigDict(extra="forbid")

    readers: Annotated[
        list[Annotated[str, Field(max_length=256)]] | None, Field(min_length=1, max_length=64)
    ] = None


class JoinRequest(BaseModel):
    """Which party joins, with the code it was given."""

    model_config = ConfigDict(extra="forbid")

    party: Annotated[str, Field(max_length=256)]
    code: Annotated[str, Field(max_length=256, repr=False)]


@router.post("", status_code=201)
def open_application(desk: DeskDep, body: OpenRequest | None = None) -> Opened:
    """Open an application; hand each party its own join code."""
    opened = desk.applications.open(None if body is None else body.readers)
    logger.info("opened", extra={"facts": {"application": opened.client_id[:8]}})
    return opened


@router.post("/{client_id}/join")
def join(client_id: str, body: JoinRequest, rooms: RoomsDep, desk: DeskDep) -> Joined:
    """Give a join code for the party's token. A code works once."""
    token = desk.applications.join(client_id, body.party, body.code)
    rooms.events.changed(client_id)
    return Joined(token=token)


@router.get("/{client_id}")
def state(client_id: str, desk: DeskDep, token: TokenDep) -> ApplicationState:
    """What has been sent, what is missing, what has been run."""
    desk.applications.require_viewer(client_id, token)
    return desk.applications.state(client_id, desk.runs.progress)


@router.get("/{client_id}/events", response_class=EventSourceResponse)
async def events(
    client_id: str, rooms: RoomsDep, desk: DeskDep, token: TokenDep
) -> EventSourceResponse:
    """The state as server-sent events named `state`: now, and at each change or progress.

    Ends when the application is gone.
    """
    await run_in_threadpool(desk.applications.require_viewer, client_id, token)
    stream = _states(client_id, desk, rooms.events)
    return EventSourceResponse(stream, send_timeout=SEND_SECONDS)


@router.delete("/{client_id}", status_code=204)
def erase(client_id: str, rooms: RoomsDep, desk: DeskDep, token: TokenDep) -> None:
    """Erase everything of this application, now."""
    desk.applications.erase(client_id, token)
    rooms.events.changed(client_id)
    logger.info("erased", extra={"facts": {"application": client_id[:8]}})


async def _states(client_id: str, desk: Desk, events: Events) -> AsyncIterator[ServerSentEvent]:
    last = None
    with events.subscribe(client_id) as changed:
        while True:
            changed.clear()
            try:
                now = await run_in_threadpool(
                    desk.applications.state, client_id, desk.runs.progress
                )
            except ApplicationError:
                return
            if now != last:
                last = now
                yield ServerSentEvent(data=now.model_dump_json(), event="state")
            left = now.expires_at.timestamp() - time.time()
            try:
                await asyncio.wait_for(changed.wait(), max(left, 0.0) + 0.01)
            except TimeoutError:
                continue  # its time is over, which the next look finds
