"""Routes for the review of a decision by a person."""

from __future__ import annotations

from contract.reviews import OutcomeRequest, ReviewRequest, ReviewState
from service.api.dependencies import ClientId, ServerStateDep, ServicesDep, TokenDep
from service.api.openapi import APPLICATION, BODY, TOKEN, make_router, problems
from utils.errors import AlreadySent, ForbiddenSlot, OutOfStep, TooManyApplications

router = make_router("reviews", "/applications")
_CALL = (*APPLICATION, *TOKEN, ForbiddenSlot)


@router.get(
    "/{client_id}/review",
    summary="Fetch the review",
    response_description="The review's stage, times and sealed texts.",
    responses=problems(*_CALL),
)
def review(client_id: ClientId, services: ServicesDep, token: TokenDep) -> ReviewState:
    """Return the review of the decision; its stage is `none` before the applicant asks for one.

    Only the applicant and the lender may see it. The stage alone is also in the application's
    state. Requires a token with the scope `read`.
    """
    return services.reviews.state(client_id, token)


@router.post(
    "/{client_id}/review",
    summary="Ask for a review",
    response_description="The review that was asked for.",
    responses=problems(*_CALL, *BODY, OutOfStep, AlreadySent, TooManyApplications),
)
def ask_for_review(
    client_id: ClientId,
    body: ReviewRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> ReviewState:
    """Ask the lender to have the decision reviewed by a person, with a statement sealed for it.

    The applicant's call, once the decision has been computed. Nothing of the record is opened by
    it. The application is then kept until 30 days after the day on which the outcome is due, and
    only the applicant can erase it before the outcome. Requires a token with the scope `send`.
    """
    found = services.reviews.ask(client_id, token, body.statement)
    server_state.events.changed(client_id)
    return found


@router.post(
    "/{client_id}/review/referral",
    summary="Open the review of a referred application",
    response_description="The review.",
    responses=problems(*_CALL, OutOfStep, TooManyApplications),
)
def refer(
    client_id: ClientId, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> ReviewState:
    """Open the review of an application that the decision refers to a person of the lender.

    The call of the applicant or of the lender, whose agents make it once they read such a decision;
    the server cannot read it. A repeated call changes nothing. The applicant may add a statement
    with "Ask for a review". Requires a token with the scope `send`.
    """
    found = services.reviews.refer(client_id, token)
    server_state.events.changed(client_id)
    return found


@router.post(
    "/{client_id}/review/take",
    summary="Begin the review",
    response_description="The review, which is now under way.",
    responses=problems(*_CALL, OutOfStep),
)
def take_review(
    client_id: ClientId, server_state: ServerStateDep, services: ServicesDep, token: TokenDep
) -> ReviewState:
    """Tell the applicant that a person reviews the decision.

    The lender's call. Requires a token with the scope `send`.
    """
    found = services.reviews.take(client_id, token)
    server_state.events.changed(client_id)
    return found


@router.post(
    "/{client_id}/review/outcome",
    summary="Conclude the review",
    response_description="The review with its outcome.",
    responses=problems(*_CALL, *BODY, OutOfStep, AlreadySent),
)
def conclude_review(
    client_id: ClientId,
    body: OutcomeRequest,
    server_state: ServerStateDep,
    services: ServicesDep,
    token: TokenDep,
) -> ReviewState:
    """Record the outcome of the review, with words sealed for the applicant.

    The lender's call. The opened decision itself stays as it is; `changed` says that the lender
    decides otherwise. A referred application is `approved` or `denied`. Requires a token with the
    scope `send`.
    """
    found = services.reviews.conclude(client_id, token, body.outcome, body.words)
    server_state.events.changed(client_id)
    return found
