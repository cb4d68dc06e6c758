"""Data that an owner has chosen but not stored yet, with a category proposed for each column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from governance.categories import CATEGORIES, OWN_DATA, ROW_COUNT, UNCLASSIFIED, FieldMap
from governance.datasets import Column, read_data_set
from governance.policy_files import load_folder
from governance.policy_texts import SHIPPED

MOST_SHOWN_COLUMNS = 32
"""Columns whose category can be chosen on the page; further ones have the proposed one."""
_WORDS = {
    "account_number": ("iban",),
    "account_balance": ("balance",),
    "account": ("account", "deposit"),
    "address": ("address", "street"),
    "age": ("age",),
    "birth_date": ("birth", "born"),
    "credit_history": ("bill", "payment", "loan", "debt", "credit"),
    "education": ("education", "degree", "school"),
    "email": ("email", "mail"),
    "employment": ("employer", "employed", "employment", "occupation", "job"),
    "household": ("household", "children", "family", "marital"),
    "income": ("income", "salary", "wage", "pension"),
    "name": ("name", "surname"),
    "national_id": ("passport", "ssn"),
    "phone": ("phone", "mobile"),
    "region": ("city", "country", "region", "postcode", "zip"),
}
"""Words in column names that suggest a category, for columns that no schema names."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


@dataclass(frozen=True, repr=False)
class Draft:
    """Data that was read but not stored, its columns, and the schema whose names they have."""

    data: bytes
    source: str
    rows: int
    columns: tuple[Column, ...]
    schema_name: str

    @property
    def proposed(self) -> list[str]:
        """The proposed category of each column."""
        own = field_maps().get(self.schema_name)
        return [
            own.fields[each.name]
            if own and each.name in own.fields
            else proposed_category(each.name)
            for each in self.columns
        ]


def read_draft(data: bytes, source: str) -> Draft:
    """Read data of CSV or JSON; raises DataSetInvalid without a value of the data."""
    found = read_data_set(data, "draft", "", source=source)
    names = [column.name for column in found.description.columns]
    return Draft(data, source, len(found.rows), found.description.columns, proposed_schema(names))


def proposed_schema(names: Sequence[str]) -> str:
    """Return the first schema that names all these columns, `own_data` if there is none."""
    return next(
        (name for name, each in field_maps().items() if set(names) <= set(each.fields)), OWN_DATA
    )


def proposed_category(name: str) -> str:
    """Return a category that fits a column's name, `unclassified` if none does."""
    named = {word.lower().removesuffix("s") for word in _WORD.findall(name)}
    for category, words in _WORDS.items():
        if any(word.removesuffix("s") in named for word in words):
            return category
    return UNCLASSIFIED


def category_choices() -> list[tuple[str, str]]:
    """Return the categories as choices: words and name."""
    words = {name: each.words for name, each in CATEGORIES.items() if name != ROW_COUNT}
    return [(text, name) for name, text in (words | {UNCLASSIFIED: "no category"}).items()]


def schema_choices() -> list[tuple[str, str]]:
    """Return the kinds of data as choices: words and the schema's name."""
    own = [("my own columns", OWN_DATA)]
    return own + [(each.title, name) for name, each in field_maps().items()]


@cache
def field_maps() -> dict[str, FieldMap]:
    """Return the categories of the shipped schemas' fields."""
    return dict(load_folder(SHIPPED).maps)
