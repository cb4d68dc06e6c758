"""Data sets of an owner: read from CSV or JSON, with column types, and described without values.

A CSV file may be separated by commas, semicolons, tabs or vertical bars. In one with semicolons,
numbers have decimal commas. A JSON document is one object, or a list of objects, whose values are
texts, numbers, true, false or null. A missing value is an empty field, null, or an absent member.

| type | values in memory | in CSV |
|---|---|---|
| integer | int | `-12`, without leading zeros or plus sign, at most 15 digits |
| number | float | `12.5`, `1e3` |
| boolean | bool | `true`, `false`, `yes`, `no` |
| date | str | `2027-03-01` (ISO 8601) |
| category | str | a text of which there are few different ones, which repeat |
| text | str | any other |

Digits with a leading zero or plus sign, or more than 15 of them, are text: telephone, account and
identity numbers keep their form.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from governance.categories import (
    CATEGORIES,
    MOST_FIELDS,
    OWN_DATA,
    UNCLASSIFIED,
    FieldName,
    SchemaName,
)
from governance.masking import LONGEST_VALUE, Value
from utils.errors import DataSetInvalid
from utils.strict_csv import CsvSource, other_separator
from utils.strict_json import parse_json

Type = Literal["text", "integer", "number", "boolean", "date", "category"]
TYPES: tuple[Type, ...] = get_args(Type)

MOST_BYTES = 16 * 1024 * 1024
MOST_ROWS = 200_000
MOST_CATEGORIES = 50
"""Most different values of a category column."""
LARGEST_NUMBER = 10**15
"""Largest absolute value: every smaller integer is exact as a float."""
MOST_PUBLIC_VALUES = 50
FEW_ROWS = 5
"""Rows below which a description does not say whether a value is missing: it would be a fact about
almost every row."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}

Record = dict[str, Value]
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(_Model):
    """A column without its values.

    `category` is the policy's, which the owner assigns. `public_values` are names of a category
    column that the owner has marked public; a mock uses them.
    """

    name: FieldName
    type: Type
    missing: bool = Field(
        description="Whether any value is missing; true also if the data set has few rows."
    )
    category: str = UNCLASSIFIED
    public_values: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        default=(), max_length=MOST_PUBLIC_VALUES
    )

    @field_validator("category")
    @classmethod
    def _known(cls, category: str) -> str:
        if category not in CATEGORIES:
            raise ValueError(f"the categories are {', '.join(CATEGORIES)}")
        return category


