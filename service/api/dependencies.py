"""Dependencies of the routes: the server's state, its loaded services, and tokens."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from engines.interface import DECIDE, PublicModel
from service.api.examples import EXAMPLE_ID
from service.applications.applications import Applications
from service.applications.decision_files import DecisionFiles
from service.applications.events import Events
from service.applications.party_tokens import PartyTokens
from service.applications.permits import Permits
from service.applications.relay import Relay
from service.applications.reviews import Reviews
from service.applications.slots import Slots
from service.applications.witnesses import WitnessTasksService
from service.erasure import Erasure
from service.execution.checker import Checker
from service.execution.interface import Executor
from service.governance.partners import Caller
from service.governance.services import Governance
from service.jobs.queue import Claims, Jobs
from service.jobs.scheduler import Scheduler
from service.jobs.waiting import Runs
from service.operations.metrics import Metrics
from service.operations.overview import Operations
from service.sessions.services import SessionServices
from service.storage.storage import Storage
from service.trainings.services import TrainingServices
from settings import Settings
from utils.errors import EngineUnavailable, NotAuthorised, TrisealError
from utils.signed_requests import OWNER, signer_of
from web.content_types import held_by
from web.paths import path_in_app
from web.rate_limits import RateLimits

WITNESS_PATH = "/witness/"


@dataclass(frozen=True)
class LoadedServices:
    """The services that exist once the engine is loaded. `node` identifies this server."""

    node: str
    public: PublicModel
    public_json: bytes
    client_files: bytes
    largest_slot: int
    applications: Applications
    party_tokens: PartyTokens
    permits: Permits
    slots: Slots
    jobs: Jobs
    claims: Claims
    scheduler: Scheduler
    runs: Runs
    erasure: Erasure
    relay: Relay
    reviews: Reviews
    decision_files: DecisionFiles
    witness_tasks: WitnessTasksService
    operations: Operations


@dataclass
class ServerState:
    """The parts of one server. `fault` is the error that kept the engine from loading."""

    settings: Settings
    storage: Storage
    events: Events
    executor: Executor
    checker: Checker
    rate_limits: RateLimits
    metrics: Metrics
    operator_token: str
    governance: Governance
    sessions: SessionServices
    trainings: TrainingServices
    services: LoadedServices | None = None
    fault: TrisealError | None = None

    @property
    def ready(self) -> bool:
        """True if the services exist and the workers have loaded the engine."""
        return self.services is not None and self.executor.ready and self.checker.ready


async def get_server_state(request: Request) -> ServerState:
    """Return the state of the server that handles this request."""
    server_state: ServerState = request.app.state.server_state
    return server_state


async def get_services(request: Request) -> LoadedServices:
    """Return the loaded services.

    Raises EngineUnavailable while the engine loads, and the engine's error if it cannot be loaded.
    """
    server_state: ServerState = request.app.state.server_state
    if server_state.fault is not None:
        raise server_state.fault
    if server_state.services is None:
        raise EngineUnavailable("The server is still loading its engine; try again in a moment.")
    return server_state.services


class _PartyToken(HTTPBearer):
    """Returns the bearer token, or None if none was sent; Applications checks if it is valid.

    Raises TooManyRequests if the token exceeds its limit of calls per minute or of concurrent
    calls. The call counts as one of the latter until its response has been sent.
    """

    async def __call__(self, request: Request) -> str | None:  # type: ignore[override]
        credentials = await super().__call__(request)
        if credentials is None:
            return None
        token = credentials.credentials
        limits = request.app.state.server_state.rate_limits
        self.count(limits, token)
        held_by(request.scope).enter_context(limits.calling(token))
        return token

    def count(self, limits: RateLimits, token: str) -> None:
        """Count the call for the token."""
        limits.called(token)


class _TrainingToken(_PartyToken):
    """The same with the limit for members of trainings, who call for every level of a tree."""

    def count(self, limits: RateLimits, token: str) -> None:
        limits.exchanging(token)


party_token = _PartyToken(
    auto_error=False,
    scheme_name="party",
    description="The token that a party gets when it joins an application; for reading the state "
    "and the traffic, the watch token from opening it works too.",
)
_operator = HTTPBearer(
    auto_error=False,
    scheme_name="operator",
    description="The operator's token, from TRISEAL_OPERATOR_TOKEN or the file `operator_token` "
    "in the server's data folder.",
)


async def require_operator(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_operator)],
    server_state: Annotated[ServerState, Depends(get_server_state)],
) -> None:
    """Raise NotAuthorised unless the operator's token was sent."""
    given = "" if credentials is None else credentials.credentials
    if not secrets.compare_digest(given.encode(), server_state.operator_token.encode()):
        raise NotAuthorised(
            "Send the operator's token: the value of TRISEAL_OPERATOR_TOKEN, or the content of the "
            "file operator_token in the server's data folder."
        )


