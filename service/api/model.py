"""What anyone may know: whether the server is ready, and the public model."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse

from contract.http import Health
from engines.interface import PublicModel
from service.api.dependencies import ServerStateDep, ServicesDep
from service.api.openapi import READY, content, make_router, not_yet, problems

router = make_router("model")


@router.get("/health", response_model=Health, responses=not_yet(Health, *READY))
async def health(server_state: ServerStateDep) -> JSONResponse:
    """200 `ok` when the workers have their engine, 503 `starting` before.

    Where the engine cannot be loaded, a problem says why.
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


@router.get("/model", response_model=PublicModel, responses=problems(*READY))
async def model(services: ServicesDep) -> Response:
    """The public model: schema, programs, slots, versions (engines.interface.PublicModel)."""
    return Response(services.public_json, media_type="application/json")


@router.get(
    "/model/client",
    response_class=Response,
    responses=content("application/zip", "The archive.", "PK") | problems(*READY),
)
async def client_files(services: ServicesDep) -> Response:
    """The zip archive that a party's engine is made of; its SHA-256 is in the public model."""
    attached = {"Content-Disposition": 'attachment; filename="client.zip"'}
    return Response(services.client_files, headers=attached, media_type="application/zip")