class Description(_Model):
    """The public facts of a data set: no values, except category names marked public.

    `schema_name` is the policy's schema whose field names the columns have.
    """

    tag: Tag
    schema_name: SchemaName = OWN_DATA
    words: str = Field(max_length=500)
    columns: tuple[Column, ...] = Field(min_length=1, max_length=MOST_FIELDS)
    rows: int = Field(ge=0, le=MOST_ROWS)

    @field_validator("columns")
    @classmethod
    def _distinct(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if len({column.name for column in columns}) < len(columns):
            raise ValueError("two columns have the same name")
        return columns

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def categories(self) -> dict[str, str]:
        """The policy's category of each column, as governance.access.Access takes them."""
        return {column.name: column.category for column in self.columns}


@dataclass(frozen=True, repr=False)
class DataSet:
    """A description and the rows, each with a value or None for every column, in its type."""

    description: Description
    rows: tuple[Record, ...]


def read_data_set(
    data: bytes,
    tag: str,
    words: str,
    *,
    source: str = "The data",
    types: Mapping[str, Type] | None = None,
    categories: Mapping[str, str] | None = None,
    public: Collection[str] = (),
    schema_name: str = OWN_DATA,
) -> DataSet:
    """Return a data set from the bytes of a CSV or JSON file.

    `types` and `categories` are by column; other types are inferred, and other columns are
    unclassified. `public` names category columns whose values are public. Raises DataSetInvalid
    with the line or row, without a value.
    """
    if len(data) > MOST_BYTES:
        raise DataSetInvalid(
            f"{source} has {len(data)} bytes, but a data set has at most {MOST_BYTES}; divide it."
        )
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start in (b"[", b"{"):
        names, raw = _read_json(data, source)
        parsed = _typed_columns(names, raw, types or {}, source, _json_value, _json_types)
    else:
        names, texts, decimal = _read_csv(data, source)
        parsed = _typed_columns(
            names,
            texts,
            types or {},
            source,
            lambda text, kind: _csv_value(text, kind, decimal),
            lambda values: _csv_types(values, decimal),
        )
    return make_data_set(
        tag,
        words,
        {name: kind for name, (kind, _) in parsed.items()},
        [
            dict(zip(parsed, row, strict=True))
            for row in zip(*(values for _, values in parsed.values()), strict=True)
        ],
        source=source,
        categories=categories,
        public=public,
        schema_name=schema_name,
    )


def make_data_set(
    tag: str,
    words: str,
    types: Mapping[str, Type],
    rows: Sequence[Record],
    *,
    source: str = "The data",
    categories: Mapping[str, str] | None = None,
    public: Collection[str] = (),
    schema_name: str = OWN_DATA,
) -> DataSet:
    """Return a data set from typed rows; raises DataSetInvalid."""
    categories = categories or {}
    for name in [*categories, *public]:
        if name not in types:
            raise DataSetInvalid(f"{source} has no column {name[:64]!r}; check the names.")
    columns = []
    for name, kind in types.items():
        values = [row[name] for row in rows]
        shown: tuple[str, ...] = ()
        if name in public:
            if kind != "category":
                raise DataSetInvalid(
                    f"The values of {name[:64]} cannot be public: the column has the type {kind}, "
                    "and only names of a category column can."
                )
            shown = tuple(sorted({str(value) for value in values if value is not None}))
        columns.append(
            {
                "name": name,
                "type": kind,
                "missing": len(rows) < FEW_ROWS or None in values,
                "category": categories.get(name, UNCLASSIFIED),
                "public_values": shown,
            }
        )
    try:
        description = Description.model_validate(
            {
                "tag": tag,
                "schema_name": schema_name,
                "words": words,
                "columns": columns,
                "rows": len(rows),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(each) for each in first["loc"])
        raise DataSetInvalid(f"{source} cannot be described: {place}: {first['msg']}.") from error
    return DataSet(description, tuple(rows))


def is_date(value: str) -> bool:
    """Return True for an ISO 8601 calendar date such as `2027-03-01`."""
    if not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _typed_columns(
    names: Sequence[str],
    columns: Sequence[Sequence[Any]],
    given: Mapping[str, Type],
    source: str,
    convert: Callable[[Any, Type], Value],
    infer: Callable[[Sequence[Any]], Type],
) -> dict[str, tuple[Type, list[Value]]]:
    for name, kind in given.items():
        if name not in names:
            raise DataSetInvalid(f"{source} has no column {name[:64]!r}; check the names.")
        if kind not in TYPES:
            raise DataSetInvalid(f"The type of {name[:64]} must be one of {', '.join(TYPES)}.")
    found: dict[str, tuple[Type, list[Value]]] = {}
    for name, values in zip(names, columns, strict=True):
        kind = given.get(name) or infer(values)
        typed: list[Value] = []
        for row, value in enumerate(values, start=1):
            if isinstance(value, str) and len(value) > LONGEST_VALUE:
                raise DataSetInvalid(
                    f"{source} has {len(value)} characters in {name[:64]} of row {row}; the most "
                    f"are {LONGEST_VALUE}."
                )
            try:
                typed.append(convert(value, kind))
            except ValueError as error:
                raise DataSetInvalid(
                    f"{source} has no {kind} in {name[:64]} of row {row}; correct the value, or "
                    "give the column another type."
                ) from error
        if kind == "category" and len(set(typed) - {None}) > MOST_CATEGORIES:
            raise DataSetInvalid(
                f"{name[:64]} has more than {MOST_CATEGORIES} different values; give it the type "
                "text."
            )
        found[name] = (kind, typed)
    return found


def _is_category(values: Collection[str], rows: int) -> bool:
    return 0 < len(values) <= MOST_CATEGORIES and 2 * len(values) <= rows


def _text_type(values: Sequence[str]) -> Type:
    if values and all(map(is_date, values)):
        return "date"
    return "category" if _is_category(set(values), len(values)) else "text"


def _csv_types(texts: Sequence[str], decimal: str) -> Type:
    values = [text for text in texts if text]
    if not values:
        return "text"
    if all(map(_INTEGER.fullmatch, values)):
        return "integer"
    if all(_csv_number(text, decimal) is not None for text in values):
        return "number"
    if all(text.lower() in _BOOLEANS for text in values):
        return "boolean"
    return _text_type(values)


def _csv_number(text: str, decimal: str) -> float | None:
    if decimal != ".":
        if "." in text:
            return None
        text = text.replace(decimal, ".")
    return float(text) if _NUMBER.fullmatch(text) and _in_range(float(text)) else None


def _csv_value(text: str, kind: Type, decimal: str) -> Value:
    if not text:
        return None
    if kind == "integer":
        if not _INTEGER.fullmatch(text):
            raise ValueError(kind)
        return int(text)
    if kind == "number":
        number = _csv_number(text, decimal)
        if number is None:
            raise ValueError(kind)
        return number
    if kind == "boolean":
        if text.lower() not in _BOOLEANS:
            raise ValueError(kind)
        return _BOOLEANS[text.lower()]
    if kind == "date" and not is_date(text):
        raise ValueError(kind)
    return text


def _json_types(values: Sequence[Value]) -> Type:
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, bool) for value in given):
        return "boolean"
    if given and all(_is_number(value) for value in given):
        whole = all(isinstance(value, int) for value in given)
        return "integer" if whole else "number"
    # A mixture is text here, and then refused with the row of the first value that is not.
    return _text_type([value for value in given if isinstance(value, str)])


