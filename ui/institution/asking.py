"""The form of a request: the choices for a data set, and the computation that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from governance.computations import COMPARABLE, GROUPING, NUMERIC, ORDERED
from governance.datasets import Column, Type
from parties.governance.views import DataSetView
from utils.errors import InvalidRequest

STATISTICS = {
    "mean": "mean",
    "median": "median",
    "sum": "sum",
    "min": "smallest value",
    "max": "largest value",
    "standard_deviation": "standard deviation",
    "count": "number of rows",
    "quantile": "quantile",
    "share_above": "share above a threshold",
    "share_per_category": "share of each category",
    "trend_per_month": "mean per month",
}
"""Statistics of the form, by the kind of the computation."""
NUMBERS = {"quantile": "Quantile, between 0 and 1", "share_above": "Threshold"}
"""Statistics that need a number, and its label."""
_NONE = ""
_COMPARED = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
}
_EITHER = {"is missing": "is missing", "is not missing": "is not missing"}


@dataclass(frozen=True)
class Chosen:
    """The fields of the form that describe a statistic, as they were filled in."""

    kind: str
    column: str | None
    day: str | None
    number: str
    filter_column: str | None
    op: str
    filter_value: str


def columns_for(kind: str, data_set: DataSetView | None) -> list[str]:
    """Return the columns of which a statistic can be computed."""
    types: Sequence[Type] = GROUPING if kind == "share_per_category" else NUMERIC
    return [] if kind == "count" else _of(data_set, types)


def day_columns(kind: str, data_set: DataSetView | None) -> list[str]:
    """Return the columns whose months a statistic can be divided by."""
    return _of(data_set, ("date",)) if kind == "trend_per_month" else []


def filter_columns(data_set: DataSetView | None) -> list[tuple[str, str]]:
    """Return the columns by which rows can be chosen, and the choice of all rows."""
    return [("all rows", _NONE)] + [(name, name) for name in _of(data_set, COMPARABLE)]


def comparisons(name: str | None, data_set: DataSetView | None) -> list[tuple[str, str]]:
    """Return how the values of a column can be compared, in words."""
    column = column_of(name, data_set)
    ordered = column is not None and column.type in ORDERED
    compared = {op: words for op, words in _COMPARED.items() if ordered or op in ("==", "!=")}
    return [(words, op) for op, words in {**compared, **_EITHER}.items()]


def column_of(name: str | None, data_set: DataSetView | None) -> Column | None:
    """Return a column by its name, or None."""
    columns = data_set.columns if data_set else ()
    return next((each for each in columns if each.name == name), None)


def computation_from(chosen: Chosen, data_set: DataSetView) -> dict[str, Any]:
    """Return the computation that was chosen, as JSON; raises InvalidRequest for a missing part."""
    made: dict[str, Any] = {"kind": chosen.kind}
    if chosen.kind != "count":
        made["column"] = _required(chosen.column, "Choose the column of the statistic.")
    if chosen.kind == "trend_per_month":
        made |= {"of": "mean", "date_column": _required(chosen.day, "Choose the date column.")}
    if chosen.kind in NUMBERS:
        number = _required(chosen.number.strip(), f"Fill in: {NUMBERS[chosen.kind]}.")
        made["q" if chosen.kind == "quantile" else "threshold"] = number
    if chosen.filter_column:
        made["filters"] = [_filter(chosen, column_of(chosen.filter_column, data_set))]
    return made


def _filter(chosen: Chosen, column: Column | None) -> dict[str, Any]:
    made: dict[str, Any] = {"column": chosen.filter_column, "op": chosen.op}
    if chosen.op in _EITHER:
        return made
    value = _required(chosen.filter_value.strip(), "Fill in the value that rows are compared with.")
    if column is not None and column.type == "boolean":
        if value.lower() not in ("true", "false", "yes", "no"):
            raise InvalidRequest(f"The column {column.name} is compared with true or false.")
        return made | {"value": value.lower() in ("true", "yes")}
    return made | {"value": value}


def _required(value: str | None, advice: str) -> str:
    if not value:
        raise InvalidRequest(advice)
    return value


def _of(data_set: DataSetView | None, types: Sequence[Type]) -> list[str]:
    return [each.name for each in data_set.columns if each.type in types] if data_set else []
