"""Calls of an institution's agent: sessions, browsing, requests, results and records."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from parties.governance.api.bodies import (
    ConnectBody,
    DataSets,
    Key,
    MockRows,
    Ran,
    ReceiveBody,
    Received,
    RequestBody,
    Requests,
    RunBody,
    Sessions,
    Tried,
    TryBody,
)
from parties.governance.api.common_calls import (
    PEER,
    SENT,
    SERVER,
    DataSetPath,
    InstitutionDep,
    RequestPath,
    SessionPath,
    TagQuery,
    Words,
    agent_router,
    may_raise,
    receipt_response,
)
from parties.governance.calls import MOST_MOCK_ROWS
from parties.governance.views import RequestView, SessionView
from utils.errors import (
    AddressInvalid,
    AgentUnreachable,
    AlreadySent,
    ComputationInvalid,
    ComputationTooNarrow,
    ConsentMissing,
    DataSetInvalid,
    EvaluationFailed,
    IdentityMismatch,
    InvalidRequest,
    MalformedMessage,
    NotAuthentic,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    RequestClosed,
    UnknownDataSet,
    UnknownName,
)

sessions_router = agent_router("sessions")
data_router = agent_router("data")
requests_router = agent_router("requests")
records_router = agent_router("records")
CONNECT = (*SENT, *PEER, IdentityMismatch, AlreadySent)
"""Errors of connecting to a session."""
REQUEST = (*SENT, *PEER, UnknownDataSet, ComputationInvalid, PolicyDenied)
"""Errors of sending a request."""
RUN = (
    *(*SENT, *PEER, ConsentMissing, PolicyDenied, PermitInvalid, PermitExpired, PermitSpent),
    *(ComputationInvalid, ComputationTooNarrow, UnknownDataSet, EvaluationFailed),
)
"""Errors of a use."""


@sessions_router.get(
    "/key",
    summary="Read the agent's key",
    response_description="The name and the public key.",
    responses=may_raise(),
)
def key(institution: InstitutionDep) -> Key:
    """Return the institution's name and long-lived public key."""
    return Key(name=institution.name, key=institution.key)


@sessions_router.get(
    "/sessions",
    summary="List sessions",
    response_description="The sessions.",
    responses=may_raise(),
)
def sessions(institution: InstitutionDep) -> Sessions:
    """List the sessions that the institution is connected to, those that are over included."""
    return Sessions(items=institution.sessions())


@sessions_router.post(
    "/sessions",
    status_code=201,
    summary="Connect to a session",
    response_description="The session, with the owner's public key.",
    responses=may_raise(*CONNECT),
)
def connect(institution: InstitutionDep, body: ConnectBody) -> SessionView:
    """Connect to an owner's session with its code, which works once.

    Compare `peer_key` with the key that the owner's agent shows, over a channel that you trust.
    """
    return institution.connect_session(body.code)


@sessions_router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="Leave a session",
    response_description="The session is closed.",
    responses=may_raise(*SERVER, InvalidRequest, UnknownName),
)
def end(session_id: SessionPath, institution: InstitutionDep) -> None:
    """Close a session."""
    institution.end_session(session_id)


@data_router.get(
    "/sessions/{session_id}/data_sets",
    summary="Browse an owner's data sets",
    response_description="The data sets, without values.",
    responses=may_raise(*PEER, InvalidRequest, UnknownName),
)
def data_sets(
    session_id: SessionPath, institution: InstitutionDep, words: Words = "", tag: TagQuery = ""
) -> DataSets:
    """List the owner's data sets that have these words and this tag."""
    return DataSets(items=institution.data_sets(session_id, words, tag))


@data_router.get(
    "/sessions/{session_id}/data_sets/{data_set}/mock",
    summary="Get invented rows",
    response_description="Rows of the same columns and types, with invented values.",
    responses=may_raise(*PEER, InvalidRequest, UnknownName, UnknownDataSet),
)
def mock(
    session_id: SessionPath,
    data_set: DataSetPath,
    institution: InstitutionDep,
    rows: Annotated[int, Query(ge=1, le=MOST_MOCK_ROWS, description="Number of rows.")] = 20,
) -> MockRows:
    """Return invented rows of a data set, to see what a computation would read."""
    return MockRows(rows=institution.mock(session_id, data_set, rows))


