"""What routes are given: the server's rooms, the applications once the engine is there, tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from engines.interface import PublicModel
from service.applications import Applications
from service.evaluation import Evaluator
from service.events import Events
from service.metrics import Metrics
from service.relay import Relay
from service.runs import Runs
from service.storage import Storage
from settings import Settings
from utils.errors import EngineUnavailable, TrisealError


@dataclass(frozen=True)
class Desk:
    """What exists once the engine is loaded."""

    public: PublicModel
    public_json: bytes
    client_files: bytes
    largest_slot: int
    applications: Applications
    runs: Runs
    relay: Relay


@dataclass
class Rooms:
    """What one server consists of. `fault` is why the engine could not be loaded."""

    settings: Settings
    storage: Storage
    events: Events
    evaluator: Evaluator
    metrics: Metrics
    desk: Desk | None = None
    fault: TrisealError | None = None

    @property
    def ready(self) -> bool:
        """Whether both workers have their engine, and the desk is open."""
        return self.desk is not None and self.evaluator.ready


def rooms_of(request: Request) -> Rooms:
    """The rooms of the server that answers this request."""
    rooms: Rooms = request.app.state.rooms
    return rooms


def desk_of(rooms: Annotated[Rooms, Depends(rooms_of)]) -> Desk:
    """Raises EngineUnavailable while the engine loads, and the engine's fault if it cannot."""
    if rooms.fault is not None:
        raise rooms.fault
    if rooms.desk is None:
        raise EngineUnavailable("The server is still loading its engine; try again in a moment.")
    return rooms.desk


_bearer = HTTPBearer(auto_error=False, description="The party's own token, from joining.")


def token_of(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str | None:
    """The bearer token, if one was sent; whether it is right is for Applications to say."""
    return None if credentials is None else credentials.credentials


RoomsDep = Annotated[Rooms, Depends(rooms_of)]
DeskDep = Annotated[Desk, Depends(desk_of)]
TokenDep = Annotated[str | None, Depends(token_of)]
