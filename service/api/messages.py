"""What parties say to each other, and what may be seen of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from service.answers import Posted, RelayedMessages, Traffic
from service.api.dependencies import ClientId, ServerStateDep, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from service.applications.relay import MAXIMUM_BODY, STEP_PATTERN
from utils.errors import AlreadySent, InvalidRequest, OutOfStep, UnknownParty, UploadEmpty

router = make_router("between parties", "/applications")

LONGEST_WAIT = 25.0
GLANCE_SECONDS = 0.5
"""How often one who waits looks whether the server is about to end."""
MAXIMUM_TEXT = -(-MAXIMUM_BODY // 3) * 4
LARGEST_REQUEST = MAXIMUM_TEXT + 4096
_LARGEST_NUMBER = 2**31 - 1  # what the column holds in PostgreSQL


class MessageRequest(BaseModel):
    """A body for one step, for one receiver or (null) all parties."""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[str, Field(pattern=STEP_PATTERN, max_length=49)]
    receiver: Annotated[str | None, Field(max_length=256)] = None
    body: Annotated[str, Field(max_length=MAXIMUM_TEXT, repr=False, description="Base64.")]


@router.post(
    "/{client_id}/messages",
    responses=problems(
        *APPLICATION, *TOKEN, *BODY, UnknownParty, UploadEmpty, AlreadySent, OutOfStep
    ),
)
def post(
    client_id: ClientId,
    message: MessageRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Posted:
    """Give a message of the token's party to another, or to all. A step has one message each."""
    try:
        body = base64.b64decode(message.body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("body: send the message's bytes as base64.") from error
    number = services.relay.post(client_id, token, message.step, message.receiver, body)
    server_state.metrics.relayed()
    server_state.events.changed(client_id)
    return Posted(number=number)


@router.get("/{client_id}/messages", responses=problems(*APPLICATION, *TOKEN))
async def messages(
    client_id: ClientId,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
    after: Annotated[int, Query(ge=0, le=_LARGEST_NUMBER)] = 0,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0.0,
    seen: Annotated[str, Query(max_length=64)] = "",
) -> RelayedMessages:
    """Messages with numbers above `after` to all, to the token's party, or from it.

    Where there are none, it waits up to `wait` seconds for one, or for a state of the application
    whose tag is not `seen`.
    """
    end = time.monotonic() + wait
    with server_state.events.subscribe(client_id) as changed:
        while True:
            changed.clear()
            found = await run_in_threadpool(services.relay.messages, client_id, token, after)
            if found.messages or (seen and found.tag != seen):
                return found
            if not await _woken(changed, end):
                return found


@router.get("/{client_id}/traffic", responses=problems(*APPLICATION, *TOKEN))
def traffic(client_id: ClientId, services: ServicesDep, token: TokenDep) -> Traffic:
    """All that travelled, without its content; also for the opener's token for watching."""
    return services.relay.traffic(client_id, token)


async def _woken(changed: asyncio.Event, end: float) -> bool:
    """Whether the application changed before `end`; False as well where the server is ending."""
    while not AppStatus.should_exit and (left := end - time.monotonic()) > 0:
        try:
            await asyncio.wait_for(changed.wait(), min(left, GLANCE_SECONDS))
        except TimeoutError:
            continue
        return True
    return False
