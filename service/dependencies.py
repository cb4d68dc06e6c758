"""What routes are given: the server's rooms, the desk once the engine is there, tokens."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from engines.interface import DECIDE, PublicModel
from service.applications import Applications
from service.claims import Claims
from service.dispatch import Dispatcher
from service.erasure import Erasure
from service.events import Events
from service.examples import EXAMPLE_ID
from service.execution.checking import Checker
from service.execution.interface import Executor
from service.jobs import Jobs
from service.metrics import Metrics
from service.operations import Operations
from service.quotas import Quotas
from service.relay import Relay
from service.runs import Runs
from service.seats import Seats
from service.slots import Slots
from service.storage import Storage
from settings import Settings
from utils.errors import EngineUnavailable, NotAuthorised, TrisealError


@dataclass(frozen=True)
class Desk:
    """What exists once the engine is loaded. `node` is this server's name among others."""

    node: str
    public: PublicModel
    public_json: bytes
    client_files: bytes
    largest_slot: int
    applications: Applications
    seats: Seats
    slots: Slots
    jobs: Jobs
    claims: Claims
    dispatcher: Dispatcher
    runs: Runs
    erasure: Erasure
    relay: Relay
    operations: Operations


@dataclass
class Rooms:
    """What one server consists of. `fault` is why the engine could not be loaded."""

    settings: Settings
    storage: Storage
    events: Events
    executor: Executor
    checker: Checker
    quotas: Quotas
    metrics: Metrics
    operator_token: str
    desk: Desk | None = None
    fault: TrisealError | None = None

    @property
    def ready(self) -> bool:
        """Whether the workers have their engine, and the desk is open."""
        return self.desk is not None and self.executor.ready and self.checker.ready


async def rooms_of(request: Request) -> Rooms:
    """The rooms of the server that answers this request."""
    rooms: Rooms = request.app.state.rooms
    return rooms


async def desk_of(rooms: Annotated[Rooms, Depends(rooms_of)]) -> Desk:
    """Raises EngineUnavailable while the engine loads, and the engine's fault if it cannot."""
    if rooms.fault is not None:
        raise rooms.fault
    if rooms.desk is None:
        raise EngineUnavailable("The server is still loading its engine; try again in a moment.")
    return rooms.desk


_bearer = HTTPBearer(
    auto_error=False, scheme_name="party", description="The party's own token, from joining."
)
_operator = HTTPBearer(
    auto_error=False, scheme_name="operator", description="The token of who runs the server."
)
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def token_of(
    credentials: _Credentials, rooms: Annotated[Rooms, Depends(rooms_of)]
) -> AsyncIterator[str | None]:
    """The bearer token, if one was sent; whether it is right is for Applications to say.

    Raises TooManyRequests where the same token asks too often, or for too much at once.
    """
    if credentials is None:
        yield None
        return
    rooms.quotas.called(credentials.credentials)
    with rooms.quotas.calling(credentials.credentials):
        yield credentials.credentials


async def require_operator(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_operator)],
    rooms: Annotated[Rooms, Depends(rooms_of)],
) -> None:
    """Raises NotAuthorised unless the operator's token was sent."""
    given = "" if credentials is None else credentials.credentials
    if not secrets.compare_digest(given.encode(), rooms.operator_token.encode()):
        raise NotAuthorised(
            "Send the operator's token: TRISEAL_OPERATOR_TOKEN, or what the file operator_token "
            "in the server's folder holds."
        )


ClientId = Annotated[str, Path(description="The application's id.", examples=[EXAMPLE_ID])]
ProgramName = Annotated[str, Path(description="`decide` or `explain`.", examples=[DECIDE])]
RoomsDep = Annotated[Rooms, Depends(rooms_of)]
DeskDep = Annotated[Desk, Depends(desk_of)]
TokenDep = Annotated[str | None, Depends(token_of)]
