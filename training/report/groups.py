"""Groups of applicants for audits: categories, bands of ages, quarters of other numbers.

The audited columns are those of the schema's `audit` and all of its `audit_columns`. Bins and
categories of fewer than 30 rows are joined, so that a rate rests on enough rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, ColumnCode, Layout, column_code
from features.schema import Column, OrdinalColumn, Schema, shown_number
from training.report.laws import subjects_of

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 30
"""Rows of a group whose rates are compared."""
AGE_EDGES = (25.0, 40.0, 62.0)
"""Edges of age bands; an applicant of 62 or more is elderly in 12 CFR 1002.2(o)."""
_FEW_BINS = 4

Members = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """The groups of one column: `names`, and for each row (rows,) the index of its group."""

    column: str
    label: str
    names: tuple[str, ...]
    members: Members

    @property
    def sizes(self) -> Members:
        """The rows of each group, shape (groups,)."""
        return np.bincount(self.members, minlength=len(self.names))

    @property
    def large(self) -> NDArray[np.bool_]:
        """True for each group of at least `SMALLEST` rows, shape (groups,)."""
        return np.asarray(self.sizes >= SMALLEST)


def audited_columns(schema: Schema) -> list[Column]:
    """Return the columns by which outcomes are broken down, in the schema's order."""
    names = {*schema.audit, *(column.name for column in schema.audit_columns)}
    return [c for c in (*schema.columns(), *schema.audit_columns) if c.name in names]


def audited_groups(layout: Layout, bits: Bits, frame: pd.DataFrame | None = None) -> list[Groups]:
    """Return the groups of rows of every audited column.

    `bits` (rows, n_bits) has the inputs. `frame` has the values of the same rows; without it, or
    without one of its columns, audit-only columns are left out and ages are known by bins only.
    Raises ValueOutOfDomain for a value that the schema does not allow.
    """
    states = layout.states(bits)
    found = []
    for column in audited_columns(layout.schema):
        known = frame is not None and column.name in frame.columns
        values = frame[column.name] if frame is not None and known else None
        if any(column.name == code.column.name for code in layout.codes):
            code = layout.code(column.name)
            own = states[:, layout.codes.index(code)] - code.first_state
        elif values is not None:
            code = column_code(column)
            own = _states(code, values)
        else:
            continue
        found.append(_groups(code, own, values))
    return found


def missing_columns(schema: Schema, frame: pd.DataFrame | None) -> list[str]:
    """Return the names of audit-only columns that the rows do not have."""
    have = set() if frame is None else set(frame.columns)
    return [column.name for column in schema.audit_columns if column.name not in have]


def _states(code: ColumnCode, values: pd.Series) -> Members:
    """Return the state of each value; a missing one is in a state after the last of the column."""
    import pandas as pd

    absent = values.isna().to_numpy()
    states = np.full(len(values), len(code.state_labels), np.int64)
    positions, distinct = pd.factorize(values[~absent])
    plain = (v.item() if isinstance(v, np.generic) else v for v in distinct)
    states[~absent] = np.array([code.state(v) for v in plain], np.int64)[positions]
    return states


def _groups(code: ColumnCode, states: Members, values: pd.Series | None) -> Groups:
    column = code.column
    if isinstance(column, OrdinalColumn):
        names, members = _bands(column, states, values)
    else:
        names, members = [*code.state_labels, "missing"], states
        names, members = _join_rare(names, members)
    kept = np.unique(members)
    return Groups(
        column.name,
        column.label or column.name,
        tuple(names[i] for i in kept),
        np.searchsorted(kept, members),
    )


def _bands(
    column: OrdinalColumn, states: Members, values: pd.Series | None
) -> tuple[list[str], Members]:
    """Return the bands of a number, lowest first, then a band of missing values."""
    bins = len(column.cuts) + 1
    missing = states >= bins
    if "age" in subjects_of(column):
        if values is not None:
            edges = list(AGE_EDGES)
            position = np.searchsorted(edges, values.to_numpy(np.float64, na_value=np.nan), "right")
            return _joined(column, edges, position, missing)
        wanted: Sequence[float] = AGE_EDGES
        edges = sorted({min(column.cuts, key=lambda cut: abs(cut - edge)) for edge in wanted})
    elif bins <= _FEW_BINS or missing.all():
        edges = list(column.cuts)
    else:
        quartiles = np.quantile(states[~missing], [0.25, 0.5, 0.75], method="higher")
        edges = sorted({column.cuts[max(0, int(state) - 1)] for state in quartiles})
    floors = np.array([column.bin_floor(i) for i in range(bins)])
    position = np.searchsorted(edges, floors, "right")[np.minimum(states, bins - 1)]
    return _joined(column, edges, position, missing)


def _joined(
    column: OrdinalColumn, edges: list[float], position: Members, missing: NDArray[np.bool_]
) -> tuple[list[str], Members]:
    """Join bands of fewer than `SMALLEST` rows with the smaller neighbour."""
    edges = list(edges)
    position = position.copy()
    while edges:
        sizes = np.bincount(position[~missing], minlength=len(edges) + 1)
        smallest = int(sizes.argmin())
        if sizes[smallest] >= SMALLEST:
            break
        below = smallest == len(edges) or (
            smallest > 0 and sizes[smallest - 1] <= sizes[smallest + 1]
        )
        edge = smallest - 1 if below else smallest
        del edges[edge]
        position = np.where(position > edge, position - 1, position)
    names = _band_names(edges, column.unit)
    return [*names, "missing"], np.where(missing, len(names), position)


def _band_names(edges: list[float], unit: str) -> list[str]:
    if not edges:
        return ["all values"]
    texts = [shown_number(edge) for edge in edges]
    after = f" {unit}" if unit else ""
    inner = [f"{a} to under {b}{after}" for a, b in pairwise(texts)]
    return [f"under {texts[0]}{after}", *inner, f"{texts[-1]}{after} and over"]


def _join_rare(names: list[str], members: Members) -> tuple[list[str], Members]:
    """Join the categories of fewer than `SMALLEST` rows if there are several."""
    sizes = np.bincount(members, minlength=len(names))
    rare = np.flatnonzero((sizes > 0) & (sizes < SMALLEST))
    if len(rare) < 2:
        return names, members
    joined = "joined: " + ", ".join(names[i] for i in rare)
    return [*names, joined], np.where(np.isin(members, rare), len(names), members)
