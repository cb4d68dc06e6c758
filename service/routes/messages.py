"""The three calls of a party: send a file, have a program run, fetch its result.

Names and form fields are those of the known demo.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from engines.interface import DECIDE, EVALUATION_KEY, Slot
from service.answers import Receipt
from service.dependencies import DeskDep, RoomsDep, TokenDep
from service.forms import FIELDS, FILE
from service.uploads import receive_upload, sync_blob

logger = logging.getLogger("triseal.messages")
router = APIRouter(tags=["messages"])

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
                }
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


@router.post("/send_file", openapi_extra=_FORM)
async def send_file(request: Request, rooms: RoomsDep, desk: DeskDep, token: TokenDep) -> Receipt:
    """Fill a slot of the token's own party with a sealed message."""

    async def admit(fields: Mapping[str, str]) -> Slot:
        client_id, client_type, file_name = (fields[name] for name in FIELDS)
        return await run_in_threadpool(
            desk.applications.admit, client_id, token, client_type, file_name
        )

    path = rooms.storage.new_blob()
    content_type = request.headers.get("content-type", "")
    form = await receive_upload(request.stream(), content_type, path, admit)
    rooms.metrics.received(form.slot.file_name, form.upload.size)
    try:
        await asyncio.gather(
            rooms.evaluator.check(form.slot, path, form.intact),
            run_in_threadpool(sync_blob, path),
        )
        state = await run_in_threadpool(
            desk.applications.accept, form.client_id, form.slot, form.upload
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    rooms.events.changed(form.client_id)
    if form.slot.file_name == EVALUATION_KEY:
        desk.runs.warm(form.client_id)
    logger.info(
        "received", extra={"facts": {"slot": form.slot.file_name, "bytes": form.upload.size}}
    )
    return Receipt(
        client_id=form.client_id,
        client_type=form.slot.party,
        file_name=form.slot.file_name,
        bytes=form.upload.size,
        sha256=form.upload.sha256,
        state=state.state,
    )


@router.post("/run_fhe")
async def run_fhe(form: Annotated[ProgramForm, Form()], desk: DeskDep, token: TokenDep) -> float:
    """Evaluate a program on what the parties sent; the seconds that it took.

    A program that has been run answers the recorded seconds again.
    """
    return await desk.runs.run(form.client_id, token, form.program)


@router.post("/get_output", response_class=Response)
def get_output(
    form: Annotated[ProgramForm, Form()], rooms: RoomsDep, desk: DeskDep, token: TokenDep
) -> Response:
    """The sealed result of a program that has been run."""
    result = desk.applications.output(form.client_id, token, form.program)
    rooms.metrics.sent(form.program, len(result))
    return Response(result, media_type="application/octet-stream")
