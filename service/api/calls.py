"""Routes for the three basic calls of a party: send a file, run a program, fetch its result.

Paths and form fields of the POST calls match those of the known Concrete ML demo.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import Form, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from contract.http import ProgramForm, Receipt
from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY
from service.api.dependencies import (
    ClientId,
    LoadedServices,
    ServerState,
    ServerStateDep,
    ServicesDep,
    TokenDep,
)
from service.api.examples import SENT
from service.api.openapi import APPLICATION, BODY, TOKEN, content, example, make_router, problems
from service.api.runs import ASKED
from service.applications.events import Change
from service.applications.slots import Place
from service.applications.upload_acceptance import settle
from service.applications.uploads import BodyReader, receive_upload, require_size
from service.http.raw_body import MEDIA_TYPE, RawBodyReader
from service.http.upload_form import FIELDS, FILE, FormReader
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
from web.body_limits import Pace

logger = logging.getLogger("triseal.messages")
router = make_router("messages")

ATTACHED = {"Content-Disposition": 'attachment; filename="result.bin"'}
_CALL = (*APPLICATION, *BODY, *TOKEN, UnknownName)

_FIELD_TEXTS = (
    "The application's id: 32 hexadecimal digits.",
    "The party that owns the slot, which must be the token's own party.",
    "The name of the slot.",
)
"""Descriptions of the text fields, in the order of FIELDS."""
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [*FIELDS, FILE],
                    "properties": {
                        **{
                            name: {"type": "string", "description": text}
                            for name, text in zip(FIELDS, _FIELD_TEXTS, strict=True)
                        },
                        FILE: {
                            "type": "string",
                            "format": "binary",
                            "description": "The sealed message.",
                        },
                    },
                    "additionalProperties": False,
                },
                "example": dict(zip((*FIELDS, FILE), SENT, strict=True)),
            }
        },
    }
}
"""Documentation of the form, which FastAPI cannot derive: the route parses it as it arrives."""
_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The sealed message.",
        "content": {
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}, "example": SENT[-1]}
        },
    }
}
_RECEIPT = "A receipt with the file's size and digest and the application's state."
_UPLOAD = (
    *_CALL,
    AlreadyRunning,
    AlreadySent,
    ForeignMessage,
    MalformedMessage,
    UploadEmpty,
    QuotaExceeded,
    StorageFull,
)


@router.post(
    "/send_file",
    summary="Upload a file",
    response_description=_RECEIPT,
    openapi_extra=_FORM,
    responses=problems(*_UPLOAD, UnknownParty, ForbiddenSlot),
)
async def send_file(
    request: Request, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> Receipt:
    """Upload a sealed message into one of the party's own slots.

    The file replaces an earlier one until a program that uses the slot is queued. Put `client_id`,
    `client_type` (the party) and `file_name` (the slot) before `files` in the form. The slots and
    their maximum sizes are listed in `GET /model`. Requires a token with the scope `send`.
    `PUT /applications/{client_id}/slots/{file_name}` does the same without a form.
    """
    reader = FormReader(request.headers.get("content-type", ""))
    return await _receive(request, reader, server_state, services, token)


@router.put(
    "/applications/{client_id}/slots/{file_name}",
    summary="Upload a file as it is",
    response_description=_RECEIPT,
    openapi_extra=_FILE,
    responses=problems(*_UPLOAD),
)
async def fill_slot(
    request: Request,
    client_id: ClientId,
    file_name: Annotated[
        str, Path(description="The name of the slot.", examples=[ENCRYPTED_INPUTS])
    ],
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> Receipt:
    """Upload a sealed message, the body as it is, into a slot of the token's party.

    It is checked as in `POST /send_file` and replaces an earlier one likewise. Sending the same
    message again is harmless. Requires a token with the scope `send`.
    """
    fields = {"client_id": client_id, "file_name": file_name}
    reader = RawBodyReader(request.headers.get("content-type", ""), fields)
    length = request.headers.get("content-length", "")
    declared = int(length) if length.isdecimal() else 0
    return await _receive(request, reader, server_state, services, token, declared)


async def _receive(
    request: Request,
    reader: BodyReader,
    server_state: ServerState,
    services: LoadedServices,
    token: str | None,
    declared: int = 0,
) -> Receipt:
    """Receive a file into its slot; `declared` is its size if that is known beforehand, or 0."""

    path = server_state.storage.incoming.new()
    pace = Pace(server_state.settings.stall_timeout, server_state.settings.upload_timeout)
    with ExitStack() as held:

        async def admit(fields: Mapping[str, str]) -> Place:
            client_id, party = fields["client_id"], fields.get("client_type")
            place = await run_in_threadpool(
                services.slots.admit, client_id, token, party, fields["file_name"]
            )
            require_size(place.slot, declared)
            # Counted after the token check, so that invalid tokens cannot use up the limit.
            held.enter_context(server_state.rate_limits.uploading(token or ""))
            return place

        try:
            sent = await receive_upload(request.stream(), reader, path, admit, pace)
        except StorageUnavailable as fault:
            server_state.storage.health.failed(fault, fault.__cause__)
            raise
        slot = sent.place.slot
        server_state.metrics.received(slot.file_name, sent.upload.size)
        stage = await settle(sent, server_state.checker, services.slots)
    change = Change(slot=(slot.party, slot.file_name))
    server_state.events.changed(sent.client_id, change)
    if slot.file_name == EVALUATION_KEY:
        services.runs.load_key(sent.client_id)
    facts = {
        "application": sent.client_id,
        "slot": slot.file_name,
        "bytes": sent.upload.size,
    }
    logger.info("received", extra={"facts": facts})
    return Receipt(
        client_id=sent.client_id,
        client_type=slot.party,
        file_name=slot.file_name,
        bytes=sent.upload.size,
        sha256=sent.upload.sha256,
        state=stage,
    )


@router.post(
    "/run_fhe",
    summary="Run a program and wait for it",
    response_description="The evaluation time in seconds.",
    responses=example(0.0253)
    | problems(*_CALL, *ASKED, MalformedMessage, EvaluationFailed, RunCancelled, StoredDataDamaged),
)
async def run_fhe(
    form: Annotated[ProgramForm, Form()], services: ServicesDep, token: TokenDep
) -> float:
    """Queue a program, wait until it ends, and return the evaluation time in seconds.

    If the program is already queued or running, the call waits for that run; if it is done, the
    call returns the recorded time. The run continues if the client disconnects. A new run spends a
    permit of every party whose data it uses: see `POST /applications/{client_id}/permits`.
    Requires a token with the scope `run`.
    """
    return await services.runs.run(form.client_id, token, form.program)


@router.post(
    "/get_output",
    summary="Fetch a result",
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
    """Return the sealed result of a program that has been run.

    Requires a token with the scope `read`.
    """
    result = services.applications.output(form.client_id, token, form.program)
    server_state.metrics.sent(form.program, len(result))
    return Response(result, headers=ATTACHED, media_type="application/octet-stream")
