"""The calls of Duo on an institution's agent."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from governance.computations import as_json
from governance.requests import Uses
from parties.governance.api.bodies import ConnectBody, SessionId
from parties.governance.api.browsed import Browsed, Found
from parties.governance.api.common_calls import (
    PEER,
    InstitutionDep,
    agent_router,
    may_raise,
    position,
    request_id_of,
)
from parties.governance.api.duo_bodies import (
    NO_ACCESS,
    ComputationRan,
    DataRequested,
    RequestDataBody,
    RunComputationBody,
    SeenLogs,
    SeenStores,
    SessionConnected,
    SessionStoreLine,
)
from parties.governance.api.duo_computation import computation_for
from parties.governance.api.duo_listings import TAG, log_lines, store_line
from parties.governance.api.institution_calls import CONNECT, REQUEST, RUN
from parties.governance.views import DataSetView
from utils.errors import (
    AgentUnreachable,
    ConsentMissing,
    InvalidRequest,
    OutOfStep,
    PolicyDenied,
    RequestClosed,
    UnknownName,
)
from web.problems import problem

router = agent_router(TAG)
USABLE = ("approved", "active")
"""States of a request in which its owner allows uses."""
BROWSERS = 8
"""Owners that are asked at the same time."""
CONNECT_SECONDS = 25.0
"""Longest wait for the owner's agent, which has to prove its key."""


@router.get(
    "/connect_session",
    name="connect_session_simply",
    summary="Connect to a session, with the code in the query",
    response_description="The session is connected.",
    responses=may_raise(*CONNECT),
)
def connect_session_simply(
    institution: InstitutionDep,
    code: Annotated[
        str, Query(min_length=1, max_length=300, description="The code that the owner gave.")
    ],
) -> SessionConnected:
    """Connect to an owner's session with its code, which works once."""
    return _connect(institution, code)


@router.post(
    "/connect_session",
    summary="Connect to a session",
    response_description="The session is connected.",
    responses=may_raise(*CONNECT),
)
def connect_session(institution: InstitutionDep, body: ConnectBody) -> SessionConnected:
    """Connect to an owner's session with its code, which works once."""
    return _connect(institution, body.code)


@router.get(
    "/see_data_store",
    summary="See the data of the owners",
    response_description="The data sets, without values.",
    responses=may_raise(*PEER, InvalidRequest),
)
def see_data_store(
    request: Request,
    institution: InstitutionDep,
    session_id: Annotated[SessionId | None, Query(description="Only those of a session.")] = None,
) -> SeenStores:
    """List the data sets of all owners that the institution is connected to.

    An index stands for the same data set until the next call of this kind.
    """
    browsed = _browse(institution)
    request.app.state.browsed = browsed
    return SeenStores(
        data_store=tuple(
            SessionStoreLine(**store_line(i, found).model_dump(), session_id=session)
            for i, (session, found) in enumerate(browsed.found)
            if session_id in (None, session)
        ),
        unreachable=browsed.unreachable,
    )


@router.post(
    "/request_data",
    summary="Ask for a computation",
    response_description="The request was sent to the owner.",
    responses=may_raise(*REQUEST),
)
def request_data(
    request: Request, institution: InstitutionDep, body: RequestDataBody
) -> DataRequested:
    """Sign a request to compute something on a data set, and put it before the owner."""
    listed: Sequence[Found] = request.app.state.browsed.found
    if isinstance(body.idx, str) or not listed:
        listed = _browse(institution).found
    if isinstance(body.idx, str):  # an owner shows the same data set in each of its sessions
        listed = [each for each in listed if body.session_id in (None, each[0])]
    session, found = listed[position(listed, body.idx, lambda each: each[1].id, "see_data_store")]
    if body.session_id not in (None, session):
        raise InvalidRequest("session_id: the data set of this index belongs to another session.")
    computation = None
    if body.action == "statistic":
        if body.computation is None:
            raise InvalidRequest("computation: name one, for example average.")
        wanted = computation_for(body.computation, found, body.column, body.filters)
        computation = as_json(wanted)
    elif body.computation is not None or body.column is not None or body.filters:
        raise InvalidRequest("computation, column and filters belong to the action statistic.")
    view = institution.request(
        session,
        found.id,
        action=body.action,
        purpose=body.purpose,
        reason=f"{body.name}: {body.reason}" if body.name else body.reason,
        fields=body.fields,
        computation=computation,
        uses=Uses(count=body.uses, period=body.period),
        hours=body.hours,
        retention_days=body.retention_days,
        join_code=body.join_code,
    )
    index = position(institution.requests(), view.request.id, request_id_of, "GET /requests")
    return DataRequested(
        computation_index=index,
        request_id=view.request.id,
        status=view.status,
        policy_allows=view.policy_allows,
        policy=view.policy_words,
        words=view.words,
    )


