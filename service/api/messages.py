"""Routes for messages between parties, and for the log of an application's traffic."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Response
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from contract.http import (
    LARGEST_NUMBER,
    LONGEST_WAIT,
    MAXIMUM_PERMIT,
    MAXIMUM_PERMITS,
    MAXIMUM_POSTED,
    MAXIMUM_RECEIPT,
    MAXIMUM_RECEIPTS,
    MAXIMUM_TEXT,
    Exchanged,
    ExchangeRequest,
    MessageRequest,
    Posted,
    RelayedMessages,
    Traffic,
)
from service.api.dependencies import (
    ClientId,
    ServerStateDep,
    ServicesDep,
    TokenDep,
)
from service.api.exchange_wait import Effect, Wait, gives_result
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from service.api.permits import GIVEN
from service.api.runs import ASKED
from service.applications.events import Change, Sent
from service.applications.permits import Allowed
from service.applications.relay import Given, Heard
from utils.errors import (
    AlreadySent,
    InvalidRequest,
    OutOfStep,
    ReceiptInvalid,
    UnknownParty,
    UploadEmpty,
)

router = make_router("between parties", "/applications")

GLANCE_SECONDS = 0.5
"""Interval at which a waiting call checks whether the server is shutting down."""
LARGEST_REQUEST = MAXIMUM_TEXT + 4096
"""Maximum bytes of a request that posts one message."""
LARGEST_EXCHANGE = (
    MAXIMUM_POSTED * LARGEST_REQUEST
    + MAXIMUM_PERMITS * MAXIMUM_PERMIT
    + MAXIMUM_RECEIPTS * MAXIMUM_RECEIPT
    + 64 * 1024
)
"""Bytes of a request for an exchange."""

_POSTED = (*APPLICATION, *TOKEN, *BODY, UnknownParty, UploadEmpty, AlreadySent, OutOfStep)


@router.post(
    "/{client_id}/messages",
    summary="Post a message",
    response_description="The message's number.",
    responses=problems(*_POSTED),
)
def post(
    client_id: ClientId,
    message: MessageRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Posted:
    """Post a message of the token's party to another party, or to all parties.

    A party has one message per step and receiver. Posting the same body again returns the same
    number. Requires a token with the scope `relay`.
    """
    one = _given(message)
    number = services.relay.post(client_id, token, one.step, one.receiver, one.body)
    server_state.metrics.relayed()
    server_state.events.changed(client_id)
    return Posted(number=number)


@router.get(
    "/{client_id}/messages",
    summary="Read messages",
    response_description="The messages, oldest first, and the application's state.",
    responses=problems(*APPLICATION, *TOKEN),
)
async def messages(
    client_id: ClientId,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
    after: Annotated[
        int,
        Query(
            ge=0,
            le=LARGEST_NUMBER,
            description="Return only messages with higher numbers: that of the last one read.",
        ),
    ] = 0,
    wait: Annotated[
        float,
        Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait if there is no message."),
    ] = 0.0,
    seen: Annotated[
        str,
        Query(
            max_length=64,
            description="The tag of the state that the caller knows; another state ends the wait. "
            "If empty, only a message ends it.",
        ),
    ] = "",
) -> RelayedMessages:
    """Return messages to the token's party, to all parties, and from the party itself.

    If there are none numbered above `after`, the call waits up to `wait` seconds for one, or for a
    state of the application whose tag differs from `seen`. Requires a token with the scope `relay`.
    """
    end = time.monotonic() + wait
    with server_state.events.subscribe(client_id) as changed:
        while True:
            changed.clear()
            found = await run_in_threadpool(services.relay.messages, client_id, token, after)
            if found.messages or (seen and found.tag != seen):
                return found
            if not await woken(changed, end):
                return found


@router.post(
    "/{client_id}/exchange",
    response_model=Exchanged,
    summary="Post and read messages",
    response_description="The numbers of the posted messages, new messages, and the "
    "application's state.",
    responses=problems(*_POSTED, *GIVEN, ReceiptInvalid, *ASKED),
)
async def exchange(
    client_id: ClientId,
    body: ExchangeRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Response:
    """Post up to 8 messages, 8 permits and 8 receipts, all or none, then wait for other messages.

    The response has the application's state, and the messages numbered above `after` that the
    token's party may read, except those posted by this call. Permits and receipts are as in
    `POST /applications/{client_id}/permits`, but permits that have been used are ignored. If the
    program `run` cannot be queued, the call fails, but everything before it is kept. Requires
    a token with the scope `relay`, for permits and receipts also `send`, for `run` also `run`, and
    for a result also `read`.
    """
    end = time.monotonic() + body.wait

    def read(given: Sequence[Given], posted: Sequence[int], allowed: Allowed) -> Heard:
        return services.relay.exchange(client_id, token, given, body.after, posted, allowed)

    with server_state.events.subscribe(client_id) as changed:
        given = [_given(one, f"messages.{i}.body") for i, one in enumerate(body.messages)]
        allowed = Allowed(body.permits, body.receipts)
        posted: Sequence[int] = ()
        if given or allowed:
            heard = await run_in_threadpool(read, given, (), allowed)
            posted = heard.exchanged.numbers
            for _ in given:
                server_state.metrics.relayed()
            server_state.events.changed(client_id, _change(heard.party, given), changed)
        if body.run is not None:
            await services.runs.ask(client_id, token, body.run, but=changed)
        if body.run is not None or not (given or allowed):
            heard = await run_in_threadpool(read, (), posted, Allowed())
        pause = math.inf
        while not (wait := Wait(body, heard)).is_over:
            if pause == math.inf and wait.has_news:
                pause = time.monotonic() + body.linger
            effects: set[Effect] = set()
            while Effect.READ not in effects and await woken(changed, min(end, pause)):
                effects |= {wait.note(change) for change in changed.take()}
                if pause == math.inf and Effect.NEWS in effects:
                    pause = time.monotonic() + body.linger
            if effects:
                heard = await run_in_threadpool(read, (), posted, Allowed())
            if Effect.READ not in effects:
                break
    found, program = heard.exchanged, body.until_ended
    if program is not None and gives_result(body, found.state):
        result = await run_in_threadpool(services.applications.output, client_id, token, program)
        server_state.metrics.sent(program, len(result))
        found = found.model_copy(update={"result": result})
    return Response(found.model_dump_json(), media_type="application/json")


@router.get(
    "/{client_id}/traffic",
    summary="Read the traffic log",
    response_description="The log, oldest entry first.",
    responses=problems(*APPLICATION, *TOKEN),
)
def traffic(client_id: ClientId, services: ServicesDep, token: TokenDep) -> Traffic:
    """Return the log of the application's messages, uploads, runs and results, without content.

    Requires a party's token with the scope `read`, or the watch token.
    """
    return services.relay.traffic(client_id, token)


def _given(message: MessageRequest, name: str = "body") -> Given:
    """Return the message with its bytes; raises InvalidRequest unless they are base64."""
    try:
        return Given(message.step, message.receiver, message.content())
    except ValueError as error:
        raise InvalidRequest(f"{name}: send the message's bytes as base64.") from error


def _change(sender: str, given: Sequence[Given]) -> Change:
    """Return the change that these messages are; without any, permits were given."""
    return Change([Sent(sender, one.receiver, one.step) for one in given])


async def woken(changed: asyncio.Event, end: float) -> bool:
    """Return True if the application changed before `end` and the server is not shutting down."""
    while not AppStatus.should_exit and (left := end - time.monotonic()) > 0:
        try:
            await asyncio.wait_for(changed.wait(), min(left, GLANCE_SECONDS))
        except TimeoutError:
            continue
        return True
    return False
