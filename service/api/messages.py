"""Routes for messages between parties, and for the log of an application's traffic."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from contract.http import Exchanged, Posted, RelayedMessages, Traffic
from service.api.dependencies import ClientId, ServerStateDep, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from service.applications.relay import MAXIMUM_BODY, STEP_PATTERN, Given
from utils.errors import AlreadySent, InvalidRequest, OutOfStep, UnknownParty, UploadEmpty

router = make_router("between parties", "/applications")

LONGEST_WAIT = 25.0
GLANCE_SECONDS = 0.5
"""Interval at which a waiting call checks whether the server is shutting down."""
MAXIMUM_TEXT = -(-MAXIMUM_BODY // 3) * 4
LARGEST_REQUEST = MAXIMUM_TEXT + 4096
MAXIMUM_POSTED = 8
"""Maximum number of messages in one exchange."""
MAXIMUM_AWAITED = 64
LARGEST_EXCHANGE = MAXIMUM_POSTED * LARGEST_REQUEST + 64 * 1024
LONGEST_LINGER = 2.0
ENDED = ("done", "failed", "cancelled")
_LARGEST_NUMBER = 2**31 - 1  # what the column holds in PostgreSQL


class MessageRequest(BaseModel):
    """A message for one step; a `receiver` of null means all parties."""

    model_config = ConfigDict(extra="forbid")

    step: Annotated[str, Field(pattern=STEP_PATTERN, max_length=49)]
    receiver: Annotated[str | None, Field(max_length=256)] = None
    body: Annotated[str, Field(max_length=MAXIMUM_TEXT, repr=False, description="Base64.")]

    def given(self, name: str = "body") -> Given:
        """Return the message with its bytes; raises InvalidRequest unless they are base64."""
        try:
            body = base64.b64decode(self.body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest(f"{name}: send the message's bytes as base64.") from error
        return Given(self.step, self.receiver, body)


class Awaited(BaseModel):
    """A message that the caller waits for."""

    model_config = ConfigDict(extra="forbid")

    sender: Annotated[str, Field(max_length=256)]
    step: Annotated[str, Field(pattern=STEP_PATTERN, max_length=49)]


class ExchangeRequest(BaseModel):
    """Messages to post, and conditions to wait for.

    If `wait` is 0, the response is immediate. Otherwise it is sent, within `wait` seconds, once
    all messages of `until` have arrived and the run of the program `until_ended` has ended. If
    there is any other change (a message was posted or has arrived, or the state's tag differs from
    `seen`), it is sent `linger` seconds later. If neither `until` nor `until_ended` is given, it is
    sent at the first change, without delay.
    """

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[MessageRequest], Field(max_length=MAXIMUM_POSTED)] = []
    after: Annotated[int, Field(ge=0, le=_LARGEST_NUMBER)] = 0
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT)] = 0.0
    seen: Annotated[str, Field(max_length=64)] = ""
    until: Annotated[list[Awaited], Field(max_length=MAXIMUM_AWAITED)] = []
    until_ended: Annotated[str | None, Field(max_length=256)] = None
    linger: Annotated[float, Field(ge=0, le=LONGEST_LINGER)] = 0.0

    def given(self) -> list[Given]:
        """Return the messages to post; raises InvalidRequest."""
        return [one.given(f"messages.{i}.body") for i, one in enumerate(self.messages)]

    @property
    def waits_for_all(self) -> bool:
        """Return True if the request has conditions to wait for."""
        return bool(self.until) or self.until_ended is not None

    def complete(self, found: Exchanged) -> bool:
        """Return True if all conditions of the request are met."""
        arrived = {(message.sender, message.step) for message in found.messages}
        if any((one.sender, one.step) not in arrived for one in self.until):
            return False
        if self.until_ended is None:
            return True
        program = found.state.programs.get(self.until_ended)
        return program is None or program.status in ENDED

    def has_news(self, found: Exchanged) -> bool:
        """Return True if there is any message or change that the caller has not seen."""
        changed = self.seen != "" and found.tag != self.seen
        return bool(self.messages or found.messages) or changed


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
    """Send a message from the token's party to another or to all; one per step and receiver."""
    one = message.given()
    number = services.relay.post(client_id, token, one.step, one.receiver, one.body)
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
    """Return messages numbered above `after` that the token's party sent or may read.

    If there are none, wait up to `wait` seconds for one, or for a state of the application whose
    tag differs from `seen`.
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


@router.post(
    "/{client_id}/exchange",
    response_model=Exchanged,
    responses=problems(
        *APPLICATION, *TOKEN, *BODY, UnknownParty, UploadEmpty, AlreadySent, OutOfStep
    ),
)
async def exchange(
    client_id: ClientId,
    request: ExchangeRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Response:
    """Post up to 8 messages, all or none, then wait for others' and return them with the state.

    The returned messages are those numbered above `after` that the token's party may read, except
    those posted by this call.
    """
    end = time.monotonic() + request.wait

    def post_and_read() -> Exchanged:
        return services.relay.exchange(client_id, token, request.given(), request.after)

    def read(posted: Sequence[int]) -> Exchanged:
        return services.relay.exchange(client_id, token, (), request.after, posted)

    with server_state.events.subscribe(client_id) as changed:
        found = await run_in_threadpool(post_and_read)
        if request.messages:
            for _ in request.messages:
                server_state.metrics.relayed()
            server_state.events.changed(client_id, but=changed)
        pause = math.inf
        while not _enough(request, found):
            if request.has_news(found) and pause == math.inf:
                pause = time.monotonic() + request.linger
            if not await _woken(changed, min(end, pause)):
                break
            changed.clear()
            found = await run_in_threadpool(read, found.numbers)
    return Response(found.model_dump_json(), media_type="application/json")


def _enough(request: ExchangeRequest, found: Exchanged) -> bool:
    if request.waits_for_all:
        return request.complete(found)
    return request.has_news(found)


@router.get("/{client_id}/traffic", responses=problems(*APPLICATION, *TOKEN))
def traffic(client_id: ClientId, services: ServicesDep, token: TokenDep) -> Traffic:
    """Return the log of the application's traffic, without content.

    Requires a party's token with the scope `read`, or the watch token.
    """
    return services.relay.traffic(client_id, token)


async def _woken(changed: asyncio.Event, end: float) -> bool:
    """Return True if the application changed before `end` and the server is not shutting down."""
    while not AppStatus.should_exit and (left := end - time.monotonic()) > 0:
        try:
            await asyncio.wait_for(changed.wait(), min(left, GLANCE_SECONDS))
        except TimeoutError:
            continue
        return True
    return False
