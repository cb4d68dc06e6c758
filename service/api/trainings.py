"""Routes for trainings of one model by several lenders."""

from __future__ import annotations

import base64
import binascii
import logging
import math
import time
from typing import Annotated

from fastapi import Path, Request, Response
from starlette.concurrency import run_in_threadpool

from contract.trainings import (
    LARGEST_POST,
    MOST_POSTED,
    TrainingExchanged,
    TrainingExchangeRequest,
    TrainingFacts,
    TrainingHosted,
    TrainingJoined,
    TrainingJoinRequest,
    TrainingRequest,
)
from service.api.dependencies import AnyOwnerDep, ServerStateDep, TrainingTokenDep, address_of
from service.api.examples import EXAMPLE_ID
from service.api.messages import woken
from service.api.openapi import BODY, READY, make_router, problems
from service.api.training_examples import EXCHANGE_EXAMPLE
from service.http.json_body import is_large, json_body, read_json
from service.trainings.arrivals import Waiting
from service.trainings.recent import Given
from service.trainings.relay import Found
from utils.errors import (
    AlreadySent,
    ForbiddenScope,
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    TooManyApplications,
    TooManyRequests,
    UnknownName,
    UploadEmpty,
)

logger = logging.getLogger("triseal.trainings")
router = make_router("trainings", "/trainings")

LARGEST_TRAINING_EXCHANGE = LARGEST_POST * 4 // 3 + MOST_POSTED * 256 + 8 * 1024
"""Bytes of a request for an exchange."""
_TrainingId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{32}$",
        description="The training's id: 32 hexadecimal digits.",
        examples=[EXAMPLE_ID],
    ),
]
_CALL = (*READY, InvalidRequest, NotAuthorised, TooManyRequests)
_ONE = (*_CALL, UnknownName)


@router.post(
    "/{training_id}/exchange",
    response_model=TrainingExchanged,
    summary="Post and read messages of a training",
    response_description="The numbers of the posted messages, and new messages.",
    openapi_extra=json_body(TrainingExchangeRequest, EXCHANGE_EXAMPLE),
    responses=problems(*_ONE, *BODY, OutOfStep, AlreadySent, UploadEmpty),
)
async def exchange_training(
    request: Request,
    training_id: _TrainingId,
    server_state: ServerStateDep,
    token: TrainingTokenDep,
) -> Response:
    """Post sealed messages to other members, all or none, then wait for messages to this one.

    A message of at most 256 KiB goes to one member or to all others, whether they have joined or
    not, and is removed when all its receivers have confirmed it with `after`. Posting the same
    again is harmless. The wait ends with `least` messages, after `wait` seconds, `linger` seconds
    after the first message, or with the training. If more than 512 messages or 16 MiB wait for one
    member, its oldest ones are dropped, which its next response tells. A training that is over can
    be read for one more hour.
    """
    trainings = server_state.trainings
    if is_large(request):
        await run_in_threadpool(trainings.relay.require_member, training_id, token)
    body = await read_json(request, TrainingExchangeRequest)
    end = time.monotonic() + body.wait
    given = [_given(one.number, one.to, one.body) for one in body.messages]
    with trainings.arrivals.wait(training_id) as waiting:
        found = await run_in_threadpool(
            trainings.relay.exchange, training_id, token, given, body.after
        )
        if found.news is not None:
            trainings.arrivals.tell((found.news,))
        waiting.follow(found.member, found.last)
        pause = math.inf
        while not _enough(found, body.least):
            waiting.woken.clear()
            come = len(found.messages) + waiting.count
            if waiting.changed or come >= body.least:
                found = await _again(server_state, training_id, waiting, found)
                continue
            if come and pause == math.inf:
                pause = time.monotonic() + body.linger
            if not await woken(waiting.woken, min(end, pause)):
                if waiting.count:
                    found = await _again(server_state, training_id, waiting, found)
                break
    return Response(found.json(), media_type="application/json")


@router.post(
    "",
    status_code=201,
    summary="Host a training",
    response_description="The training's id, the coordinator's token, and the members' codes.",
    responses=problems(*_CALL, *BODY, TooManyApplications, AlreadySent),
)
def host_training(
    request: Request, server_state: ServerStateDep, coordinator: AnyOwnerDep, body: TrainingRequest
) -> TrainingHosted:
    """Host a training of one model by several lenders, signed with the coordinator's key.

    Give each member its code over a channel that you trust: it works until the member has posted a
    message. Neither the token nor the codes are shown again. Any key is accepted, since the server
    does not check who the coordinator is: the members do, in their sealed messages.
    """
    server_state.rate_limits.hosting(address_of(request))
    call = request.headers["authorization"]
    hosted = server_state.trainings.trainings.host(coordinator, call, body.members, body.hours)
    facts = {"training": hosted.training_id, "members": len(body.members)}
    logger.info("hosted", extra={"facts": facts})
    return hosted


@router.post(
    "/{training_id}/join",
    summary="Join a training",
    response_description="The member's token, and the names of all members.",
    responses=problems(*_ONE, *BODY, OutOfStep),
)
def join_training(
    request: Request,
    training_id: _TrainingId,
    server_state: ServerStateDep,
    body: TrainingJoinRequest,
) -> TrainingJoined:
    """Exchange a member's code for its token. The code works until the member has posted."""
    server_state.rate_limits.joining(address_of(request))
    joined = server_state.trainings.trainings.join(training_id, body.member, body.code)
    server_state.trainings.arrivals.changed(training_id)
    logger.info("joined", extra={"facts": {"training": training_id}})
    return joined


@router.get(
    "/{training_id}",
    summary="Read a training's state",
    response_description="The training's state, and its members.",
    responses=problems(*_ONE),
)
def read_training(
    training_id: _TrainingId, server_state: ServerStateDep, token: TrainingTokenDep
) -> TrainingFacts:
    """Return the training's state, who has joined, and the times of the members' last calls."""
    return server_state.trainings.trainings.facts(training_id, token)


@router.delete(
    "/{training_id}",
    status_code=204,
    summary="Close a training",
    response_description="The training is closed.",
    responses=problems(*_ONE, ForbiddenScope),
)
def close_training(
    training_id: _TrainingId, server_state: ServerStateDep, token: TrainingTokenDep
) -> None:
    """Close a training for all its members, with the coordinator's token.

    It is removed an hour later.
    """
    server_state.trainings.trainings.close(training_id, token)
    server_state.trainings.arrivals.changed(training_id)
    logger.info("closed", extra={"facts": {"training": training_id}})


def _enough(found: Found, least: int) -> bool:
    return len(found.messages) >= least or found.more or found.dropped or found.state != "open"


async def _again(
    server_state: ServerStateDep, training_id: str, waiting: Waiting, found: Found
) -> Found:
    """Return the reading with the messages that have come since."""
    news = waiting.whole()
    again = None if news is None else found.with_news(*news)
    if again is None:
        waiting.changed = False  # before the read, so that no later change is missed
        relay = server_state.trainings.relay
        again = await run_in_threadpool(relay.read_again, training_id, found)
    waiting.follow(again.member, again.last)
    return again


def _given(number: int, receiver: str | None, text: str) -> Given:
    try:
        return Given(number, receiver, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("messages: send the messages' bytes as base64.") from error
