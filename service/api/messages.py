"""What parties say to each other, and what may be seen of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from contract.http import Exchanged, Posted, RelayedMessages, Traffic
from service.api.dependencies import (
    ClientId,
    ServerState,
    ServerStateDep,
    ServicesDep,
    TokenDep,
)
from service.api.direct_route import DirectRoute
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from service.applications.relay import MAXIMUM_BODY, STEP_PATTERN, Given
from utils.errors import AlreadySent, InvalidRequest, OutOfStep, UnknownParty, UploadEmpty

router = make_router("between parties", "/applications")

LONGEST_WAIT = 25.0
GLANCE_SECONDS = 0.5
"""How often one who waits looks whether the server is about to end."""
MAXIMUM_TEXT = -(-MAXIMUM_BODY // 3) * 4
LARGEST_REQUEST = MAXIMUM_TEXT + 4096
MAXIMUM_POSTED = 8
"""Messages that one exchange may post."""
MAXIMUM_AWAITED = 64
LARGEST_EXCHANGE = MAXIMUM_POSTED * LARGEST_REQUEST + 64 * 1024
LONGEST_LINGER = 2.0
ENDED = ("done", "failed", "cancelled")
_LARGEST_NUMBER = 2**31 - 1  # what the column holds in PostgreSQL


class MessageRequest(BaseModel):
    """A body for one step, for one receiver or (null) all parties."""

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
    """Messages to post, and what to wait for.

    The answer comes at once if `wait` is 0. Otherwise it comes, within `wait` seconds, as soon as
    all messages of `until` are there and the run of the program `until_ended` has ended. If
    anything else is new (a message that was posted or has arrived, or a state whose tag is not
    `seen`), it comes `linger` seconds later. If neither `until` nor `until_ended` is given, it
    comes with the first news, at once.
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
        """Whether the caller has named what it waits for."""
        return bool(self.until) or self.until_ended is not None

    def complete(self, found: Exchanged) -> bool:
        """Return True if everything that the caller has named is there."""
        arrived = {(message.sender, message.step) for message in found.messages}
        if any((one.sender, one.step) not in arrived for one in self.until):
            return False
        if self.until_ended is None:
            return True
        program = found.state.programs.get(self.until_ended)
        return program is None or program.status in ENDED

    def has_news(self, found: Exchanged) -> bool:
        """Return True if there is anything that the caller has not seen, named or not."""
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
    """Give a message of the token's party to another, or to all. A step has one message each."""
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


async def exchange(
    client_id: ClientId,
    body: ExchangeRequest,
    request: Request,
    services: ServicesDep,
    token: TokenDep,
) -> Response:
    """Post up to 8 messages, all or none, then wait for others' and return them with the state.

    The messages are those with numbers above `after` that the token's party may read, without
    those that this call has posted.
    """
    server_state: ServerState = request.app.state.server_state
    end = time.monotonic() + body.wait

    def read(given: Sequence[Given], posted: Sequence[int] = ()) -> Exchanged:
        return services.relay.exchange(client_id, token, given, body.after, posted)

    with server_state.events.subscribe(client_id) as changed:
        found = await run_in_threadpool(read, body.given())
        if body.messages:
            for _ in body.messages:
                server_state.metrics.relayed()
            server_state.events.changed(client_id, but=changed)
        pause = math.inf
        while not _enough(body, found):
            if body.has_news(found) and pause == math.inf:
                pause = time.monotonic() + body.linger
            if not await _woken(changed, min(end, pause)):
                break
            changed.clear()
            found = await run_in_threadpool(read, (), found.numbers)
    return Response(found.model_dump_json(), media_type="application/json")


router.add_api_route(
    "/{client_id}/exchange",
    exchange,
    methods=["POST"],
    route_class_override=DirectRoute,
    response_model=Exchanged,
    responses=problems(
        *APPLICATION, *TOKEN, *BODY, UnknownParty, UploadEmpty, AlreadySent, OutOfStep
    ),
)


def _enough(request: ExchangeRequest, found: Exchanged) -> bool:
    if request.waits_for_all:
        return request.complete(found)
    return request.has_news(found)


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
