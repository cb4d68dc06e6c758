"""The plan and the rows of one schedule, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from features.encoding import Layout
from features.records import Records
from features.schema import Schema
from federated.boosting.rows import LocalRows
from federated.plan import Plan

_ORDINAL: dict[str, Any] = {"kind": "ordinal", "minimum": 0, "integer": True, "default": 0}


@dataclass(frozen=True)
class Case:
    """One training. `canary` is a text of the plan that must not leave in clear."""

    plan: Plan
    records: dict[str, Records]
    canary: str

    @property
    def layout(self) -> Layout:
        return self.plan.layout

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.records))

    def rows(self, name: str) -> LocalRows:
        """Return a lender's rows, at their beginning."""
        found = self.records[name]
        return LocalRows(self.plan, found.states, found.outcomes)


def drawn(random: Random, seed: int, least_lenders: int = 3) -> Case:
    """Draw a small training; the names of its lenders occur in no other one."""
    optional, monotone = random.random() < 0.5, random.random() < 0.5
    mark = random.randbytes(6).hex()
    stopping = random.random() < 0.3
    plan = Plan(
        schema_=_schema(optional, monotone, f"Canary {mark}"),
        trees=random.randint(2, 5),
        depth=random.randint(1, 3),
        learning_rate=random.choice((0.3, 0.7, 1.0)),
        early_stopping=1 if stopping else None,
        validation_share=random.choice((0.2, 0.4)) if stopping else random.choice((0.0, 0.2)),
        seed=seed,
    )
    generator = np.random.default_rng(seed)
    lenders = random.randint(least_lenders, 6)
    records = {
        f"lender_{mark}_{number}": _records(plan, random.randint(100, 300), generator)
        for number in range(1, lenders + 1)
    }
    return Case(plan, records, f"Canary {mark}")


def _schema(optional: bool, monotone: bool, title: str) -> Schema:
    """Return a schema with columns of all kinds; with `optional`, three may be missing."""
    columns: list[dict[str, Any]] = [
        {"name": "Years", **_ORDINAL, "maximum": 40, "cuts": [1, 5, 10, 20], "optional": optional},
        {"name": "Debt", **_ORDINAL, "maximum": 9, "cuts": [2, 5, 8]},
        {"name": "Owner", "kind": "boolean", "optional": optional},
        {"name": "Work", "kind": "categorical", "values": list("abcd"), "default": "a"},
        {"name": "Loans", **_ORDINAL, "maximum": 9, "cuts": [1, 4], "optional": optional},
    ]
    columns = [{"label": column["name"], **column} for column in columns]
    return Schema.parse(
        {
            "name": "trial",
            "title": title,
            "parties": [
                {"name": "applicant", "label": "Applicant", "columns": columns[:4]},
                {"name": "bank", "label": "Bank", "columns": columns[4:]},
            ],
            "decision": {"target": "Bad"},
            "explanation": {"column": "Years", "phrase": "years", "monotone": monotone},
        }
    )


def _records(plan: Plan, count: int, generator: np.random.Generator) -> Records:
    codes = plan.layout.codes
    states = np.stack([generator.integers(0, code.n_states, count) for code in codes], axis=1)
    score = states[:, 0] - states[:, 1] + 1.5 * (states[:, 3] == 1) + 0.5
    outcomes = score + generator.normal(0, 1.5, count) > 0
    return Records(states.astype(np.uint8), outcomes.astype(np.uint8))
