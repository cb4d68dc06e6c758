"""The laws that touch each column of a schema, from the data in laws.json.

The columns of the shipped schemas are listed there one by one. Those of any other schema are found
by words in their names and labels, which a lawyer has to confirm.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from features.schema import Column, Schema

KEPT_OUT, RESTRICTED, TOUCHED = "kept out", "restricted", "touched"
_STRENGTH = (KEPT_OUT, RESTRICTED, TOUCHED)
_FILE = Path(__file__).with_name("laws.json")


@dataclass(frozen=True)
class ColumnLaws:
    """The subjects of a column, the strictest verdict on them, and the laws by title and content.

    `listed` is true for a column of a shipped schema, false for one recognised by its words.
    """

    column: str
    subjects: tuple[str, ...]
    verdict: str
    laws: tuple[tuple[str, str], ...]
    listed: bool


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_FILE.read_text("utf-8"))
    return data


def note() -> str:
    """Return the limits of the map in one paragraph."""
    return str(_data()["note"])


def meaning(verdict: str) -> str:
    """Return the meaning of a verdict in words."""
    return str(_data()["verdicts"][verdict])


def general_laws() -> list[tuple[str, str]]:
    """Return title and content of the laws that touch every column."""
    return [_law(name) for name in _data()["every"]]


def laws_of(schema: Schema) -> list[ColumnLaws]:
    """Return the laws of every input of the schema, in the order of its columns."""
    return [column_laws(column, schema.name) for column in schema.columns()]


def column_laws(column: Column, schema: str = "") -> ColumnLaws:
    """Return the laws of a column, without the general ones; `schema` is the schema's name."""
    listed = _data()["columns"].get(schema, {}).get(column.name)
    subjects = tuple(listed) if listed is not None else subjects_of(column)
    rules = [rule for rule in _data()["subjects"] if rule["name"] in subjects]
    names = dict.fromkeys(name for rule in rules for name in rule["laws"])
    verdicts = [rule["verdict"] for rule in rules]
    verdict = min(verdicts, key=_STRENGTH.index, default=TOUCHED)
    return ColumnLaws(column.name, subjects, verdict, tuple(map(_law, names)), listed is not None)


def subjects_of(column: Column) -> tuple[str, ...]:
    """Return the subjects that the words of a column's name, header or label stand for."""
    words = _words(column)
    return tuple(
        rule["name"]
        for rule in _data()["subjects"]
        if words & set(rule["words"]) and not words & set(rule["without"])
    )


def _law(name: str) -> tuple[str, str]:
    law = _data()["laws"][name]
    return law["title"], law["says"]


def _words(column: Column) -> set[str]:
    """Return the words of a column in lower case and ASCII, camel case divided."""
    text = f"{column.name} {column.header} {column.label}"
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return set(re.findall(r"[a-z]+", plain))
