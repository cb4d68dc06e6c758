"""Proven bounds of the score over all possible inputs.

A score that overflows its width wraps and changes its sign, so the width must suffice for every
input that the schema allows, not only for those in the data. Finding the extremes of a plan is a
mixed-integer linear program, as for tree ensembles (Kantchelian, Tygar, Joseph, ICML 2016): one
binary variable per column state, one fraction per table cell, and a table's fractions must agree
with the states of every column. HiGHS, through SciPy, solves it; at the time limit it still gives a
valid bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.encoding import Layout
from model.plan import Lookup, Plan

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint


@dataclass(frozen=True)
class Extremes:
    """Bounds of the score: no input scores below `low` or above `high`.

    `rows` (2, columns) are the best inputs found, as states counted over the schema. `tight` is
    True if their scores equal both bounds.
    """

    low: int
    high: int
    rows: NDArray[np.int64]
    tight: bool


def extremes(plan: Plan, layout: Layout, seconds: float = 15.0) -> Extremes:
    """Bound the score of a plan with one output, taking at most `seconds` for each bound."""
    low, low_row = _maximum(plan, layout, -1, seconds)
    high, high_row = _maximum(plan, layout, 1, seconds)
    rows = np.stack([low_row, high_row])
    reached = plan.evaluate(layout.bits_of_states(rows), layout)[:, 0]
    return Extremes(-low, high, rows, bool((reached == (-low, high)).all()))


def lowest(plan: Plan, layout: Layout, seconds: float = 15.0) -> int:
    """Return a proven lower bound of the score of a plan with one output."""
    return -_maximum(plan, layout, -1, seconds)[0]


class _Constraints:
    """Collects sparse linear equations, one by one."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, int]] = []
        self.values: list[float] = []

    def equal(self, terms: list[tuple[int, float]], value: float) -> None:
        self.entries += [(entry, len(self.values), column) for column, entry in terms]
        self.values.append(value)

    def matrix(self, columns: int) -> LinearConstraint:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        entries, rows, own = zip(*self.entries, strict=True)
        matrix = csr_array((entries, (rows, own)), shape=(len(self.values), columns))
        return LinearConstraint(matrix, self.values, self.values)


def _maximum(
    plan: Plan, layout: Layout, sign: int, seconds: float
) -> tuple[int, NDArray[np.int64]]:
    """Return an upper bound of sign * score, and the best states found, shape (columns,)."""
    # Imported late: parties and servers read programs too, but only compilation solves for bounds,
    # and SciPy's optimiser would double the time that their processes take to start.
    from scipy.optimize import Bounds, milp

    linear = sign * plan.linear[0]
    objective = [linear]
    # A bound without the solver: the best state of every column and best cell of every table.
    bound = sum(int(linear[c.first_state : c.first_state + c.n_states].max()) for c in layout.codes)
    constraints = _Constraints()
    for code in layout.codes:
        own = range(code.first_state, code.first_state + code.n_states)
        constraints.equal([(state, 1.0) for state in own], 1.0)
    first = layout.n_states
    for lookup in plan.lookups:
        values = sign * np.array(lookup.values)
        bound += int(values.max())
        objective.append(values)
        _tie_cells_to_states(constraints, lookup, first, layout)
        first += len(values)
    solution = milp(
        -np.concatenate(objective).astype(np.float64),
        integrality=np.r_[np.ones(layout.n_states), np.zeros(first - layout.n_states)],
        bounds=Bounds(0.0, 1.0),
        constraints=constraints.matrix(first),
        options={"time_limit": seconds},
    )
    best = np.array([code.first_state for code in layout.codes], np.int64)
    if solution.x is not None:
        for i, code in enumerate(layout.codes):
            own_share = solution.x[code.first_state : code.first_state + code.n_states]
            best[i] = code.first_state + int(np.argmax(own_share))
    if solution.mip_dual_bound is not None and np.isfinite(solution.mip_dual_bound):
        # The solver uses floating point; 1e-6 of the bound is far above its tolerance.
        proven = -solution.mip_dual_bound
        bound = min(bound, int(np.floor(proven + 1e-6 * max(1.0, abs(proven)))))
    return bound, best


def _tie_cells_to_states(
    constraints: _Constraints, lookup: Lookup, first: int, layout: Layout
) -> None:
    """For every column of the table, equate the sums of its cells' and its states' fractions."""
    cells = np.arange(len(lookup.values))
    stride = 1
    for column, weights in _weights_by_column(lookup, layout).items():
        code = layout.codes[column]
        reach = [
            sum(w * int(code.table[state, bit - code.first_bit]) for bit, w in weights)
            for state in range(code.n_states)
        ]
        size = len(weights) + 1
        coordinates = cells // stride % size
        for coordinate in range(size):
            terms = [(first + int(cell), 1.0) for cell in cells[coordinates == coordinate]]
            terms += [
                (code.first_state + state, -1.0)
                for state, value in enumerate(reach)
                if value == coordinate * stride
            ]
            constraints.equal(terms, 0.0)
        stride *= size


def _weights_by_column(lookup: Lookup, layout: Layout) -> dict[int, list[tuple[int, int]]]:
    """Return the (bit, weight) pairs of each column, in the order of the table's axes."""
    columns: dict[int, list[tuple[int, int]]] = {}
    for bit, weight in zip(lookup.bits, lookup.weights, strict=True):
        column = layout.codes.index(layout.code_of_bit[bit])
        columns.setdefault(column, []).append((bit, weight))
    return columns