@data_router.post(
    "/sessions/{session_id}/data_sets/{data_set}/try",
    summary="Try a computation",
    response_description="The result on invented rows.",
    responses=may_raise(*SENT, *PEER, UnknownDataSet, ComputationInvalid, ComputationTooNarrow),
)
def try_on_mock(
    session_id: SessionPath, data_set: DataSetPath, institution: InstitutionDep, body: TryBody
) -> Tried:
    """Run a computation on invented rows before asking the owner."""
    return Tried(result=institution.try_on_mock(session_id, data_set, body.computation))


@requests_router.get(
    "/requests",
    summary="List requests",
    response_description="All requests, the oldest first, with their results.",
    responses=may_raise(),
)
def requests(institution: InstitutionDep) -> Requests:
    """List the requests that this institution has made."""
    return Requests(items=institution.requests())


@requests_router.post(
    "/requests",
    status_code=201,
    summary="Ask for a use",
    response_description="The signed request and its state.",
    responses=may_raise(*REQUEST),
)
def ask(institution: InstitutionDep, body: RequestBody) -> RequestView:
    """Sign a request, and put it before the owner, after the owner's policy."""
    return institution.request(
        body.session_id,
        body.data_set,
        action=body.action,
        purpose=body.purpose,
        reason=body.reason,
        fields=body.fields,
        computation=body.computation,
        readers=body.readers,
        uses=body.uses,
        hours=body.hours,
        retention_days=body.retention_days,
        join_code=body.join_code,
    )


@requests_router.get(
    "/requests/{request_id}",
    summary="Read a request",
    response_description="The request, its state and its results.",
    responses=may_raise(InvalidRequest, UnknownName),
)
def request(request_id: RequestPath, institution: InstitutionDep) -> RequestView:
    """Return one request."""
    return institution.request_view(request_id)


@requests_router.post(
    "/requests/{request_id}/run",
    summary="Use a request once",
    response_description="The result.",
    responses=may_raise(*RUN),
)
def run(request_id: RequestPath, institution: InstitutionDep, body: RunBody | None = None) -> Ran:
    """Take a permit, redeem it at the owner's agent, and return the result of the one use."""
    wait = (body or RunBody()).wait
    return Ran(request_id=request_id, result=institution.run(request_id, wait))


@requests_router.get(
    "/requests/{request_id}/receipt",
    summary="Export the consent receipt",
    response_class=Response,
    responses={
        **may_raise(InvalidRequest, UnknownName, ConsentMissing),
        200: {
            "description": "The receipt, signed by the owner (ISO/IEC TS 27560, in JSON-LD).",
            "content": {"application/ld+json": {"schema": {"type": "object"}}},
        },
    },
)
def receipt(request_id: RequestPath, institution: InstitutionDep) -> Response:
    """Return the owner's signed consent receipt for an approved request."""
    return receipt_response(institution.receipt(request_id))


@records_router.post(
    "/receive_record",
    summary="Redeem a permit for a record",
    response_description="The record, masked as the permit says.",
    responses=may_raise(
        *(*SENT, *SERVER, ConsentMissing, PermitInvalid, PermitExpired, PermitSpent),
        *(PolicyDenied, MalformedMessage, RequestClosed, UnknownDataSet, DataSetInvalid),
        *(AgentUnreachable, AddressInvalid, NotAuthentic),
    ),
)
def receive_record(institution: InstitutionDep, body: ReceiveBody) -> Received:
    """Redeem a permit for a record directly at the owner's agent, which works once."""
    return Received(
        record=institution.receive_record(
            body.exchange_host, body.exchange_port, body.token, owner_key=body.owner_key
        )
    )
