"""Public routes: the server's readiness and the public model."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from contract.http import Health, Witnesses
from engines.interface import PublicModel
from service.api.dependencies import ServerStateDep, ServicesDep
from service.api.openapi import READY, content, make_router, not_yet, problems
from service.applications.rules import witnesses_of

router = make_router("model")


@router.get(
    "/health",
    response_model=Health,
    summary="Check the server's health",
    response_description="The engine is loaded.",
    responses=not_yet(Health, *READY),
)
async def health(server_state: ServerStateDep) -> JSONResponse:
    """Return 200 with `ok` once the engine is loaded, and 503 with `starting` before.

    If the engine cannot be loaded, the response is a problem that states the reason.
    """
    if server_state.fault is not None:
        raise server_state.fault
    return JSONResponse(
        {
            "status": "ok" if server_state.ready else "starting",
            "engine": server_state.settings.engine,
            "model_version": None
            if server_state.services is None
            else server_state.services.public.model_version,
        },
        status_code=200 if server_state.ready else 503,
    )


@router.get(
    "/model",
    response_model=PublicModel,
    summary="Get the public model",
    response_description="The public model.",
    responses=problems(*READY),
)
async def model(services: ServicesDep) -> Response:
    """Return the public model: its schema, programs, upload slots and versions.

    The schema lists the parties and the columns that each of them provides. A client that encrypts
    by itself first checks the record by the schema's `rules`.
    """
    return Response(services.public_json, media_type="application/json")


@router.get(
    "/witnesses",
    summary="List the witnesses",
    response_description="The witnesses of new applications.",
    responses=problems(*READY),
)
async def witnesses(services: ServicesDep) -> Witnesses:
    """Return the witnesses that check the results of new applications, unless fewer are named.

    Compare the keys with those that the witnesses publish themselves.
    """
    return Witnesses(items=witnesses_of(services.witness_tasks.known))


@router.get(
    "/model/client",
    summary="Download the client files",
    response_class=Response,
    responses=content("application/zip", "The archive.", "PK") | problems(*READY),
)
async def client_files(services: ServicesDep) -> Response:
    """Return the zip archive from which a party sets up its engine.

    Compare its SHA-256 with `client_sha256` in the public model.
    """
    attached = {"Content-Disposition": 'attachment; filename="client.zip"'}
    return Response(services.client_files, headers=attached, media_type="application/zip")
