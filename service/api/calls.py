"""The three calls of a party: send a file, have a program run, fetch its result.

Names and form fields are those of the known demo.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Form, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from contract.http import Receipt
from engines.interface import DECIDE, EVALUATION_KEY
from service.api.dependencies import ServerStateDep, ServicesDep, TokenDep
from service.api.examples import SENT
from service.api.openapi import APPLICATION, BODY, TOKEN, content, example, make_router, problems
from service.api.runs import ASKED
from service.applications.slots import Place
from service.applications.upload_acceptance import settle
from service.applications.uploads import receive_upload
from service.http.body_limits import Pace
from service.http.large_bodies import large_body_of
from service.http.upload_form import FIELDS, FILE
from utils.errors import (
    AlreadyRunning,
    AlreadySent,
    EvaluationFailed,
    ForbiddenSlot,
    ForeignMessage,
    MalformedMessage,
    OutOfStep,
    QuotaExceeded,
    RunCancelled,
    StorageFull,
    StorageUnavailable,
    StoredDataDamaged,
    UnknownName,
    UnknownParty,
    UploadEmpty,
)

logger = logging.getLogger("triseal.messages")
router = make_router("messages")

ATTACHED = {"Content-Disposition": 'attachment; filename="result.bin"'}
_CALL = (*APPLICATION, *BODY, *TOKEN, UnknownName)

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [*FIELDS, FILE],
                    "properties": {
                        **{name: {"type": "string"} for name in FIELDS},
                        FILE: {"type": "string", "format": "binary"},
                    },
                    "additionalProperties": False,
                },
                "example": dict(zip((*FIELDS, FILE), SENT, strict=True)),
            }
        },
    }
}
"""The form is read as it arrives, so FastAPI cannot derive its documentation."""


class ProgramForm(BaseModel):
    """Which application, and which of its programs."""

    model_config = ConfigDict(extra="forbid")

    client_id: Annotated[str, Field(max_length=256)]
    program: Annotated[str, Field(max_length=256)] = DECIDE


@router.post(
    "/send_file",
    openapi_extra=_FORM,
    responses=problems(
        *_CALL,
        UnknownParty,
        ForbiddenSlot,
        AlreadyRunning,
        AlreadySent,
        ForeignMessage,
        MalformedMessage,
        UploadEmpty,
        QuotaExceeded,
        StorageFull,
    ),
)
async def send_file(
    request: Request, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> Receipt:
    """Fill a slot of the token's own party with a sealed message."""

    path = server_state.storage.incoming.new()
    content_type = request.headers.get("content-type", "")
    pace = Pace(server_state.settings.stall_timeout, server_state.settings.upload_timeout)
    with ExitStack() as held:

        async def admit(fields: Mapping[str, str]) -> Place:
            client_id, client_type, file_name = (fields[name] for name in FIELDS)
            place = await run_in_threadpool(
                services.slots.admit, client_id, token, client_type, file_name
            )
            # Only now, so that nobody without a token takes the places of those who have one.
            held.enter_context(server_state.rate_limits.uploading(token or ""))
            return place

        large = large_body_of(request.scope)
        try:
            form = await receive_upload(request.stream(), content_type, path, admit, pace, large)
        except StorageUnavailable as fault:
            server_state.storage.health.failed(fault, fault.__cause__)
            raise
        slot = form.place.slot
        server_state.metrics.received(slot.file_name, form.upload.size)
        stage = await settle(form, server_state.checker, services.slots)
    server_state.events.changed(form.client_id)
    if slot.file_name == EVALUATION_KEY:
        services.runs.warm(form.client_id)
    facts = {
        "application": form.client_id,
        "slot": slot.file_name,
        "bytes": form.upload.size,
    }
    logger.info("received", extra={"facts": facts})
    return Receipt(
        client_id=form.client_id,
        client_type=slot.party,
        file_name=slot.file_name,
        bytes=form.upload.size,
        sha256=form.upload.sha256,
        state=stage,
    )


@router.post(
    "/run_fhe",
    responses=example(0.0253)
    | problems(*_CALL, *ASKED, MalformedMessage, EvaluationFailed, RunCancelled, StoredDataDamaged),
)
async def run_fhe(
    form: Annotated[ProgramForm, Form()], services: ServicesDep, token: TokenDep
) -> float:
    """Queue a program, wait for its end, and answer the seconds that its evaluation took.

    One that has been run answers the recorded seconds again; one under way is waited for.
    """
    return await services.runs.run(form.client_id, token, form.program)


@router.post(
    "/get_output",
    response_class=Response,
    responses=content("application/octet-stream", "The sealed result.", "TRISEAL1")
    | problems(*_CALL, OutOfStep, StoredDataDamaged),
)
def get_output(
    form: Annotated[ProgramForm, Form()],
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Response:
    """The sealed result of a program that has been run."""
    result = services.applications.output(form.client_id, token, form.program)
    server_state.metrics.sent(form.program, len(result))
    return Response(result, headers=ATTACHED, media_type="application/octet-stream")
