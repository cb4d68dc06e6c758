"""The server's part of its OpenAPI document; web/openapi.py has what is common to all services."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.api.examples import EXAMPLES
from utils.errors import (
    ApplicationExpired,
    DeploymentMissing,
    DeploymentMixed,
    DiskFull,
    EngineUnavailable,
    ForbiddenScope,
    InvalidRequest,
    NotAuthorised,
    StorageUnavailable,
    TooManyRequests,
    UnknownApplication,
)
from web import openapi
from web.openapi import BODY, EVERY, Responses, content, example, name_of, not_yet, problems

__all__ = [
    "APPLICATION",
    "BODY",
    "EVERY",
    "READY",
    "TAGS",
    "TOKEN",
    "Responses",
    "complete",
    "content",
    "example",
    "make_router",
    "not_yet",
    "problems",
]

# Errors in the order in which a call checks for them.
READY = (EngineUnavailable, DeploymentMissing, DeploymentMixed, StorageUnavailable, DiskFull)
"""Errors of every call that needs the engine."""
APPLICATION = (*READY, InvalidRequest, UnknownApplication, ApplicationExpired)
"""Errors of every call on an application."""
TOKEN = (NotAuthorised, ForbiddenScope, TooManyRequests)
"""Errors of every call that takes a token."""

TAGS = {
    "model": "The server's readiness and its public model. No token is needed.",
    "applications": "Open an application, join it, follow its state, erase it.",
    "messages": "The three basic calls of a party: send a file, run a program, fetch its result.",
    "runs": "Run a program as a background job: start it, check its progress, cancel it.",
    "reviews": "Have a decision reviewed by a person: the applicant asks, the lender gives the "
    "outcome.",
    "between parties": "Messages that the parties exchange. The server relays them, but cannot "
    "read the sealed contents.",
    "witness": "For witnesses, which evaluate every result again. They sign their requests.",
    "log": "The log that proves itself: signed checkpoints, entries and proofs. No token is "
    "needed, except for an application's own entries.",
    "permits for partners": "The policy gateway: partners ask for permits, owners' agents say what "
    "they consent to and mark permits as used.",
    "sessions": "Sessions between a data owner and an institution: the server relays their sealed "
    "messages, and logs what the owner allows.",
    "trainings": "Trainings of one model by several lenders: the server relays the sealed messages "
    "of their members.",
    "operation": "Monitoring and administration, for the operator of the server.",
}


def make_router(tag: str, prefix: str = "", **options: Any) -> APIRouter:
    """Return a router that names operations after their functions and checks content types."""
    return openapi.make_router(tag, prefix, name=_name, **options)


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document what it cannot derive by itself."""
    return openapi.complete(document, TAGS, EXAMPLES)


def _name(route: APIRoute) -> str:
    name = name_of(route)
    return f"operator_{name}" if route.path.startswith("/operator/") else name
