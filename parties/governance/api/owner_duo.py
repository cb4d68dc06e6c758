"""The calls of Duo on a data owner's agent."""

from __future__ import annotations

from governance.categories import OWN_DATA
from parties.governance.api.bodies import HostBody, StoreBody
from parties.governance.api.common_calls import (
    SENT,
    SERVER,
    OwnerDep,
    agent_router,
    may_raise,
    position,
    request_id_of,
)
from parties.governance.api.data_bytes import bytes_of
from parties.governance.api.duo_bodies import (
    DataStored,
    Decided,
    DecisionBody,
    RequestLine,
    SeenLogs,
    SeenRequests,
    SeenStore,
    SessionHosted,
)
from parties.governance.api.duo_listings import TAG, log_lines, store_line
from parties.governance.request_book import MOST_REQUESTS
from utils.errors import DataSetInvalid, InvalidRequest, PolicyDenied, RequestClosed, UnknownName

NO_REASON = "The owner gave no reason."
router = agent_router(TAG)


@router.get(
    "/host_session",
    name="host_session_simply",
    summary="Host a session of a day",
    response_description="The session is hosted; `code` is for the institution.",
    responses=may_raise(*SERVER),
)
def host_session_simply(owner: OwnerDep) -> SessionHosted:
    """Host a session that lasts a day. Give its code to the institution."""
    return _host(owner, HostBody())


@router.post(
    "/host_session",
    summary="Host a session",
    response_description="The session is hosted; `code` is for the institution.",
    responses=may_raise(*SENT, *SERVER),
)
def host_session(owner: OwnerDep, body: HostBody | None = None) -> SessionHosted:
    """Host a session. Give its code to the institution, over a channel that you trust."""
    return _host(owner, body or HostBody())


@router.post(
    "/store_data",
    summary="Store data",
    response_description="The data are stored.",
    responses=may_raise(*SENT, DataSetInvalid),
)
def store_data(owner: OwnerDep, body: StoreBody) -> DataStored:
    """Encrypt and store data with a tag and a description. Values never leave this agent."""
    found = owner.store_data(
        bytes_of(body.data),
        body.tag,
        body.description,
        categories=body.categories,
        schema_name=body.schema_name or OWN_DATA,
    )
    return DataStored(
        id=found.id, rows=found.rows, columns=tuple(column.name for column in found.columns)
    )


@router.get(
    "/see_data_store",
    summary="See the data store",
    response_description="The data sets, without values.",
    responses=may_raise(),
)
def see_data_store(owner: OwnerDep) -> SeenStore:
    """List the stored data sets."""
    return SeenStore(
        data_store=tuple(store_line(i, found) for i, found in enumerate(owner.data_sets()))
    )


@router.get(
    "/see_requests",
    summary="See the requests that wait for a decision",
    response_description="The requests.",
    responses=may_raise(),
)
def see_requests(owner: OwnerDep) -> SeenRequests:
    """List the requests that wait for the owner's decision, and what the policy says of them."""
    return SeenRequests(
        current_requests=tuple(
            RequestLine(
                index=i,
                access=view.words,
                reason=view.request.reason,
                request_id=view.request.id,
                requester=view.peer,
                purpose=view.request.purpose,
                policy_allows=view.policy_allows,
                policy=view.policy_words,
            )
            for i, view in enumerate(owner.requests())
            if view.status == "pending"
        )
    )


@router.post(
    "/request_decision",
    summary="Decide on a request",
    response_description="The request is decided.",
    responses=may_raise(*SENT, *SERVER, UnknownName, RequestClosed, PolicyDenied),
)
def request_decision(owner: OwnerDep, body: DecisionBody) -> Decided:
    """Approve a request, or less of it, or deny it with a reason."""
    found = owner.requests()
    if isinstance(body.idx, int) and len(found) >= MOST_REQUESTS:
        raise InvalidRequest(
            f"idx: there are {MOST_REQUESTS} requests, so that old ones make room for new ones and "
            "an index may now stand for another request; give the request_id."
        )
    index = position(found, body.idx, request_id_of, "see_requests")
    view = found[index]
    if body.decision == "deny":
        if body.fields is not None or body.uses is not None or body.not_after is not None:
            raise InvalidRequest("fields, uses and not_after: only an approval has them.")
        changed = owner.deny(view.request.id, body.reason or NO_REASON)
    else:
        changed = owner.approve(
            view.request.id, fields=body.fields, uses=body.uses, not_after=body.not_after
        )
    return Decided(
        index=index,
        reason=view.request.reason,
        decision=body.decision,
        request_id=view.request.id,
        status=changed.status,
    )


@router.get(
    "/request_logs",
    summary="See the decisions on requests",
    response_description="The decisions, in the order of the requests.",
    responses=may_raise(),
)
def request_logs(owner: OwnerDep) -> SeenLogs:
    """List the requests that were approved or denied, and when."""
    return SeenLogs(logs=log_lines(owner.requests(), owner.activity()))


def _host(owner: OwnerDep, body: HostBody) -> SessionHosted:
    made = owner.host_session(body.title, body.hours)
    return SessionHosted(session_id=made.session_id, code=made.code, expires=made.expires)
