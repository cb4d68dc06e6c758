"""A small schema with every kind of column, random rows, and ways of giving rows to lenders."""

from __future__ import annotations

import numpy as np

from features.schema import Schema
from federated.boosting.rows import LocalRows
from federated.plan import Plan


def schema_of(optional: bool, monotone: bool) -> Schema:
    """Return a schema of six columns; with `optional`, three of them may be missing."""
    whole = {"kind": "ordinal", "minimum": 0, "integer": True, "default": 0}
    columns = [
        {"name": "Years", **whole, "maximum": 40, "cuts": [1, 3, 6, 10, 20], "optional": optional},
        {"name": "Debt", **whole, "maximum": 9, "cuts": [2, 5, 8]},
        {"name": "Owner", "kind": "boolean", "optional": optional},
        {"name": "Work", "kind": "categorical", "values": list("abcd"), "default": "a"},
        {"name": "Town", "kind": "categorical", "values": list("xy"), "default": "x"},
        {"name": "Loans", **whole, "maximum": 9, "cuts": [1, 4], "optional": optional},
    ]
    columns = [{"label": c["name"], **c} for c in columns]
    return Schema.parse(
        {
            "name": "small",
            "title": "Small",
            "parties": [
                {"name": "applicant", "label": "Applicant", "columns": columns[:4]},
                {"name": "bank", "label": "Bank", "columns": columns[4:]},
            ],
            "decision": {"target": "Bad"},
            "explanation": {"column": "Years", "phrase": "years", "monotone": monotone},
        }
    )


def plan_of(optional: bool = True, monotone: bool = True, **parameters) -> Plan:
    return Plan(schema=schema_of(optional, monotone), **parameters)


def random_rows(plan: Plan, rows: int, seed: int):
    """Return states (rows, columns) and outcomes that depend on them."""
    generator = np.random.default_rng(seed)
    codes = plan.layout.codes
    states = np.stack([generator.integers(0, code.n_states, rows) for code in codes], axis=1)
    score = states[:, 0] - states[:, 1] * (states[:, 4] == 0) + 1.5 * (states[:, 3] == 1) - 1
    return states, (score + generator.normal(0, 1.5, rows) > 0).astype(np.int8)


def lenders_of(plan: Plan, states, outcomes, owners) -> dict[str, LocalRows]:
    """Return each owner's rows; `owners` (rows,) has the number of the lender of each row."""
    return {
        f"lender{owner}": LocalRows(plan, states[owners == owner], outcomes[owners == owner])
        for owner in np.unique(owners)
    }
