"""Routes for sessions between data owners and institutions."""

from __future__ import annotations

import base64
import binascii
import logging
import time
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.concurrency import run_in_threadpool

from contract.http import LARGEST_NUMBER
from contract.sessions import (
    LARGEST_SESSION_MESSAGE,
    LONGEST_SESSION_WAIT,
    Connected,
    ConnectRequest,
    Hosted,
    HostRequest,
    Logged,
    SessionEventRequest,
    SessionFacts,
    SessionMessageRequest,
    SessionMessages,
    SessionPosted,
    SessionState,
    SessionUseRequest,
)
from service.api.dependencies import (
    AnyOwnerDep,
    PartnerDep,
    ServerStateDep,
    SessionTokenDep,
    address_of,
)
from service.api.examples import EXAMPLE_ID
from service.api.messages import woken
from service.api.openapi import BODY, READY, make_router, problems
from service.sessions.rows import event_of
from utils.errors import (
    AlreadySent,
    ConsentMissing,
    ForbiddenScope,
    InvalidRequest,
    LogInconsistent,
    NotAuthorised,
    OutOfStep,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    QuotaExceeded,
    TooManyApplications,
    TooManyRequests,
    UnknownName,
    UploadEmpty,
)

logger = logging.getLogger("triseal.sessions")
router = make_router("sessions", "/sessions")

LARGEST_SESSION_REQUEST = LARGEST_SESSION_MESSAGE * 4 // 3 + 8 * 1024
"""Bytes of a request that posts a message."""
_SessionId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{32}$",
        description="The session's id: 32 hexadecimal digits.",
        examples=[EXAMPLE_ID],
    ),
]
_CALL = (*READY, InvalidRequest, NotAuthorised, TooManyRequests)
_ONE = (*_CALL, UnknownName)
_LOGGING = (*_ONE, *BODY, ForbiddenScope, OutOfStep, QuotaExceeded, LogInconsistent)


@router.post(
    "",
    status_code=201,
    summary="Host a session",
    response_description="The session's id, the owner's token, and the code for an institution.",
    responses=problems(*_CALL, *BODY, TooManyApplications, AlreadySent),
)
def host_session(
    request: Request, server_state: ServerStateDep, owner: AnyOwnerDep, body: HostRequest
) -> Hosted:
    """Host a session for one institution, signed with any key of a data owner.

    Give the code to the institution over a channel that you trust: it works once. Neither the token
    nor the code is shown again. Any key is accepted, since the server does not check who the owner
    is: compare the fingerprints of the keys.
    """
    server_state.rate_limits.hosting(address_of(request))
    call = request.headers["authorization"]
    hosted = server_state.sessions.sessions.host(owner, call, body.hours)
    logger.info("hosted", extra={"facts": {"session": hosted.session_id}})
    return hosted


@router.post(
    "/{session_id}/connect",
    summary="Connect to a session",
    response_description="The institution's token, and the owner's key.",
    responses=problems(*_ONE, *BODY, OutOfStep),
)
def connect_session(
    request: Request,
    session_id: _SessionId,
    server_state: ServerStateDep,
    partner: PartnerDep,
    body: ConnectRequest,
) -> Connected:
    """Exchange the session's code for the institution's token, as a registered partner.

    A code works once. Compare `owner_key` with the key that the owner shows.
    """
    server_state.rate_limits.connecting(partner.partner_id, address_of(request))
    connected = server_state.sessions.sessions.connect(session_id, partner, body.code)
    server_state.events.changed(event_of(session_id))
    logger.info("connected", extra={"facts": {"session": session_id}})
    return connected


@router.get(
    "/{session_id}",
    summary="Read a session's state",
    response_description="The session's state, and the keys of both sides.",
    responses=problems(*_ONE),
)
def read_session(
    session_id: _SessionId, server_state: ServerStateDep, token: SessionTokenDep
) -> SessionFacts:
    """Return the session's state, and the keys of both sides, for the token of either."""
    return server_state.sessions.sessions.facts(session_id, token)


