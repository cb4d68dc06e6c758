"""Sample data for an empty store: invented bills, personal record and application record.

A bank may have statistics of the first, masked fields of the second, and decisions on the third.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from features.schema import Schema
from governance.categories import OWN_DATA
from ui.forms import default_record
from ui.owner.drafts import field_maps
from utils.errors import TrisealError

MONTHS = 18
UTILITIES = {"electricity": (46.0, 21.0), "water": (18.5, 4.0)}
"""Lowest bill and range of each utility, in euros."""
PERSONAL = "personal_record"
"""Schema of the policy whose fields partners may receive, masked."""


@dataclass(frozen=True)
class Sample:
    """A data set as it is stored; the columns have these categories."""

    data: bytes
    tag: str
    words: str
    categories: dict[str, str]
    schema_name: str = OWN_DATA


def samples(deployment: Path) -> list[Sample]:
    """Return the sample data sets; the record only if the deployment's schema can be read."""
    record = _or_none(lambda: _record(Schema.load(deployment / "schema.json")))
    return [_bills(), _person(), *([record] if record else [])]


def _bills() -> Sample:
    rows = [
        {
            "month": f"{2025 + i // 12}-{i % 12 + 1:02}-01",
            "utility": utility,
            # An invented course of the year, the same at every call.
            "amount": round(low + span * ((i * 7 + len(utility)) % 12) / 12, 2),
        }
        for i in range(MONTHS)
        for utility, (low, span) in UTILITIES.items()
    ]
    category = "credit_history"
    return Sample(
        json.dumps(rows).encode(),
        "utility-bills",
        "Invented utility bills of 18 months, paid in time",
        dict.fromkeys(("month", "utility", "amount"), category),
    )


def _person() -> Sample:
    record = {
        "name": "Ana Example",
        "birth_date": "1990-04-01",
        "income": 42000,
        "employer": "Example Ltd",
        "account_number": "DE02120300000000202051",
    }
    return Sample(
        json.dumps(record).encode(),
        "personal-record",
        "Invented name, date of birth, income, employer and account",
        {name: field_maps()[PERSONAL].fields[name] for name in record},
        PERSONAL,
    )


def _record(schema: Schema) -> Sample:
    party = schema.parties[0]
    mapped = field_maps().get(schema.name)
    fields = {} if mapped is None else mapped.fields
    return Sample(
        json.dumps(default_record(party)).encode(),
        "application-record",
        f"{party.label}'s record for: {schema.title}",
        {each.name: fields[each.name] for each in party.columns if each.name in fields},
        OWN_DATA if mapped is None else schema.name,
    )


def _or_none(make: Callable[[], Sample]) -> Sample | None:
    try:
        return make()
    except (OSError, ValueError, TrisealError):
        return None
