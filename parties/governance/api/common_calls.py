"""Common parts of the calls of both agents: the agent, errors, activity, and changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from parties.governance.api.access import require_token
from parties.governance.api.bodies import LONGEST_WAIT, Activity, Serial
from parties.governance.views import RequestView
from utils.errors import (
    AgentUnreachable,
    InvalidRequest,
    NotAuthentic,
    NotAuthorised,
    OutOfStep,
    RequestClosed,
    ServerBusy,
    ServerUnreachable,
    StoreDamaged,
    TooManyRequests,
    TrisealError,
    UnknownName,
)
from web.openapi import BODY, Responses, make_router, problems

if TYPE_CHECKING:
    from parties.governance.institution import Institution
    from parties.governance.owner import Owner

READ = (NotAuthorised, TooManyRequests, StoreDamaged)
"""Errors of every call."""
SENT = BODY
"""Errors of every call that sends something."""
SERVER = (ServerUnreachable, ServerBusy)
"""Errors of every call that needs the server."""
PEER = (*SERVER, AgentUnreachable, UnknownName, OutOfStep, RequestClosed, NotAuthentic)
"""Errors of every call that the other side's agent replies to."""

SESSION_PATH = Path(pattern=r"^[0-9a-f]{32}$", description="The session's id.")
REQUEST_PATH = Path(pattern=r"^[0-9a-f]{32}$", description="The request's id.")
DATA_SET_PATH = Path(pattern=r"^[0-9a-f]{32}$", description="The data set's id.")
SessionPath = Annotated[str, SESSION_PATH]
RequestPath = Annotated[str, REQUEST_PATH]
DataSetPath = Annotated[str, DATA_SET_PATH]
Words = Annotated[str, Query(max_length=200, description="Words that the description has.")]
TagQuery = Annotated[str, Query(max_length=40, description="The tag; empty for any.")]


async def get_agent(request: Request) -> Any:
    """Return the agent behind this interface."""
    return request.app.state.agent


if TYPE_CHECKING:
    OwnerDep = Annotated[Owner, Depends(get_agent)]
    InstitutionDep = Annotated[Institution, Depends(get_agent)]
else:  # they are imported with their agents, and not to write the documentation
    OwnerDep = InstitutionDep = Annotated[Any, Depends(get_agent)]


def agent_router(tag: str) -> APIRouter:
    """Return a router whose calls need the agent's token."""
    return make_router(tag, dependencies=[Depends(require_token)])


def may_raise(*classes: type[TrisealError]) -> Responses:
    """Return the error responses of a call, beside those of every call."""
    return problems(*READ, *classes)


def position(items: Sequence[Any], idx: int | str, id_of: Callable[[Any], str], where: str) -> int:
    """Return the position of an item, named by its index or its id; raises UnknownName."""
    if isinstance(idx, int):
        if idx < len(items):
            return idx
        raise UnknownName(f"There is no index {idx}; {where} lists those that there are.")
    for number, item in enumerate(items):
        if id_of(item) == idx:
            return number
    raise UnknownName(f"There is nothing with this id; {where} lists what there is.")


def request_id_of(view: RequestView) -> str:
    """Return the id of a request."""
    return view.request.id


def receipt_response(data: bytes) -> Response:
    """Return a signed consent receipt as a file."""
    return Response(
        data,
        media_type="application/ld+json",
        headers={"Content-Disposition": 'attachment; filename="receipt.jsonld"'},
    )


def activity_router(tag: str) -> APIRouter:
    """Return the calls about what happened at the agent."""
    router = agent_router(tag)

    @router.get(
        "/activity",
        summary="Read the agent's activity log",
        response_description="What happened, the oldest first.",
        responses=may_raise(),
    )
    def activity(agent: OwnerDep) -> Activity:
        """Return what happened at this agent, when, and by whom."""
        return Activity(items=agent.activity())

    @router.get(
        "/changes",
        summary="Wait for a change",
        response_description="The current serial number.",
        responses=may_raise(InvalidRequest),
    )
    def changes(
        agent: OwnerDep,
        serial: Annotated[
            int, Query(ge=0, lt=2**53, description="The last known serial number.")
        ] = 0,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="Most seconds to wait.")
        ] = 0.0,
    ) -> Serial:
        """Wait until the serial number differs from `serial`, which it does at every change."""
        return Serial(serial=agent.wait(serial, wait))

    return router
