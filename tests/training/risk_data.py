"""Invented credit risk of one good and one bad column, for tests of training."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from scipy.special import expit

from features.encoding import Layout
from features.schema import Schema
from training.models import Rows

PURPOSES = ["car", "home", "other"]


def ordinal(name: str, cuts: list[int], **more: object) -> dict[str, object]:
    column = {"name": name, "label": name.title(), "kind": "ordinal", "minimum": 0}
    return column | {"maximum": 1000, "cuts": cuts} | more


DOCUMENT = {
    "name": "risk",
    "title": "Risk",
    "parties": [
        {
            "name": "applicant",
            "label": "Applicant",
            "columns": [
                ordinal("income", [20, 40, 60, 80], monotone="rising"),
                {"name": "purpose", "label": "P", "kind": "categorical", "values": PURPOSES},
            ],
        },
        {
            "name": "bank",
            "label": "Bank",
            "columns": [ordinal("debt", [10, 20, 30, 40, 60], monotone="falling", optional=True)],
        },
    ],
    "decision": {"target": "BAD", "approved_value": 0},
    "explanation": {"column": "income", "phrase": "a year"},
}
SCHEMA = Schema.parse(DOCUMENT)
FREE = Schema.parse(
    json.loads(json.dumps(DOCUMENT).replace("rising", "free").replace("falling", "free"))
    | {"explanation": {"column": "income", "phrase": "a year", "monotone": False}}
)
"""The same schema without monotone columns."""


def risk_frame(size: int, seed: int) -> pd.DataFrame:
    """Draw the columns, BAD (1 = bad), a `weight` and a `date` (ISO, in no order)."""
    draw = np.random.default_rng(seed)
    income, debt = draw.integers(0, 100, size), draw.integers(0, 80, size)
    purpose = draw.choice(PURPOSES, size)
    odds = income / 20 - debt / 20 - (purpose == "other") + draw.normal(0, 0.3, size)
    known = draw.random(size) > 0.1
    months = draw.integers(0, 36, size)
    return pd.DataFrame(
        {
            "income": income,
            "purpose": purpose,
            "debt": pd.Series(debt, dtype=object).where(known, None),
            "BAD": (draw.random(size) > expit(odds)).astype(int),
            "weight": draw.integers(1, 4, size),
            "date": [f"{2023 + m // 12}-{m % 12 + 1:02d}-15" for m in months],
        }
    )


def risk_rows(size: int, seed: int) -> Rows:
    frame = risk_frame(size, seed)
    return Rows(Layout(SCHEMA).encode_frame(frame), (1 - frame["BAD"]).to_numpy(np.int8))