@router.post(
    "/{session_id}/messages",
    summary="Post a message of a session",
    response_description="The message's number.",
    responses=problems(*_ONE, *BODY, OutOfStep, AlreadySent, QuotaExceeded, UploadEmpty),
)
def post_session_message(
    session_id: _SessionId,
    server_state: ServerStateDep,
    token: SessionTokenDep,
    body: SessionMessageRequest,
) -> SessionPosted:
    """Post a sealed message to the other side, under the next number of this side, from 1 on.

    Posting the same again is harmless. The owner may post before anybody has connected. At most 128
    messages and 8 MiB wait for the other side.
    """
    try:
        content = base64.b64decode(body.body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("body: send the message's bytes as base64.") from error
    number = server_state.sessions.relay.post(session_id, token, body.number, content)
    server_state.events.changed(event_of(session_id))
    return SessionPosted(number=number)


@router.get(
    "/{session_id}/messages",
    summary="Read messages of a session",
    response_description="The other side's messages, oldest first, and the session's state.",
    responses=problems(*_ONE),
)
async def session_messages(
    session_id: _SessionId,
    server_state: ServerStateDep,
    token: SessionTokenDep,
    after: Annotated[
        int,
        Query(
            ge=0,
            le=LARGEST_NUMBER,
            description="Return only messages with higher numbers; those up to it have arrived, "
            "and are removed.",
        ),
    ] = 0,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_SESSION_WAIT, description="Seconds to wait for a message.")
    ] = 0.0,
    seen: Annotated[
        SessionState | None,
        Query(description="The state that the caller knows; another one ends the wait."),
    ] = None,
) -> SessionMessages:
    """Return the other side's messages above `after`, at most 64.

    If there are none, the call waits up to `wait` seconds for one or for a change of the session's
    state. It does not wait for a session that was closed or has expired, whose messages can be read
    for one more hour.
    """
    end = time.monotonic() + wait
    relay = server_state.sessions.relay
    with server_state.events.subscribe(event_of(session_id)) as changed:
        while True:
            changed.clear()
            found = await run_in_threadpool(relay.read, session_id, token, after)
            seen = seen or found.state
            if found.items or found.state != seen or found.state in ("closed", "expired"):
                return found
            if not await woken(changed, end):
                return found


@router.delete(
    "/{session_id}",
    status_code=204,
    summary="Close a session",
    response_description="The session is closed.",
    responses=problems(*_ONE),
)
def close_session(
    session_id: _SessionId, server_state: ServerStateDep, token: SessionTokenDep
) -> None:
    """Close a session, for the token of either side. It is removed an hour later."""
    server_state.sessions.sessions.close(session_id, token)
    server_state.events.changed(event_of(session_id))
    logger.info("closed", extra={"facts": {"session": session_id}})


@router.post(
    "/{session_id}/events",
    summary="Log an event of a session",
    response_description="The entry of the log.",
    responses=problems(*_LOGGING, AlreadySent),
)
def log_event(
    session_id: _SessionId,
    server_state: ServerStateDep,
    token: SessionTokenDep,
    body: SessionEventRequest,
) -> Logged:
    """Log a request, the owner's answer, a permit or a revocation, with the owner's token.

    After a revocation, no permit for its request is used. The entry has the digests; the details
    are readable by the operator until the owner is erased (`DELETE /consents/{user_id}`). Without a
    user id in the server's settings, the owner's is `owner:` and the first 32 hexadecimal digits of
    the SHA-256 of its key.
    """
    return server_state.sessions.log.log(session_id, token, body)


@router.post(
    "/{session_id}/uses",
    summary="Mark a permit of a session as used",
    response_description="The entry of the log.",
    responses=problems(*_LOGGING, PermitInvalid, PermitExpired, PermitSpent, ConsentMissing),
)
def log_use(
    session_id: _SessionId,
    server_state: ServerStateDep,
    token: SessionTokenDep,
    body: SessionUseRequest,
) -> Logged:
    """Mark a permit as used and log the use, before its result leaves the owner's agent.

    The permit has to be signed with the owner's key and to name the connected partner's. Of several
    calls for a permit, one succeeds, on any of several servers.
    """
    return server_state.sessions.log.use(session_id, token, body)