@router.post(
    "/run_computation",
    summary="Run a computation that the owner approved",
    response_model=ComputationRan,
    response_description="The result.",
    responses=may_raise(*RUN),
)
def run_computation(
    institution: InstitutionDep, body: RunComputationBody
) -> ComputationRan | Response:
    """Use a request once. Without the owner's approval, `result` says that there is no access."""
    found = institution.requests()
    view = found[position(found, body.idx, request_id_of, "GET /requests")]
    try:
        outcome = institution.run(view.request.id, body.wait)
    except (ConsentMissing, PolicyDenied, RequestClosed) as error:
        if institution.request_view(view.request.id).status in USABLE:
            raise  # the owner allows it, but not at this moment
        return problem(ConsentMissing(error.message), {"result": NO_ACCESS})
    return ComputationRan(result=result_text(outcome), request_id=view.request.id, outcome=outcome)


@router.get(
    "/request_logs",
    summary="See the decisions on requests",
    response_description="The decisions, in the order of the requests.",
    responses=may_raise(),
)
def request_logs(institution: InstitutionDep) -> SeenLogs:
    """List the requests that their owners approved or denied, and when."""
    return SeenLogs(logs=log_lines(institution.requests(), institution.activity()))


def result_text(outcome: Mapping[str, Any]) -> str:
    """Return a result as a text: the value, the groups with their values, or JSON."""
    if isinstance(outcome.get("value"), int | float):
        return str(outcome["value"])
    groups = outcome.get("groups")
    if groups:
        return ", ".join(f"{group['name']}: {group['value']}" for group in groups)
    return json.dumps(outcome, ensure_ascii=False)


def _connect(institution: InstitutionDep, code: str) -> SessionConnected:
    made = institution.connect_session(code)
    end, serial = time.monotonic() + CONNECT_SECONDS, 0
    while made.status == "waiting":
        left = end - time.monotonic()
        if left <= 0:
            raise AgentUnreachable(
                "The owner's agent has not responded yet. The session connects by itself when it "
                "does; GET /sessions shows that."
            )
        serial = institution.wait(serial, left)
        made = next(s for s in institution.sessions() if s.session_id == made.session_id)
    if made.status != "connected":
        raise OutOfStep(f"The session is {made.status}; ask the owner for a new code.")
    return SessionConnected(session_id=made.session_id, owner=made.peer, owner_key=made.peer_key)


def _browse(institution: InstitutionDep) -> Browsed:
    """Ask the owners of all connected sessions, several at a time."""

    def ask(session_id: str) -> tuple[DataSetView, ...] | None:
        try:
            return institution.data_sets(session_id)
        except (AgentUnreachable, OutOfStep, RequestClosed, UnknownName):
            return None  # away, or the session has just ended: the others are shown

    connected = [s.session_id for s in institution.sessions() if s.status == "connected"]
    with ThreadPoolExecutor(BROWSERS, "browse") as threads:
        found = dict(zip(connected, threads.map(ask, connected), strict=True))
    return Browsed(
        tuple((session, each) for session, sets in found.items() for each in sets or ()),
        tuple(session for session, sets in found.items() if sets is None),
    )
