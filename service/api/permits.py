"""Route for the parties' permits for runs."""

from __future__ import annotations

from contract.http import PermitsRequest
from service.api.dependencies import ClientId, ServerStateDep, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from utils.errors import (
    ForeignMessage,
    OutOfStep,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    ReceiptInvalid,
)

router = make_router("runs", "/applications")

GIVEN = (PermitInvalid, PermitExpired, OutOfStep, ForeignMessage)
"""Errors that may keep a permit from being accepted."""


@router.post(
    "/{client_id}/permits",
    status_code=204,
    summary="Give permits for a run",
    response_description="The permits are stored until they are used or expire.",
    responses=problems(*APPLICATION, *TOKEN, *BODY, *GIVEN, PermitSpent, ReceiptInvalid),
)
def give_permits(
    client_id: ClientId,
    body: PermitsRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> None:
    """Store permits, all or none, of one or more parties for `decide`, `explain` or `reasons`.

    A run needs a permit of every party whose data it uses, and uses it up. A permit is a JSON Web
    Token (RFC 7519), signed (`EdDSA`) with the key that the party has registered in
    `POST /applications/{client_id}/join`. Its header has `typ` `triseal-permit+jwt` and, as `kid`,
    that key. Its claims are `iss` (the party), `sub` (the application), `aud`
    (`urn:triseal:server`), `action` (`decide` or `explain`), `run` (`reasons` for that program,
    whose action is `explain`; null or missing for the others), `program` (the SHA-256 of the
    canonical JSON of the public model), `inputs` (the SHA-256 of the messages with data and keys
    that the program uses, by party and file name), `fields` (the party's columns), `masks` (empty),
    `cnf` (null), `jti` (128 random bits in hexadecimal), `iat` and `exp` (at most 300 seconds
    later). A new permit replaces the party's earlier one. `decide_sign` and the like need none:
    they are part of the programs that they follow. Requires a token with the scope `send`.
    """
    services.permits.give(client_id, token, body.permits, body.receipts)
    server_state.events.changed(client_id)
