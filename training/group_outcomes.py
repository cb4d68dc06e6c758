"""Outcomes of groups of applicants under a model, for the model card."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from features.schema import Schema


def group_outcomes(
    schema: Schema,
    layout: Layout,
    bits: Bits,
    y: NDArray[np.int8],
    approved: NDArray[np.bool_],
) -> dict[str, list[dict[str, Any]]]:
    """Return, for every audited column of the schema, one entry per state that occurs.

    `impact_ratio` is the group's approval rate divided by the highest rate of a group with at
    least 50 rows; below 0.8, US guidance calls it adverse impact (29 CFR 1607.4 D, the four-fifths
    rule). `missed` is the share of good applicants that were denied.
    """
    outcomes = {}
    states = layout.states(bits)
    for name in schema.audit:
        code = layout.code(name)
        own = states[:, layout.codes.index(code)] - code.first_state
        groups: list[dict[str, Any]] = []
        for state in range(code.n_states):
            inside = own == state
            if not inside.any():
                continue
            good = inside & (y == 1)
            groups.append(
                {
                    "group": code.state_labels[state],
                    "rows": int(inside.sum()),
                    "approved_in_data": float(y[inside].mean()),
                    "approved_by_model": float(approved[inside].mean()),
                    "missed": float((~approved[good]).mean()) if good.any() else None,
                }
            )
        best = max((g["approved_by_model"] for g in groups if g["rows"] >= 50), default=0.0)
        for group in groups:
            group["impact_ratio"] = group["approved_by_model"] / best if best else None
        outcomes[name] = groups
    return outcomes
