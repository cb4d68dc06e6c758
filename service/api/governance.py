"""Routes of the policy gateway: permits, consents, the policy, partners and the operator's log."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Path, Query, Request

from contract.governance import (
    MOST_LINES,
    Authorized,
    AuthorizeRequest,
    ConsentRequest,
    LogKind,
    LogLines,
    LogStatus,
    PartnerLines,
    PartnerRequest,
    PartnerToken,
    PolicyFileRequest,
    PolicyState,
    PolicyVersion,
    SpendRequest,
    Spent,
)
from service.api.dependencies import (
    AnyOwnerDep,
    GovernanceDep,
    OwnerDep,
    PartnerDep,
    ServerStateDep,
    address_of,
    require_operator,
)
from service.api.openapi import BODY, READY, make_router, problems
from service.governance.log import user_of
from service.sessions.rows import event_of
from service.sessions.session_log import owner_id
from utils.errors import (
    AlreadySent,
    ConsentMissing,
    DataFolderInUse,
    ForbiddenScope,
    InvalidRequest,
    LogInconsistent,
    NotAuthorised,
    OutOfStep,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    PolicyInvalid,
    QuotaExceeded,
    TooManyRequests,
    UnknownName,
)

logger = logging.getLogger("triseal.governance")
router = make_router("permits for partners")
operator_router = make_router("operation", dependencies=[Depends(require_operator)])

_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
_PartnerPath = Annotated[
    str, Path(pattern=_ID, description="The partner's id.", examples=["bank_1"])
]
_UserPath = Annotated[str, Path(pattern=_ID, description="The user's id.", examples=["user_1"])]
_LOGGED = (*READY, InvalidRequest, LogInconsistent)
_SIGNED = (*_LOGGED, NotAuthorised, TooManyRequests)


@router.post(
    "/authorize",
    summary="Ask for a permit",
    response_description="The permit, and where to redeem it.",
    responses=problems(
        *_SIGNED, *BODY, ForbiddenScope, ConsentMissing, PolicyDenied, PermitInvalid, PolicyInvalid
    ),
)
def authorize(governance: GovernanceDep, partner: PartnerDep, body: AuthorizeRequest) -> Authorized:
    """Decide by the policy whether a partner may have fields of a user's record, for a purpose.

    If so, the response has a permit (`token`), a JSON Web Token that the server signed (`EdDSA`,
    `permit_key` in `GET /log`). Take it to the agent at `exchange_host` and `exchange_port` before
    it expires, in a request that is signed with the partner's key; it works once. A denial has the
    members `reason` and `policy_violation`, the id of the rule that denied, and says in `detail`
    what would be allowed. The decision is logged in any case.
    """
    return governance.gateway.authorize(partner, body)


@router.post(
    "/authorize/use",
    summary="Mark a permit as used",
    response_description="What the permit allows, and the log's entry of its use.",
    responses=problems(*_SIGNED, *BODY, ConsentMissing, PermitInvalid, PermitExpired, PermitSpent),
)
def use_permit(governance: GovernanceDep, owner: OwnerDep, body: SpendRequest) -> Spent:
    """Mark a permit as used, before the owner's agent releases what it allows.

    Only one call for a permit succeeds, on any of several servers. The agent has to check itself
    that the request that brings the permit is signed with the key that the permit names.
    """
    return governance.gateway.spend(owner, body.token, body.receipt)


@router.put(
    "/consents/{user_id}/{partner_id}",
    status_code=204,
    summary="Grant or revoke a consent",
    response_description="The consent is stored.",
    responses=problems(*_SIGNED, *BODY, OutOfStep),
)
def say_consent(
    user_id: _UserPath,
    partner_id: _PartnerPath,
    governance: GovernanceDep,
    owner: OwnerDep,
    body: ConsentRequest,
) -> None:
    """Store whether a user consents to a partner's use for a purpose; the newest statement counts.

    A revocation also takes back the permits that have not been used.
    """
    governance.require_owner(owner, user_id)
    governance.consents.say(
        user_id,
        partner_id,
        body.purpose,
        granted=body.state == "granted",
        signed_at=body.signed_at,
    )


@router.delete(
    "/consents/{user_id}",
    status_code=204,
    summary="Erase a user",
    response_description="Everything that the server kept about the user is erased.",
    responses=problems(*_SIGNED),
)
def erase_user(
    request: Request,
    user_id: _UserPath,
    server_state: ServerStateDep,
    governance: GovernanceDep,
    owner: AnyOwnerDep,
) -> None:
    """Erase a user's consents, unused permits and sessions, and the key of all logged details.

    The log's entries and proofs stay as they are; nobody can read whom they are about any more. An
    owner of sessions whose key is not in the server's settings has the id `owner:` with the first
    32 hexadecimal digits of the SHA-256 of its key.
    """
    server_state.rate_limits.erasing(address_of(request))
    sessions = server_state.sessions
    if not secrets.compare_digest(user_id.encode(), owner_id(owner).encode()):
        governance.require_owner(owner, user_id)
    closed = sessions.sessions.erase(owner) if user_id == sessions.log.person_of(owner) else []
    for session_id in closed:
        server_state.events.changed(event_of(session_id))
    # Keys are free, so that erasing somebody unknown must not make the log grow.
    governance.consents.erase(user_id, only_known=user_id not in governance.gateway.owner_keys())


@router.get(
    "/policies",
    summary="Read the policy",
    response_description="The policy's version, files and rules in words.",
    responses=problems(*_LOGGED, PolicyInvalid),
)
def policies(governance: GovernanceDep) -> PolicyState:
    """Return the policy by which the server decides: who may do what, for which purpose."""
    return governance.policies.state()


@operator_router.put(
    "/policies/{name}",
    summary="Change a file of the policy",
    response_description="The policy's new version.",
    responses=problems(*_LOGGED, *BODY, NotAuthorised, PolicyInvalid, DataFolderInUse),
)
def change_policy(
    name: Annotated[
        str,
        Path(max_length=80, description="The file's name.", examples=["20-partners.cedar"]),
    ],
    governance: GovernanceDep,
    body: PolicyFileRequest,
) -> PolicyVersion:
    """Replace, add or (with null) remove a file, after the whole policy has been validated.

    The change applies to the next decision, and is logged. The earlier version is kept.
    """
    version = governance.policies.change(name, body.text)
    logger.info("policy changed", extra={"facts": {"version": version[:16]}})
    return PolicyVersion(version=version)


@operator_router.get(
    "/logs",
    summary="Search the log",
    response_description="The entries that match, the newest first.",
    responses=problems(*_LOGGED, NotAuthorised),
)
def logs(
    governance: GovernanceDep,
    partner_id: Annotated[
        str | None, Query(pattern=_ID, description="Only entries about this partner.")
    ] = None,
    user_id: Annotated[
        str | None, Query(pattern=_ID, description="Only entries about this user.")
    ] = None,
    status: Annotated[
        LogStatus | None, Query(description="Only entries with this outcome.")
    ] = None,
    kind: Annotated[LogKind | None, Query(description="Only entries of this kind.")] = None,
    start_date: Annotated[
        datetime | None, Query(description="Only entries from this time on (UTC by default).")
    ] = None,
    end_date: Annotated[
        datetime | None, Query(description="Only entries before this time (UTC by default).")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="Most entries.")] = 100,
    offset: Annotated[
        int, Query(ge=0, le=10**9, description="Number of matching entries to leave out.")
    ] = 0,
) -> LogLines:
    """Return entries with names and details, as far as the people have not been erased."""
    return governance.log.lines(
        partner=partner_id,
        person=None if user_id is None else user_of(user_id),
        status=status,
        kind=kind,
        start=_seconds(start_date),
        end=_seconds(end_date),
        limit=limit,
        offset=offset,
    )


@operator_router.get(
    "/operator/partners",
    summary="List partners",
    response_description="The registered partners.",
    responses=problems(*READY, NotAuthorised),
)
def partners(governance: GovernanceDep) -> PartnerLines:
    """List the institutions that may ask for permits."""
    return governance.partners.list()


@operator_router.post(
    "/operator/partners",
    status_code=201,
    summary="Register a partner",
    response_description="The partner's token, which is not shown again.",
    responses=problems(*READY, *BODY, NotAuthorised, AlreadySent, QuotaExceeded),
)
def add_partner(governance: GovernanceDep, body: PartnerRequest) -> PartnerToken:
    """Register an institution with its type in the policy and its public key.

    Give it the token over a channel that you trust. The token lets it ask for permits; they can be
    redeemed only with the private key.
    """
    logger.info("partner registered", extra={"facts": {"partner": body.partner_id}})
    return governance.partners.add(body.partner_id, body.partner_type, body.key)


@operator_router.delete(
    "/operator/partners/{partner_id}",
    status_code=204,
    summary="Remove a partner",
    response_description="The partner's token is no longer valid.",
    responses=problems(*READY, InvalidRequest, NotAuthorised, UnknownName),
)
def remove_partner(
    partner_id: _PartnerPath, server_state: ServerStateDep, governance: GovernanceDep
) -> None:
    """Remove a partner and close its sessions.

    Permits that it has got by `POST /authorize` stay valid for at most 300 seconds.
    """
    governance.partners.remove(partner_id)
    for session_id in server_state.sessions.sessions.close_of(partner_id):
        server_state.events.changed(event_of(session_id))
    logger.info("partner removed", extra={"facts": {"partner": partner_id}})


def _seconds(moment: datetime | None) -> float | None:
    """Return seconds since 1970; a time without a zone is in UTC."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
