"""Error responses: RFC 9457 problem details with a stable `type`.

A TrisealError becomes `urn:triseal:error:<code>` with a status from the table below; the client
turns the type back into the same class. Plain HTTP errors (an unknown route, an internal error)
have the type `about:blank` (RFC 9457, section 4.2.1).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from utils import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:triseal:error:"
RETRY_SECONDS = "1"
ROOM_SECONDS = "30"
"""Retry-After for a full disk: space must be freed, or applications must expire."""

STATUS: Mapping[type[errors.TrisealError], int] = {
    errors.TrisealError: 500,
    errors.FeatureError: 422,
    errors.ModelError: 500,
    errors.TrainingDataInvalid: 422,
    errors.DeploymentError: 503,
    errors.EngineError: 500,
    errors.EngineUnavailable: 503,
    errors.KeyMissing: 409,
    errors.MalformedMessage: 422,
    errors.ForeignMessage: 422,
    errors.OpeningFailed: 409,
    errors.InvalidInputs: 409,
    errors.EvaluationFailed: 500,
    errors.ProtocolError: 409,
    errors.ApplicationError: 500,
    errors.ServerBusy: 429,
    errors.QuotaExceeded: 403,
    errors.UnknownApplication: 404,
    errors.ApplicationExpired: 410,
    errors.NotAuthorised: 401,
    errors.ForbiddenSlot: 403,
    errors.ForbiddenScope: 403,
    errors.UnknownName: 422,
    errors.OutOfStep: 409,
    errors.AlreadySent: 409,
    errors.AlreadyRunning: 409,
    errors.RunCancelled: 409,
    errors.InvalidRequest: 422,
    errors.UnknownHost: 421,
    errors.ForeignOrigin: 403,
    errors.UnsupportedContent: 415,
    errors.UploadEmpty: 422,
    errors.UploadTooLarge: 413,
    errors.UploadTooSlow: 408,
    errors.GovernanceError: 422,
    errors.PolicyInvalid: 422,
    errors.PolicyDenied: 403,
    errors.RequestClosed: 409,
    errors.ConsentMissing: 403,
    errors.PermitInvalid: 403,
    errors.PermitExpired: 403,
    errors.PermitSpent: 409,
    errors.ReceiptInvalid: 422,
    errors.ComputationTooNarrow: 403,
    errors.UnknownDataSet: 404,
    errors.StoreLocked: 403,
    errors.StoreDamaged: 500,
    errors.LogInconsistent: 500,
    errors.ProofInvalid: 422,
    errors.FederatedError: 409,
    errors.PlanInvalid: 422,
    errors.UnknownTraining: 404,
    errors.DataFolderInUse: 409,
    errors.StorageUnavailable: 503,
    errors.DiskFull: 507,
    errors.StoredDataDamaged: 500,
    errors.TransportError: 503,
}
"""HTTP status by error class; a class without an entry has that of its nearest base class."""


def status_of(cls: type[errors.TrisealError]) -> int:
    """Return the HTTP status of an error class."""
    return next(STATUS[each] for each in cls.__mro__ if each in STATUS)


def title_of(cls: type[errors.TrisealError]) -> str:
    """Return the class name in words: `OutOfStep` becomes `Out of step`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).capitalize()


def problem(
    error: errors.TrisealError, members: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return the response that reports an error; `members` are further ones of its body."""
    status = status_of(type(error))
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # late bytes of the body must not be read as a request
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_SECONDS
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        headers["Retry-After"] = ROOM_SECONDS
    if isinstance(error, errors.ServerStopping):
        headers["Connection"] = "close"
    if isinstance(error, errors.ServerBusy):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_seconds)))
    more = dict(members)
    if isinstance(error, errors.PolicyDenied):
        more |= {"reason": error.reason, "policy_violation": error.policy_violation}
    title = title_of(type(error))
    return _answer(TYPE_PREFIX + error.code, title, status, error.message, headers, more)


def install(app: FastAPI) -> None:
    """Make the app respond to every error with a problem."""

    async def on_error(_: Request, error: Exception) -> Response:
        if not isinstance(error, errors.TrisealError):
            raise error
        return problem(error)

    async def on_invalid(_: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return problem(errors.InvalidRequest(_faults(error)))

    async def on_http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == HTTPStatus.BAD_REQUEST:
            return problem(
                errors.InvalidRequest("The body cannot be read: send it as documented at /docs.")
            )
        return _blank(error.status_code, error.headers)

    async def on_disconnect(_: Request, __: Exception) -> Response:
        return _blank(HTTPStatus.BAD_REQUEST)  # never read, since the client is gone

    async def on_fault(_: Request, __: Exception) -> Response:
        return _blank(HTTPStatus.INTERNAL_SERVER_ERROR)

    app.add_exception_handler(errors.TrisealError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_fault)


_BLANK_DETAILS = {
    404: "There is no such endpoint; /docs lists all endpoints.",
    405: "This endpoint does not support that method; /docs lists all endpoints.",
    500: "The server had an internal error; its log has the cause. Nothing was changed.",
}


def _blank(status: int, headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    return _answer("about:blank", title, status, _BLANK_DETAILS.get(status, title), headers)


def _answer(
    type_: str,
    title: str,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    body = {"type": type_, "title": title, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def _faults(error: RequestValidationError) -> str:
    """Return the invalid fields and the reasons, without their values, which may be secret."""
    faults = []
    for fault in error.errors()[:5]:
        place = ".".join(str(part)[:40] for part in fault["loc"][1:]) or "body"
        faults.append(f"{place}: {fault['msg'].removeprefix('Value error, ')}")
    return f"The request is not valid: {'; '.join(faults)}."
