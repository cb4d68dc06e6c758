"""Categories of fields, and the files that assign a category to each field of a schema.

The policy's rules name categories, not fields. A rule for a category includes the categories below
it: `identity` includes `name`. A field without a category is `unclassified`, and no shipped rule
allows its use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

MOST_FIELDS = 256
"""Most fields of one data set."""


@dataclass(frozen=True)
class Category:
    """A category in words, and the categories directly above it."""

    words: str
    broader: tuple[str, ...] = ()


UNCLASSIFIED = "unclassified"
ROW_COUNT = "row_count"
"""Category of the number of rows, which a statistic without fields asks for."""

CATEGORIES: dict[str, Category] = {
    "account": Category("accounts at the bank"),
    "account_balance": Category("account balances", ("account",)),
    "account_number": Category("account numbers", ("account", "direct_identifier")),
    "address": Category("the address", ("contact", "direct_identifier")),
    "age": Category("the age", ("protected",)),
    "assets": Category("property and vehicles"),
    "birth_date": Category("the date of birth", ("identity", "protected")),
    "contact": Category("contact details"),
    "credit_history": Category("the credit history"),
    "direct_identifier": Category("details that identify a person by themselves"),
    "education": Category("education"),
    "email": Category("the e-mail address", ("contact", "direct_identifier")),
    "employment": Category("employment"),
    "household": Category("the household", ("protected",)),
    "identity": Category("the identity"),
    "income": Category("income"),
    "name": Category("the name", ("identity", "direct_identifier")),
    "national_id": Category("the identity document's number", ("identity", "direct_identifier")),
    "phone": Category("the telephone number", ("contact", "direct_identifier")),
    "protected": Category("grounds on which discrimination is prohibited"),
    "region": Category("the region", ("contact",)),
    ROW_COUNT: Category("the number of rows"),
    UNCLASSIFIED: Category("fields without a category"),
}

FieldName = Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f*][^\x00-\x1f\x7f]*$")]
"""The name of a field: printable, and not beginning with `*`, which stands for the rows."""
SchemaName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
OWN_DATA = "own_data"
"""Schema of a data set that follows none of the policy's: its owner assigns the categories."""


@cache
def with_broader(category: str) -> tuple[str, ...]:
    """Return a category and all categories above it, nearest first."""
    found = [category]
    for each in found:
        found += [name for name in CATEGORIES[each].broader if name not in found]
    return tuple(found)


class FieldMap(BaseModel):
    """The categories of a schema's fields, as in the file `<schema name>.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: SchemaName
    title: str = Field(min_length=1, max_length=120)
    fields: dict[FieldName, str] = Field(min_length=1, max_length=MOST_FIELDS)

    @field_validator("fields")
    @classmethod
    def _known(cls, fields: dict[str, str]) -> dict[str, str]:
        for field, category in fields.items():
            if category not in CATEGORIES:
                raise ValueError(
                    f"{field} has the category {category[:60]!r}, but the categories are "
                    f"{', '.join(CATEGORIES)}"
                )
        return fields

    def category_of(self, field: str) -> str:
        """Return the field's category, `unclassified` if the file does not name it."""
        return self.fields.get(field, UNCLASSIFIED)
