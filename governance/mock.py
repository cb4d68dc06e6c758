"""A mock of a data set: the same columns and types with invented values.

A requester can try a computation on it before asking. It is made from the description alone, so
that it cannot depend on a value: numbers lie within bounds that are the same for every data set,
by type and by category. Only category names that the owner marked public are real.
"""

from __future__ import annotations

import random
import secrets
from datetime import date, timedelta

from governance.datasets import Column, DataSet, Description, Record, make_data_set
from governance.masking import Value

ROWS = 50
MOST_ROWS = 1000
MISSING_SHARE = 0.1
"""Share of missing values in a column that has any."""
BOUNDS = {
    "account_balance": (0, 20_000),
    "age": (18, 90),
    "credit_history": (0, 1000),
    "employment": (0, 40),
    "household": (0, 10),
    "income": (10_000, 100_000),
}
"""Bounds of invented numbers by category; others have OTHER_BOUNDS."""
OTHER_BOUNDS = (0, 1000)
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2029, 12, 31)
FIRST_BIRTH, LAST_BIRTH = date(1940, 1, 1), date(2005, 12, 31)
"""Bounds of invented dates of birth, which are those of adults."""
CATEGORY_COUNT = 5


def mock(
    description: Description, rows: int = ROWS, source: random.Random | None = None
) -> DataSet:
    """Return a data set of at most 1000 invented rows.

    `source` is the operating system's unless it is given.
    """
    source = source or secrets.SystemRandom()
    count = min(max(rows, 1), MOST_ROWS)
    records: list[Record] = [
        {column.name: _value(column, number, source) for column in description.columns}
        for number in range(1, count + 1)
    ]
    return make_data_set(
        description.tag,
        description.words,
        {column.name: column.type for column in description.columns},
        records,
        categories=description.categories,
        schema_name=description.schema_name,
    )


def _value(column: Column, number: int, source: random.Random) -> Value:
    if column.missing and source.random() < MISSING_SHARE:
        return None
    low, high = BOUNDS.get(column.category, OTHER_BOUNDS)
    match column.type:
        case "integer":
            return source.randint(low, high)
        case "number":
            return round(source.uniform(low, high), 2)
        case "boolean":
            return source.random() < 0.5
        case "date":
            born = column.category == "birth_date"
            first, last = (FIRST_BIRTH, LAST_BIRTH) if born else (FIRST_DAY, LAST_DAY)
            return (first + timedelta(source.randint(0, (last - first).days))).isoformat()
        case "category" if column.public_values:
            return source.choice(column.public_values)
        case "category":
            return f"category {source.randint(1, CATEGORY_COUNT)}"
        case _:
            return f"text {number}"