def _json_value(value: Value, kind: Type) -> Value:
    if value is None:
        return None
    fits = {
        "integer": _is_number(value) and isinstance(value, int),
        "number": _is_number(value),
        "boolean": isinstance(value, bool),
        "date": isinstance(value, str) and is_date(value),
        "category": isinstance(value, str),
        "text": isinstance(value, str),
    }
    if not fits[kind]:
        raise ValueError(kind)
    if isinstance(value, str):
        value.encode()  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
    return float(value) if kind == "number" else value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _in_range(value)


def _in_range(number: float) -> bool:
    return math.isfinite(number) and abs(number) <= LARGEST_NUMBER


def _read_csv(data: bytes, source: str) -> tuple[list[str], list[list[str]], str]:
    """Return the names, the columns of texts, and the decimal mark."""
    reader = CsvSource(source, DataSetInvalid)

    def opened() -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(data))

    separator = ","
    _, names = reader.header(reader.rows(opened()))
    separator = other_separator(names) or ","
    rows = reader.rows(opened(), separator)
    line, names = reader.header(rows)
    _require_names(names, f"{source}, line {line}")
    columns: list[list[str]] = [[] for _ in names]
    for count, (_, fields) in enumerate(reader.of_one_length(rows, len(names)), start=1):
        _require_rows(count, source)
        for column, field in zip(columns, fields, strict=True):
            column.append(field)
    return names, columns, "," if separator == ";" else "."


def _read_json(data: bytes, source: str) -> tuple[list[str], list[list[Value]]]:
    try:
        value = parse_json(data)
    except ValueError as error:
        # The parser's message may quote a name, but no value.
        raise DataSetInvalid(f"{source} is not valid JSON: {error}.") from error
    records = [value] if isinstance(value, dict) else value
    _require_rows(len(records), source)
    names: dict[str, None] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataSetInvalid(
                f"{source}: row {number} is not a JSON object; write one object for each row."
            )
        names.update(dict.fromkeys(record))
        if len(names) > MOST_FIELDS:
            break
        for name, each in record.items():
            if isinstance(each, list | dict):
                raise DataSetInvalid(
                    f"{source}: {name[:64]} of row {number} is a list or an object; write one "
                    "value, or one column for each part."
                )
    _require_names([*names], source)
    return [*names], [[record.get(name) for record in records] for name in names]


def _require_names(names: Sequence[str], where: str) -> None:
    if not 0 < len(names) <= MOST_FIELDS:
        raise DataSetInvalid(
            f"{where}: there are {len(names)} columns, but a data set has 1 to {MOST_FIELDS}."
        )
    for name in names:
        if not name.strip() or name != name.strip():
            raise DataSetInvalid(
                f"{where}: the column {name[:64]!r} has no name, or one with spaces around it; "
                "give each column a name."
            )
        if names.count(name) > 1:
            raise DataSetInvalid(
                f"{where}: {names.count(name)} columns are called {name[:64]}; keep one of them."
            )


def _require_rows(count: int, source: str) -> None:
    if count > MOST_ROWS:
        raise DataSetInvalid(
            f"{source} has more than {MOST_ROWS} rows, which is the most of a data set; divide it."
        )
