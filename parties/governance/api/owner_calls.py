"""Calls of a data owner's agent: sessions, data sets, requests and consents."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from governance.categories import OWN_DATA
from parties.governance.api.bodies import (
    ApproveBody,
    ConsentBody,
    DataSets,
    DenyBody,
    HostBody,
    Key,
    Requests,
    RevokeBody,
    Sessions,
    StoreBody,
)
from parties.governance.api.common_calls import (
    SENT,
    SERVER,
    DataSetPath,
    OwnerDep,
    RequestPath,
    SessionPath,
    TagQuery,
    Words,
    agent_router,
    may_raise,
    receipt_response,
)
from parties.governance.api.data_bytes import bytes_of
from parties.governance.views import DataSetView, RequestView, SessionView
from utils.errors import (
    DataSetInvalid,
    InvalidRequest,
    OutOfStep,
    PolicyDenied,
    RequestClosed,
    UnknownDataSet,
    UnknownName,
)

sessions_router = agent_router("sessions")
data_router = agent_router("data")
requests_router = agent_router("requests")
consents_router = agent_router("consents")
_CHANGE = (*SENT, *SERVER, UnknownName, RequestClosed)


@sessions_router.get(
    "/key",
    summary="Read the agent's key",
    response_description="The name and the public key.",
    responses=may_raise(),
)
def key(owner: OwnerDep) -> Key:
    """Return the owner's name, which is the user id at the server, and long-lived public key."""
    return Key(name=owner.name, key=owner.key)


@sessions_router.get(
    "/sessions",
    summary="List sessions",
    response_description="The sessions, with the codes of those that nobody has joined.",
    responses=may_raise(),
)
def sessions(owner: OwnerDep) -> Sessions:
    """List the sessions that the owner hosts."""
    return Sessions(items=owner.sessions())


@sessions_router.post(
    "/sessions",
    status_code=201,
    summary="Host a session",
    response_description="The session, with the code for one institution.",
    responses=may_raise(*SENT, *SERVER),
)
def host(owner: OwnerDep, body: HostBody) -> SessionView:
    """Host a session. Give its code to the institution over a channel that you trust."""
    return owner.host_session(body.title, body.hours)


@sessions_router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End a session",
    response_description="The session is closed.",
    responses=may_raise(*SERVER, InvalidRequest, UnknownName),
)
def end(session_id: SessionPath, owner: OwnerDep) -> None:
    """End a session; nothing of its requests is executed any more."""
    owner.end_session(session_id)


@data_router.get(
    "/data_sets",
    summary="List data sets",
    response_description="The data sets, without values.",
    responses=may_raise(InvalidRequest),
)
def data_sets(owner: OwnerDep, words: Words = "", tag: TagQuery = "") -> DataSets:
    """List the stored data sets that have these words and this tag."""
    return DataSets(items=owner.data_sets(words, tag))


@data_router.post(
    "/data_sets",
    status_code=201,
    summary="Store a data set",
    response_description="The stored data set, without values.",
    responses=may_raise(*SENT, DataSetInvalid),
)
def store(owner: OwnerDep, body: StoreBody) -> DataSetView:
    """Encrypt and store a data set. It never leaves this agent; only permitted results do."""
    return owner.store_data(
        bytes_of(body.data),
        body.tag,
        body.description,
        categories=body.categories,
        schema_name=body.schema_name or OWN_DATA,
    )


@data_router.delete(
    "/data_sets/{data_set}",
    status_code=204,
    summary="Remove a data set",
    response_description="The data set is removed.",
    responses=may_raise(InvalidRequest, UnknownDataSet),
)
def remove(data_set: DataSetPath, owner: OwnerDep) -> None:
    """Remove a data set."""
    owner.remove_data(data_set)


@requests_router.get(
    "/requests",
    summary="List requests",
    response_description="All requests, the oldest first.",
    responses=may_raise(),
)
def requests(owner: OwnerDep) -> Requests:
    """List all requests, those that are closed included."""
    return Requests(items=owner.requests())


@requests_router.get(
    "/requests/{request_id}",
    summary="Read a request",
    response_description="The request and its state.",
    responses=may_raise(InvalidRequest, UnknownName),
)
def request(request_id: RequestPath, owner: OwnerDep) -> RequestView:
    """Return one request."""
    return owner.request(request_id)


@requests_router.post(
    "/requests/{request_id}/approve",
    summary="Approve a request",
    response_description="The request and its state.",
    responses=may_raise(*_CHANGE, PolicyDenied),
)
def approve(request_id: RequestPath, owner: OwnerDep, body: ApproveBody) -> RequestView:
    """Approve a request, or less of it, and sign the consent receipt."""
    return owner.approve(request_id, fields=body.fields, uses=body.uses, not_after=body.not_after)


@requests_router.post(
    "/requests/{request_id}/deny",
    summary="Deny a request",
    response_description="The request and its state.",
    responses=may_raise(*_CHANGE),
)
def deny(request_id: RequestPath, owner: OwnerDep, body: DenyBody) -> RequestView:
    """Deny a request, for a reason that the requester sees."""
    return owner.deny(request_id, body.reason)


@requests_router.post(
    "/requests/{request_id}/pause",
    summary="Pause a request",
    response_description="The request and its state.",
    responses=may_raise(*_CHANGE),
)
def pause(request_id: RequestPath, owner: OwnerDep) -> RequestView:
    """Stop the uses of an approved request for a while."""
    return owner.pause(request_id)


@requests_router.post(
    "/requests/{request_id}/resume",
    summary="Resume a request",
    response_description="The request and its state.",
    responses=may_raise(*_CHANGE),
)
def resume(request_id: RequestPath, owner: OwnerDep) -> RequestView:
    """Allow the uses of a paused request again."""
    return owner.resume(request_id)


@requests_router.post(
    "/requests/{request_id}/revoke",
    summary="Revoke a request",
    response_description="The request and its state.",
    responses=may_raise(*_CHANGE),
)
def revoke(request_id: RequestPath, owner: OwnerDep, body: RevokeBody) -> RequestView:
    """Withdraw an approval for good; what has not run does not run."""
    return owner.revoke(request_id, body.reason)


@requests_router.get(
    "/requests/{request_id}/receipt",
    summary="Export the consent receipt",
    response_class=Response,
    responses={
        **may_raise(InvalidRequest, UnknownName, RequestClosed),
        200: {
            "description": "The receipt, signed by the owner (ISO/IEC TS 27560, in JSON-LD).",
            "content": {"application/ld+json": {"schema": {"type": "object"}}},
        },
    },
)
def receipt(request_id: RequestPath, owner: OwnerDep) -> Response:
    """Return the signed consent receipt of an approved request."""
    return receipt_response(owner.receipt(request_id))


@consents_router.put(
    "/consents/{partner_id}",
    status_code=204,
    summary="Grant or revoke a consent to a partner",
    response_description="The server has the consent.",
    responses=may_raise(*SENT, *SERVER, OutOfStep),
)
def say_consent(
    partner_id: Annotated[
        str,
        Path(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$",
            description="The partner's id at the server.",
        ),
    ],
    owner: OwnerDep,
    body: ConsentBody,
) -> None:
    """Tell the server whether the person consents to a partner's use of the record for a purpose.

    The server gives a partner no permit without it. A revocation also takes back the permits that
    have not been used.
    """
    owner.consent(partner_id, body.purpose, body.state == "granted")
