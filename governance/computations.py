"""Statistics on an owner's rows, declared as data and computed by the owner.

    {"kind": "mean", "column": "income",
     "filters": [{"column": "region", "op": "==", "value": "North"}]}

A computation names columns of one data set and is checked against their types. It never contains
code. Only the result leaves the owner. Decimal numbers are texts such as "0.25", so that a
computation has one canonical form and one digest. Missing values take no part.

The least number of rows holds for the rows that have a value, for the rows that the filters leave
out (unless they leave out none), and for every category and month of a result. With fewer rows
nothing is computed, and the error does not say how many there were.

These attacks remain:

- Differencing: two permitted results about nearly the same rows differ by the value of the few
  rows in which they differ. `differs_by_few` finds pairs of such requests, also of groups, but not
  three or more requests that reveal this together, nor requests about two versions of a data set.
- Minimum, maximum, median and quantile are often the exact value of one row, however many rows they
  are about. A requester who knows all values but one computes that one from a sum or a mean.
- A result about all rows of a group is about each: a share of 1 says it of every one.
- An error tells that a group has few rows.

They need noise (differential privacy) or a person who looks at the requests; neither is here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from governance.categories import FieldName
from governance.datasets import LARGEST_NUMBER, DataSet, Description, Record, Type, is_date
from utils.errors import ComputationInvalid, ComputationTooNarrow
from utils.strict_json import parse_json

MOST_BYTES = 32 * 1024
"""Most bytes of a computation in JSON."""
MOST_FILTERS = 8
MOST_VALUES = 50
MOST_MONTHS = 600
SMALLEST_LEAST_ROWS = 2
NUMERIC: tuple[Type, ...] = ("integer", "number")
ORDERED: tuple[Type, ...] = ("integer", "number", "date")
GROUPING: tuple[Type, ...] = ("category", "boolean")
COMPARABLE: tuple[Type, ...] = ("integer", "number", "date", "category", "boolean")
EVERY: tuple[Type, ...] = (*COMPARABLE, "text")

_OPERATOR_WORDS = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    "in": "is one of",
}
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,20})?")


def _decimal_text(value: Any) -> Any:
    """Return a number as decimal text, and any other value as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER:
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) <= LARGEST_NUMBER:
        value = format(Decimal(repr(value)), "f")
        return value.removesuffix(".0") if "." in value else value
    return value


