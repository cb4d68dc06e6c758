"""Common parts of the calls of a lender's agent: the agent behind them, and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from features.schema import Schema
from federated.agents.api.data_sets import DataSets
from federated.agents.api.local_runs import LocalRuns
from federated.agents.api.predictions import Predictions
from parties.governance.api.access import require_token
from utils.errors import (
    NotAuthorised,
    ServerBusy,
    ServerUnreachable,
    StoreDamaged,
    TooManyRequests,
    TrisealError,
)
from web.openapi import Responses, make_router, problems

READ = (NotAuthorised, TooManyRequests, StoreDamaged)
"""Errors of every call."""
SERVER = (ServerUnreachable, ServerBusy)
"""Errors of every call that needs the server."""


@dataclass(frozen=True, repr=False)
class LocalLender:
    """A lender's agent as its interface sees it."""

    schema: Schema
    data: DataSets
    runs: LocalRuns
    predictions: Predictions


async def _lender(request: Request) -> LocalLender:
    found: LocalLender = request.app.state.agent
    return found


LenderDep = Annotated[LocalLender, Depends(_lender)]
RunPath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="The training's id.")]


def lender_router(tag: str, prefix: str) -> APIRouter:
    """Return a router whose calls need the agent's token."""
    return make_router(tag, prefix, dependencies=[Depends(require_token)])


def may_raise(*classes: type[TrisealError]) -> Responses:
    """Return the error responses of a call, beside those of every call."""
    return problems(*READ, *classes)


def file_response(description: str) -> dict[int | str, dict[str, Any]]:
    """Return the 200 response of a call that returns a JSON file."""
    return {
        200: {
            "description": description,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
