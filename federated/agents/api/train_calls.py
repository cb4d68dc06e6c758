"""The calls about trainings: start or join, state, events, cancel, and the finished model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import JSONResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from federated.agents.api.bodies import (
    TrainBody,
    TrainingBegun,
    TrainingDetails,
    TrainingEvents,
    TrainingLine,
    Trainings,
)
from federated.agents.api.common import (
    SERVER,
    LenderDep,
    RunPath,
    file_response,
    lender_router,
    may_raise,
)
from federated.agents.api.local_run import LocalRun
from federated.agents.coordinator_agent import Patience
from federated.plan import Plan
from utils.errors import (
    AlreadySent,
    InvalidRequest,
    NotAuthorised,
    PlanInvalid,
    PlanRefused,
    QuotaExceeded,
    TrainingDataInvalid,
    TrainingUnfinished,
    UnknownTraining,
)
from web.openapi import BODY

STREAM = "text/event-stream"
SEND_SECONDS = 30.0
"""A client that reads nothing from an event stream for so long is disconnected."""
HEARTBEAT_SECONDS = 15
PAUSE_SECONDS = 0.2
"""Shortest time between two states of a stream."""
_REASON = "This lender's own program cancelled the training."

router = lender_router("trainings", "/fl_train")


@router.post(
    "",
    status_code=202,
    summary="Start or join a training",
    response_description="The training goes on in the background.",
    responses=may_raise(
        *BODY,
        *SERVER,
        TrainingDataInvalid,
        PlanInvalid,
        PlanRefused,
        NotAuthorised,
        AlreadySent,
        QuotaExceeded,
    ),
)
def train(lender: LenderDep, body: TrainBody) -> TrainingBegun:
    """Join a training with a code, or start one with other lenders, on this lender's own data.

    Returns at once. Whoever starts a training coordinates it as well, and sees the sums of all
    lenders; these have at least four lenders then, so that at least three others are in each.
    """
    if body.code is not None:
        run = lender.runs.join(body.addr, body.code)
    else:
        schema = lender.schema.model_dump(mode="json")
        plan = Plan.parse({"schema": schema, **body.plan_facts()})
        patience = Patience(body.start_seconds, body.step_seconds)
        run = lender.runs.start(body.addr, plan, body.lenders or (), patience, body.hours)
    return TrainingBegun(run_id=run.id, state=run.facts().state, codes=run.codes())


@router.get(
    "",
    summary="List trainings",
    response_description="All trainings of this agent, the oldest first.",
    responses=may_raise(),
)
def trainings(lender: LenderDep) -> Trainings:
    """List the trainings that this agent takes part in or has taken part in."""
    return Trainings(items=tuple(_line(run) for run in lender.runs.all()))


@router.get(
    "/{run_id}",
    summary="Read the state of a training",
    response_description="How far it is.",
    responses=may_raise(InvalidRequest, UnknownTraining),
)
def training(run_id: RunPath, lender: LenderDep) -> TrainingDetails:
    """Return the tree and level, the validation AUC, the lenders' states, bytes and time left."""
    return _details(lender.runs.get(run_id))


@router.delete(
    "/{run_id}",
    status_code=202,
    summary="Cancel a training",
    response_description="The state at present; the end follows in the background.",
    responses=may_raise(InvalidRequest, UnknownTraining),
)
def cancel(run_id: RunPath, lender: LenderDep) -> TrainingDetails:
    """End a training: for all lenders if it was started here, and otherwise for this one.

    The others go on without a lender that leaves. A training that has ended stays as it is.
    """
    run = lender.runs.get(run_id)
    run.cancel(_REASON)
    return _details(run)


@router.get(
    "/{run_id}/events",
    response_class=Response,
    summary="Read or stream the events of a training",
    responses=may_raise(InvalidRequest, UnknownTraining)
    | {
        200: {
            "description": "The events so far; or a stream of them, and of states.",
            "model": TrainingEvents,
            "content": {
                STREAM: {"schema": {"type": "string", "contentMediaType": STREAM}},
            },
        }
    },
)
async def events(run_id: RunPath, request: Request, lender: LenderDep) -> Response:
    """Return what has happened so far, or stream it with `Accept: text/event-stream`.

    The stream has an event named `event` for each thing that happens, the past ones first, and one
    named `state` after changes, with the facts of the training. A comment follows every 15 s
    without either. The stream ends with the training.
    """
    run = lender.runs.get(run_id)
    if STREAM in request.headers.get("accept", ""):
        return EventSourceResponse(_news(run), ping=HEARTBEAT_SECONDS, send_timeout=SEND_SECONDS)
    found = TrainingEvents(items=await run_in_threadpool(run.events))
    return JSONResponse(found.model_dump(mode="json"))


@router.get(
    "/{run_id}/model",
    response_class=Response,
    summary="Get the finished model",
    responses=may_raise(InvalidRequest, UnknownTraining, TrainingUnfinished)
    | file_response("The trees in XGBoost's JSON, over the bits of the schema."),
)
def model(run_id: RunPath, lender: LenderDep) -> Response:
    """Return the model that all lenders of the training have."""
    return Response(lender.runs.get(run_id).booster(), media_type="application/json")


@router.get(
    "/{run_id}/record",
    response_class=Response,
    summary="Get the record of a finished training",
    responses=may_raise(InvalidRequest, UnknownTraining, TrainingUnfinished)
    | file_response("The plan, and for each tree the lenders that it was grown on."),
)
def record(run_id: RunPath, lender: LenderDep) -> Response:
    """Return all that is needed to train the same trees from pooled rows, except the rows."""
    return Response(lender.runs.get(run_id).record(), media_type="application/json")


async def _news(run: LocalRun) -> AsyncIterator[ServerSentEvent]:
    last, number = None, 0
    with run.watchers.subscribe() as changed:
        while True:
            changed.clear()
            over = run.is_over  # read first, so that nothing after it is missed
            for event in await run_in_threadpool(run.events, number):
                number = event.number
                yield ServerSentEvent(data=event.model_dump_json(), event="event", id=str(number))
            now = await run_in_threadpool(run.facts)
            if now != last:
                last = now
                yield ServerSentEvent(data=now.model_dump_json(), event="state")
            if over:
                return
            await asyncio.sleep(PAUSE_SECONDS)
            await changed.wait()


def _details(run: LocalRun) -> TrainingDetails:
    return TrainingDetails(**dict(run.facts()), codes=run.codes())


def _line(run: LocalRun) -> TrainingLine:
    facts = run.facts()
    return TrainingLine(
        run_id=facts.run_id,
        state=facts.state,
        role=facts.role,
        addr=facts.addr,
        began=facts.began,
        trees=len(facts.trees),
        trees_planned=facts.trees_planned,
        auc=facts.auc,
    )
