"""Routes for witnesses: their open tasks, the messages and results of these, and statements."""

from __future__ import annotations

import logging
import time
from typing import Annotated

from fastapi import Path, Query, Response
from starlette.concurrency import run_in_threadpool

from contract.http import (
    LONGEST_WAIT,
    StatementRequest,
    WitnessedResult,
    WitnessTasks,
)
from engines.interface import ENCRYPTED_INPUTS
from service.api.dependencies import ServerStateDep, ServicesDep, WitnessDep
from service.api.examples import EXAMPLE_JOB
from service.api.messages import woken
from service.api.openapi import BODY, READY, content, make_router, problems
from service.applications.events import WITNESSED_RUNS
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    InvalidRequest,
    NotAuthorised,
    ResultNotWitnessed,
    StoredDataDamaged,
    TooManyRequests,
    UnknownApplication,
    UnknownName,
)

logger = logging.getLogger("triseal.witness")
router = make_router("witness", "/witness")

TaskId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{32}$",
        description="The task's id: 32 hexadecimal digits.",
        examples=[EXAMPLE_JOB],
    ),
]
_SIGNED = (*READY, InvalidRequest, NotAuthorised, TooManyRequests)
_TASK = problems(*_SIGNED, UnknownName, UnknownApplication, ApplicationExpired, StoredDataDamaged)


@router.get(
    "/tasks",
    summary="List open tasks",
    response_description="The runs that the witness has not stated anything about.",
    responses=problems(*_SIGNED),
)
async def witness_tasks(
    server_state: ServerStateDep,
    services: ServicesDep,
    witness: WitnessDep,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait if there is no task.")
    ] = 0.0,
    seen: Annotated[
        str,
        Query(
            max_length=64,
            description="The tag of the tasks that the witness knows; the call waits for others.",
        ),
    ] = "",
) -> WitnessTasks:
    """Return the witness's open tasks: finished runs, the oldest first, then active ones.

    If there are none, or only those with the tag `seen`, wait up to `wait` seconds for others.
    """
    end = time.monotonic() + wait
    with server_state.events.subscribe(WITNESSED_RUNS) as changed:
        while True:
            changed.clear()
            found = await run_in_threadpool(services.witness_tasks.tasks, witness)
            if (found.items and found.tag != seen) or not await woken(changed, end):
                return found


@router.get(
    "/tasks/{task}/messages/{party}/{file_name}",
    summary="Fetch a message of a task",
    response_class=Response,
    responses=content("application/octet-stream", "The message as its party sent it.", "sealed")
    | _TASK,
)
def task_message(
    task: TaskId,
    party: Annotated[
        str, Path(max_length=64, description="The party that sent it.", examples=["bank"])
    ],
    file_name: Annotated[
        str, Path(max_length=64, description="The slot.", examples=[ENCRYPTED_INPUTS])
    ],
    services: ServicesDep,
    witness: WitnessDep,
) -> Response:
    """Return a message that the run used, as the party sent it."""
    found = services.witness_tasks.message(witness, task, party, file_name)
    return Response(found, media_type="application/octet-stream")


@router.get(
    "/tasks/{task}/result",
    summary="Fetch the result of a task",
    response_description="The sealed result and the seed of its re-randomisation.",
    responses=_TASK,
)
def task_result(task: TaskId, services: ServicesDep, witness: WitnessDep) -> WitnessedResult:
    """Return the sealed result, and the seed with which the evaluation can be repeated.

    Whoever has the seed can remove what hides the model in the result: do not store or pass it on.
    """
    return services.witness_tasks.result(witness, task)


@router.post(
    "/tasks/{task}/statement",
    status_code=204,
    summary="Make a statement on a task",
    response_description="The statement is stored; the application's parties see it.",
    responses=problems(
        *_SIGNED,
        *BODY,
        UnknownName,
        UnknownApplication,
        ApplicationExpired,
        AlreadySent,
        ResultNotWitnessed,
    ),
)
def make_statement(
    task: TaskId,
    body: StatementRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    witness: WitnessDep,
) -> None:
    """Store the witness's signature of the result, or its refusal. It cannot be changed."""
    client_id = services.witness_tasks.state(witness, task, body.signature, body.refusal)
    server_state.events.changed(client_id)
    facts = {"application": client_id, "refusal": body.refusal}
    logger.info("statement", extra={"facts": facts})