DecimalText = Annotated[
    str, BeforeValidator(_decimal_text), Field(pattern=rf"^{_DECIMAL.pattern}$")
]
FilterValue = (
    StrictBool
    | StrictInt
    | Annotated[StrictStr, BeforeValidator(_decimal_text), Field(max_length=200)]
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compare(_Model):
    """Rows whose value in a column compares so with a value; a missing value never does."""

    column: FieldName
    op: Literal["==", "!=", "<", "<=", ">", ">="]
    value: FilterValue


class In(_Model):
    """Rows whose value is one of several."""

    column: FieldName
    op: Literal["in"]
    value: tuple[FilterValue, ...] = Field(min_length=1, max_length=MOST_VALUES)


class Between(_Model):
    """Rows whose value is between two values, both included."""

    column: FieldName
    op: Literal["between"]
    value: tuple[FilterValue, FilterValue]


class Missing(_Model):
    """Rows whose value is, or is not, missing."""

    column: FieldName
    op: Literal["is missing", "is not missing"]


Filter = Annotated[Compare | In | Between | Missing, Field(discriminator="op")]


class _Computation(_Model):
    filters: tuple[Filter, ...] = Field(default=(), max_length=MOST_FILTERS)


class Count(_Computation):
    """Number of rows."""

    kind: Literal["count"]


class ColumnStatistic(_Computation):
    """A statistic of a numeric column; the standard deviation is that of a sample (n - 1)."""

    kind: Literal["sum", "mean", "median", "min", "max", "standard_deviation"]
    column: FieldName


class Quantile(_Computation):
    """Quantile of a numeric column, interpolated linearly (Hyndman and Fan 1996, type 7)."""

    kind: Literal["quantile"]
    column: FieldName
    q: DecimalText

    @model_validator(mode="after")
    def _check(self) -> Quantile:
        if not 0 < float(self.q) < 1:
            raise ValueError("q must be between 0 and 1")
        return self


class ShareAbove(_Computation):
    """Share of a numeric column's values that are greater than a threshold."""

    kind: Literal["share_above"]
    column: FieldName
    threshold: DecimalText


class SharePerCategory(_Computation):
    """Share of each value of a category or boolean column."""

    kind: Literal["share_per_category"]
    column: FieldName


class TrendPerMonth(_Computation):
    """Count of rows, or sum or mean of a numeric column, for each month of a date column.

    Months without rows are left out.
    """

    kind: Literal["trend_per_month"]
    date_column: FieldName
    of: Literal["count", "sum", "mean"]
    column: FieldName | None = None

    @model_validator(mode="after")
    def _check(self) -> TrendPerMonth:
        if (self.column is None) != (self.of == "count"):
            raise ValueError("a sum or a mean needs a column, and a count has none")
        return self


Computation = Annotated[
    Count | ColumnStatistic | Quantile | ShareAbove | SharePerCategory | TrendPerMonth,
    Field(discriminator="kind"),
]
_ADAPTER: TypeAdapter[Computation] = TypeAdapter(Computation)


class Group(_Model):
    """The result for a category or for a month such as `2027-03`."""

    name: str
    value: float | int


class Result(_Model):
    """The result: `value`, or `groups` for a share per category or a trend per month."""

    kind: str
    value: float | int | None = None
    groups: tuple[Group, ...] = ()


def read_computation(data: bytes) -> Computation:
    """Return a computation from JSON; raises ComputationInvalid naming the wrong member."""
    if len(data) > MOST_BYTES:
        raise ComputationInvalid(f"The computation has more than {MOST_BYTES} bytes.")
    try:
        return computation_of(parse_json(data))
    except ValueError as error:
        raise ComputationInvalid(f"The computation is not valid JSON: {error}.") from error


def computation_of(value: object) -> Computation:
    """Return a computation from a JSON value; raises ComputationInvalid."""
    try:
        return _ADAPTER.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"]) or "the whole"
        raise ComputationInvalid(
            f"The computation is not valid: {place[:160]}: {first['msg'][:300]}."
        ) from error


def as_json(computation: Computation) -> dict[str, Any]:
    """Return the JSON value of a computation, which has no floating-point numbers."""
    found: dict[str, Any] = computation.model_dump(mode="json", exclude_none=True)
    return found


def digest(computation: Computation) -> str:
    """Return the SHA-256 of the canonical JSON of a computation, in hexadecimal."""
    text = json.dumps(
        as_json(computation), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()


def fields_of(computation: Computation) -> tuple[str, ...]:
    """Return the columns that a computation reads, those of its filters included."""
    names = [
        getattr(computation, "column", None),
        getattr(computation, "date_column", None),
        *(each.column for each in computation.filters),
    ]
    return tuple(dict.fromkeys(name for name in names if name is not None))


def texts_of(computation: Computation) -> tuple[str, ...]:
    """Return the texts that the filters compare columns with."""
    values = (value for each in computation.filters for value in _values_of(each))
    return tuple(value for value in values if isinstance(value, str))


def in_words(computation: Computation) -> str:
    """Return a sentence part: `mean of income, where region is "North"`."""
    match computation:
        case Count():
            text = "number of rows"
        case Quantile(column=column, q=q):
            text = f"quantile {q} of {column}"
        case ShareAbove(column=column, threshold=threshold):
            text = f"share of {column} above {threshold}"
        case SharePerCategory(column=column):
            text = f"share of each {column}"
        case TrendPerMonth(column=None, date_column=day):
            text = f"number of rows per month of {day}"
        case TrendPerMonth(of=of, column=column, date_column=day):
            text = f"{_kind_words(of)} of {column} per month of {day}"
        case _:
            text = f"{_kind_words(computation.kind)} of {computation.column}"
    conditions = [_filter_words(each) for each in computation.filters]
    return f"{text}, where {' and '.join(conditions)}" if conditions else text


def validate(computation: Computation, description: Description) -> None:
    """Raise ComputationInvalid if a column is missing or has another type than is needed."""
    match computation:
        case ColumnStatistic() | Quantile() | ShareAbove():
            _require(description, computation.column, NUMERIC, computation.kind)
        case SharePerCategory():
            _require(description, computation.column, GROUPING, computation.kind)
        case TrendPerMonth():
            _require(description, computation.date_column, ("date",), computation.kind)
            if computation.column is not None:
                _require(description, computation.column, NUMERIC, computation.kind)
    for each in computation.filters:
        allowed = EVERY if isinstance(each, Missing) else COMPARABLE
        if each.op in ("<", "<=", ">", ">=", "between"):
            allowed = ORDERED
        kind = _require(description, each.column, allowed, f"the filter {each.op}")
        for value in _values_of(each):
            _filter_value(each.column, value, kind)


def run(computation: Computation, data: DataSet, least_rows: int) -> Result:
    """Return the result about at least `least_rows` rows, which are 2 or more.

    Raises ComputationInvalid if the computation does not fit the data set, and ComputationTooNarrow
    if the result would be about too few rows.
    """
    if least_rows < SMALLEST_LEAST_ROWS:
        raise ComputationInvalid(
            f"The least number of rows is {least_rows}, but a result about fewer than "
            f"{SMALLEST_LEAST_ROWS} rows is not a statistic."
        )
    validate(computation, data.description)
    matching = _matching(computation, data)
    _require_rows(len(matching), least_rows)
    if computation.filters and len(matching) < len(data.rows):
        _require_rows(len(data.rows) - len(matching), least_rows, "the filters leave out")
    match computation:
        case Count():
            return Result(kind=computation.kind, value=len(matching))
        case SharePerCategory() | TrendPerMonth():
            return _grouped(computation, matching, least_rows)
    values = [
        number for row in matching if (number := _number(row, computation.column)) is not None
    ]
    _require_rows(len(values), least_rows)
    match computation:
        case ColumnStatistic():
            value = STATISTICS[computation.kind](values)
        case Quantile():
            value = quantile(values, float(computation.q))
        case ShareAbove():
            threshold = float(computation.threshold)
            above = sum(value > threshold for value in values)
            for part in (above, len(values) - above):
                if part:
                    _require_rows(part, least_rows)
            value = above / len(values)
    return Result(kind=computation.kind, value=value)


def differs_by_few(
    previous: Iterable[Computation], now: Computation, data: DataSet, least_rows: int
) -> bool:
    """Return True if the difference of two results would be about fewer than `least_rows` rows.

    Compares all rows of `now`, and each of its groups, with those of each earlier computation,
    whatever their kinds. All must be valid for the data set.
    """
    mine = _groups(now, data)
    sizes = {name: len(rows) for name, rows in mine.items()}
    names_of: dict[int, list[str]] = {}
    for name, rows in mine.items():
        for row in rows:
            names_of.setdefault(row, []).append(name)
    for each in previous:
        for theirs in _groups(each, data).values():
            common = Counter(name for row in theirs for name in names_of.get(row, ()))
            for name, count in common.items():
                if 0 < len(theirs) - count < least_rows or 0 < sizes[name] - count < least_rows:
                    return True
    return False


def quantile(values: Sequence[float], q: float) -> float:
    """Return the quantile of at least one value by linear interpolation."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * q
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def total(values: Sequence[float]) -> float:
    """Return the sum: of integers the exact one, unless parsers of JSON would not read it exactly.

    A sum of other numbers is rounded once.
    """
    if all(isinstance(value, int) for value in values) and abs(sum(values)) <= LARGEST_NUMBER:
        return sum(values)
    return math.fsum(values)


STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": total,
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
    "standard_deviation": statistics.stdev,
}


def _grouped(
    computation: SharePerCategory | TrendPerMonth, rows: Sequence[Record], least_rows: int
) -> Result:
    groups: dict[str, list[Record]] = {}
    for row in rows:
        name = _group_name(computation, row)
        if name is not None:
            groups.setdefault(name, []).append(row)
    _require_rows(sum(map(len, groups.values())), least_rows)
    if len(groups) > MOST_MONTHS:
        raise ComputationInvalid(
            f"The result would have more than {MOST_MONTHS} months; filter the dates."
        )
    for group in groups.values():
        _require_rows(len(group), least_rows, "a category or month has")
    total = sum(map(len, groups.values()))
    found = []
    for name, group in sorted(groups.items()):
        if isinstance(computation, SharePerCategory):
            value: float = len(group) / total
        elif computation.column is None:
            value = len(group)
        else:
            numbers = [_number(row, computation.column) for row in group]
            value = STATISTICS[computation.of]([n for n in numbers if n is not None])
        found.append(Group(name=name, value=value))
    return Result(kind=computation.kind, groups=tuple(found))


def _group_name(computation: SharePerCategory | TrendPerMonth, row: Record) -> str | None:
    """Return the name of a row's group, or None if the row takes no part."""
    if isinstance(computation, SharePerCategory):
        value = row[computation.column]
        if isinstance(value, bool):
            return "true" if value else "false"
        return None if value is None else str(value)
    day = row[computation.date_column]
    if day is None or (computation.column is not None and row[computation.column] is None):
        return None
    return str(day)[:7]


def _groups(computation: Computation, data: DataSet) -> dict[str, set[int]]:
    """Return the numbers of the rows of each group, and of all groups as `""`.

    The groups of a share above a threshold are the rows above it and the others.
    """
    validate(computation, data.description)
    tests = [_test(each, data.description) for each in computation.filters]
    found: dict[str, set[int]] = {"": set()}
    for number, row in enumerate(data.rows):
        if not all(test(row) for test in tests):
            continue
        name = ""
        if isinstance(computation, SharePerCategory | TrendPerMonth):
            group = _group_name(computation, row)
            if group is None:
                continue
            name = group
        elif not isinstance(computation, Count):
            value = _number(row, computation.column)
            if value is None:
                continue
            if isinstance(computation, ShareAbove):
                name = "above" if value > float(computation.threshold) else "not above"
        found[""].add(number)
        found.setdefault(name, set()).add(number)
    return found


def _matching(computation: Computation, data: DataSet) -> list[Record]:
    tests = [_test(each, data.description) for each in computation.filters]
    return [row for row in data.rows if all(test(row) for test in tests)]


def _test(each: Filter, description: Description) -> Callable[[Record], bool]:
    name = each.column
    if isinstance(each, Missing):
        wanted = each.op == "is missing"
        return lambda row: (row[name] is None) == wanted
    column = description.column(name)
    kind: Type = column.type if column is not None else "text"
    values = [_filter_value(name, value, kind) for value in _values_of(each)]
    compare = _OPERATORS[each.op]
    return lambda row: row[name] is not None and compare(row[name], values)


_OPERATORS: Mapping[str, Callable[[Any, Sequence[Any]], bool]] = {
    "==": lambda value, wanted: bool(value == wanted[0]),
    "!=": lambda value, wanted: bool(value != wanted[0]),
    "<": lambda value, wanted: bool(value < wanted[0]),
    "<=": lambda value, wanted: bool(value <= wanted[0]),
    ">": lambda value, wanted: bool(value > wanted[0]),
    ">=": lambda value, wanted: bool(value >= wanted[0]),
    "in": lambda value, wanted: value in wanted,
    "between": lambda value, wanted: bool(wanted[0] <= value <= wanted[1]),
}


def _values_of(each: Filter) -> tuple[bool | int | str, ...]:
    if isinstance(each, Missing):
        return ()
    return each.value if isinstance(each.value, tuple) else (each.value,)


def _filter_value(column: str, value: bool | int | str, kind: Type) -> bool | float | str:
    """Return a filter's value in the type of its column; raises ComputationInvalid."""
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in NUMERIC and not isinstance(value, bool):
        text = str(value)
        if _DECIMAL.fullmatch(text) and abs(float(text)) <= LARGEST_NUMBER:
            return float(text)
    if isinstance(value, str) and (kind == "category" or (kind == "date" and is_date(value))):
        return value
    raise ComputationInvalid(
        f"A filter compares {column}, a column of the type {kind}, with a value of another type. "
        'Write numbers as 12 or "0.5", dates as 2027-03-01, booleans as true or false.'
    )


def _filter_words(each: Filter) -> str:
    values = [_value_words(value) for value in _values_of(each)]
    if each.op == "between":
        return f"{each.column} is between {' and '.join(values)}"
    return f"{each.column} {_OPERATOR_WORDS.get(each.op, each.op)} {', '.join(values)}".rstrip()


def _kind_words(kind: str) -> str:
    return {"min": "smallest value", "max": "largest value"}.get(kind, kind.replace("_", " "))


def _value_words(value: bool | int | str) -> str:
    """Return a filter's value; a text is quoted, so that it cannot pass for words around it."""
    if isinstance(value, str) and not (_DECIMAL.fullmatch(value) or is_date(value)):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _require(description: Description, name: str, allowed: Sequence[Type], what: str) -> Type:
    column = description.column(name)
    if column is None:
        raise ComputationInvalid(
            f"The data set has no column {name!r}. Its columns are "
            f"{', '.join(each.name for each in description.columns[:40])}."
        )
    if column.type not in allowed:
        fitting = [each.name for each in description.columns if each.type in allowed]
        raise ComputationInvalid(
            f"The column {name} has the type {column.type}, but {what.replace('_', ' ')} needs "
            f"{' or '.join(allowed)}. Columns that fit: {', '.join(fitting[:40]) or 'none'}."
        )
    return column.type


def _require_rows(count: int, least_rows: int, which: str = "it has") -> None:
    if count < least_rows:
        raise ComputationTooNarrow(
            f"The result would be about too few rows: {which} fewer than {least_rows}. Use wider "
            "filters, or none, or a coarser grouping."
        )


def _number(row: Record, column: str) -> float | None:
    value = row[column]
    return value if isinstance(value, int | float) else None