async def get_governance(
    server_state: Annotated[ServerState, Depends(get_server_state)],
) -> Governance:
    """Return the services of the log and the gateway, which need no engine."""
    return server_state.governance


_partner_token = _PartyToken(
    auto_error=False,
    scheme_name="partner",
    description="The token that the operator gives a partner when registering it.",
)


def get_partner(
    token: Annotated[str | None, Depends(_partner_token)],
    governance: Annotated[Governance, Depends(get_governance)],
) -> Caller:
    """Return the partner whose token was sent; raises NotAuthorised."""
    return governance.partners.caller(token)


class _OwnerKey(APIKeyHeader):
    """Returns the public key of the owner's agent that signed the request.

    Raises NotAuthorised, and TooManyRequests as _PartyToken does. If `registered` is False, any
    key may have signed it; as keys are free, the route has to count calls by address too.
    """

    def __init__(self, *, registered: bool, **facts: Any) -> None:
        super().__init__(name="Authorization", auto_error=False, **facts)
        self._registered = registered

    async def __call__(self, request: Request) -> str:  # type: ignore[override]
        server_state: ServerState = request.app.state.server_state
        known = set(server_state.governance.gateway.owner_keys().values())
        query = request.scope["query_string"].decode("latin-1")
        key = signer_of(
            request.headers.get("authorization", ""),
            request.method,
            path_in_app(request.scope) + (f"?{query}" if query else ""),
            await request.body(),
            time.time(),
            known if self._registered else None,
            OWNER,
        )
        server_state.rate_limits.called(key)
        held_by(request.scope).enter_context(server_state.rate_limits.calling(key))
        return key


owner_key = _OwnerKey(
    registered=True,
    scheme_name="owner",
    description="A request signed by the agent of a data owner: `Owner <public key> <seconds since "
    "1970> <signature>`, with the Ed25519 signature as for a witness.",
)
any_owner_key = _OwnerKey(
    registered=False,
    scheme_name="any_owner",
    description="As `owner`, with any key.",
)
_session_token = _PartyToken(
    auto_error=False,
    scheme_name="session",
    description="The token of a session: the owner's from hosting it, or the institution's from "
    "connecting to it.",
)


_training_token = _TrainingToken(
    auto_error=False,
    scheme_name="training",
    description="The token of a member of a training: the coordinator's from hosting it, or "
    "another member's from joining it.",
)


def address_of(request: Request) -> str:
    """Return the caller's address; empty if it has none."""
    return "" if request.client is None else request.client.host


async def count_reading(request: Request) -> None:
    """Count a call without a token for the caller's address; raises TooManyRequests."""
    server_state: ServerState = request.app.state.server_state
    server_state.rate_limits.reading(address_of(request))


class _WitnessKey(APIKeyHeader):
    """Returns the public key of the witness that signed the request (utils/signed_requests.py).

    Raises NotAuthorised, and TooManyRequests as _PartyToken does.
    """

    async def __call__(self, request: Request) -> str:  # type: ignore[override]
        services = await get_services(request)
        path, query = request.url.path, request.scope["query_string"].decode("latin-1")
        # A proxy may have put a prefix before the path that the witness signed.
        target = path[path.index(WITNESS_PATH) :] + (f"?{query}" if query else "")
        key = signer_of(
            request.headers.get("authorization", ""),
            request.method,
            target,
            await request.body(),
            time.time(),
            services.witness_tasks.known,
        )
        limits = request.app.state.server_state.rate_limits
        limits.called(key)
        held_by(request.scope).enter_context(limits.calling(key))
        return key


witness_key = _WitnessKey(
    name="Authorization",
    auto_error=False,
    scheme_name="witness",
    description="A signed request: `Witness <public key> <seconds since 1970> <signature>`, with "
    "the Ed25519 signature of the method, the path with query, the time and SHA-256 of the body.",
)
ClientId = Annotated[
    str,
    Path(description="The application's id: 32 hexadecimal digits.", examples=[EXAMPLE_ID]),
]
ProgramName = Annotated[
    str, Path(description="The program: `decide`, `explain` or `reasons`.", examples=[DECIDE])
]
ServerStateDep = Annotated[ServerState, Depends(get_server_state)]
GovernanceDep = Annotated[Governance, Depends(get_governance)]
PartnerDep = Annotated[Caller, Depends(get_partner)]
OwnerDep = Annotated[str, Depends(owner_key)]
AnyOwnerDep = Annotated[str, Depends(any_owner_key)]
SessionTokenDep = Annotated[str | None, Depends(_session_token)]
TrainingTokenDep = Annotated[str | None, Depends(_training_token)]
ServicesDep = Annotated[LoadedServices, Depends(get_services)]
WitnessDep = Annotated[str, Depends(witness_key)]
TokenDep = Annotated[str | None, Depends(party_token)]
