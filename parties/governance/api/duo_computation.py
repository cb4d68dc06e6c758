"""A computation from a name such as `average`, and the facts of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from governance.computations import NUMERIC, Computation, Filter, computation_of
from parties.governance.views import DataSetView
from utils.errors import ComputationInvalid

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "average": "mean",
        "avg": "mean",
        "count": "count",
        "max": "max",
        "maximum": "max",
        "mean": "mean",
        "median": "median",
        "min": "min",
        "minimum": "min",
        "share_per_category": "share_per_category",
        "standard_deviation": "standard_deviation",
        "std": "standard_deviation",
        "sum": "sum",
        "total": "sum",
    }
)
"""Kinds of computations by the names that people use."""


def computation_for(
    wanted: str | Mapping[str, Any],
    data_set: DataSetView,
    column: str | None = None,
    filters: Sequence[Filter] = (),
) -> Computation:
    """Return a computation on a data set; raises ComputationInvalid.

    `wanted` is a name or a whole computation. A name without a column is about the only numeric
    column of the data set.
    """
    if not isinstance(wanted, str):
        if column is not None or filters:
            raise ComputationInvalid(
                "Give the column and the filters inside the computation, or name a computation."
            )
        return computation_of(wanted)
    kind = KINDS.get("_".join(wanted.lower().replace("-", " ").split()))
    if kind is None:
        raise ComputationInvalid(
            f"computation: the names are {', '.join(sorted(KINDS))}; give any other as an object."
        )
    found: dict[str, Any] = {
        "kind": kind,
        "filters": [each.model_dump(mode="json") for each in filters],
    }
    if kind != "count":
        found["column"] = column or _only_numeric(data_set)
    return computation_of(found)


def _only_numeric(data_set: DataSetView) -> str:
    names = [column.name for column in data_set.columns if column.type in NUMERIC]
    if len(names) != 1:
        raise ComputationInvalid(
            f"The data set has {len(names)} numeric columns; name one of its columns as `column`."
        )
    return names[0]
