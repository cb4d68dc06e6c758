"""The calls about a lender's data sets, which stay in the agent's folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Path, Request
from starlette.concurrency import run_in_threadpool

from federated.agents.api.bodies import DataSet, DataSetStored, StoredDataSets
from federated.agents.api.common import LenderDep, LocalLender, lender_router, may_raise
from federated.agents.api.data_sets import NAME
from utils.errors import (
    InvalidRequest,
    OutOfStep,
    QuotaExceeded,
    TrainingDataInvalid,
    UnknownDataSet,
    UnsupportedContent,
)
from web.openapi import BODY

MEDIA_TYPE = "text/csv"
NamePath = Annotated[str, Path(pattern=NAME, description="The data set's name.")]

router = lender_router("data", "/fl_data")


@router.get(
    "",
    summary="List data sets",
    response_description="The data sets that were sent to this agent.",
    responses=may_raise(),
)
def data_sets(lender: LenderDep) -> StoredDataSets:
    """List the data sets in the agent's folder, without rows."""
    return StoredDataSets(items=tuple(DataSet(**asdict(one)) for one in lender.data.all()))


@router.put(
    "/{name}",
    summary="Store a data set",
    response_description="The data set can be used for trainings.",
    responses=may_raise(*BODY, TrainingDataInvalid, QuotaExceeded, OutOfStep),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "contentMediaType": MEDIA_TYPE}}},
        }
    },
)
async def store(name: NamePath, request: Request, lender: LenderDep) -> DataSetStored:
    """Store labelled rows as a CSV file with the schema's columns and its target.

    It replaces a data set of the same name, unless a training uses that. The rows never leave the
    agent's folder.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise UnsupportedContent(f"Send this as {MEDIA_TYPE}.")
    content = await request.body()
    return await run_in_threadpool(_store, lender, name, content)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Remove a data set",
    response_description="The data set is removed.",
    responses=may_raise(InvalidRequest, UnknownDataSet, OutOfStep),
)
def remove(name: NamePath, lender: LenderDep) -> None:
    """Remove a data set, unless a training uses it."""
    _require_unused(lender, name)
    lender.data.remove(name)


def _store(lender: LocalLender, name: str, content: bytes) -> DataSetStored:
    _require_unused(lender, name)
    return DataSetStored(name=name, rows=lender.data.store(name, content))


def _require_unused(lender: LocalLender, name: str) -> None:
    if lender.runs.uses(name):
        raise OutOfStep(
            f"A training that has not ended uses the data set {name}; choose another name, or "
            "cancel the training first."
        )
