"""The plan of a polynomial for 4-bit table lookups: a linear part and few tables.

A lookup has a grid over a few columns, each divided at a few of its bits, and one value per cell. A
grid of at most 16 cells is one 4-bit programmable bootstrap; 2, 3 and 4 bits cost the same. The
monomials of degree 2 and more are therefore covered with as few grids as a greedy search finds; the
terms of degree 1 are linear and cost no bootstrap. A monomial of degree 5 or 6 has a grid of its
own, of up to 64 cells, which engines without tables run. A plan equals its polynomial exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.cover import Grid, cover
from model.polynomial import ONE, Polynomial


@dataclass(frozen=True)
class Axis:
    """One column of a grid: its coordinate is the sum of weight * bit, below `cells`."""

    bits: tuple[int, ...]
    weights: tuple[int, ...]
    cells: int


@dataclass(frozen=True)
class Lookup:
    """One table: cell = sum of stride * coordinate; its value is added to each of `outputs`.

    `bits` and `weights` already contain the strides: cell = sum of weight * bit.
    """

    bits: tuple[int, ...]
    weights: tuple[int, ...]
    values: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """score[v] = linear[v, states].sum() + the values of the lookups with output v.

    `linear` (outputs, n_states) has a weight for each state of each column. The constant is added
    to all states of the first column, since exactly one of them holds.
    """

    linear: NDArray[np.int64]
    lookups: tuple[Lookup, ...]

    def evaluate(self, bits: Bits, layout: Layout) -> NDArray[np.int64]:
        """Return the exact scores of every row: shape (rows, n_bits) to (rows, outputs)."""
        scores: NDArray[np.int64] = self.linear.T[layout.states(bits)].sum(axis=1)
        for lookup in self.lookups:
            cells = bits[:, list(lookup.bits)].astype(np.int64) @ np.array(lookup.weights)
            scores[:, list(lookup.outputs)] += np.array(lookup.values)[cells][:, None]
        return scores


def axis(bits: Sequence[int], layout: Layout) -> Axis:
    """Return the axis for some bits of one column.

    Thermometer bits have weight 1; a category or `missing` has the weight of a cell of its own,
    since no other bit of the column is then 1.
    """
    ordered = sorted(bits, key=lambda bit: (-len(layout.states_of_bit[bit]), bit))
    weights: list[int] = []
    for position, bit in enumerate(ordered):
        nested = sum(
            layout.states_of_bit[bit] < layout.states_of_bit[other] for other in ordered[:position]
        )
        weights.append(1 if nested == position else position + 1)
    return Axis(tuple(ordered), tuple(weights), len(ordered) + 1)


def make_plan(polynomial: Polynomial, outputs: int, layout: Layout) -> Plan:
    """Plan a polynomial with `outputs` outputs.

    Monomials with the same coefficient in all outputs share the lookups of their tables; a table
    whose coefficients differ between outputs costs one lookup per distinct row of values.
    """
    linear = np.zeros((outputs, layout.n_states), np.int64)
    first = layout.codes[0]
    linear[:, first.first_state : first.first_state + first.n_states] += polynomial.get(
        ONE, np.zeros(outputs, np.int64)
    )[:, None]
    varying: Polynomial = {}
    shared: Polynomial = {}
    for monomial, coefficients in polynomial.items():
        if len(monomial) == 1:
            linear[:, sorted(layout.states_of_bit[monomial[0]])] += coefficients[:, None]
        elif len(monomial) > 1:
            same = bool((coefficients == coefficients[0]).all())
            (shared if same else varying)[monomial] = coefficients
    options = []
    for ride_along in (False, True):
        extra = np.zeros_like(linear)
        lookups: list[Lookup] = []
        left = dict(shared)
        for grid, monomials in cover(list(varying), layout):
            terms = {monomial: varying[monomial] for monomial in monomials}
            if ride_along:  # shared terms cost nothing in a table with a row for every output
                bits = {bit for own in grid for bit in own}
                terms |= {m: left.pop(m) for m in list(left) if bits.issuperset(m)}
            rows, additive = _rows(grid, terms, outputs, layout)
            extra += additive
            lookups += rows
        for grid, monomials in cover(list(left), layout):
            rows, additive = _rows(grid, {m: left[m] for m in monomials}, outputs, layout)
            extra += additive
            lookups += rows
        options.append(Plan(linear + extra, tuple(lookups)))
        if not varying:
            break
    return min(options, key=lambda plan: len(plan.lookups))


def _rows(
    grid: Grid, terms: Polynomial, outputs: int, layout: Layout
) -> tuple[list[Lookup], NDArray[np.int64]]:
    """Return the lookups of one grid, and its additive part, which becomes linear."""
    axes = [axis(bits, layout) for bits in grid]
    strides = np.cumprod([1, *(a.cells for a in axes)])
    shape = tuple(a.cells for a in reversed(axes))
    cells = np.zeros((outputs, int(strides[-1])), np.int64)
    coordinates = np.unravel_index(np.arange(cells.shape[1]), shape)[::-1]
    holds = {
        bit: _bit_holds(a, position, coordinate, layout)
        for a, coordinate in zip(axes, coordinates, strict=True)
        for position, bit in enumerate(a.bits)
    }
    for monomial, coefficients in terms.items():
        product = np.prod([holds[bit] for bit in monomial], axis=0)
        cells += coefficients[:, None] * product[None, :]
    bits = tuple(bit for a in axes for bit in a.bits)
    weights = tuple(
        int(stride) * w for a, stride in zip(axes, strides, strict=False) for w in a.weights
    )
    additive = np.zeros((outputs, layout.n_states), np.int64)
    rows: dict[bytes, Lookup] = {}
    for output in range(outputs):
        table = cells[output].reshape(shape)
        parts = _additive_part(table)
        for a, part in zip(reversed(axes), parts, strict=True):
            _add_axis(additive[output], a, part, layout)
        for position, part in enumerate(parts):
            table = table - part.reshape([-1 if i == position else 1 for i in range(len(parts))])
        flat = table.ravel()
        if flat.any():
            before = rows.get(flat.tobytes())
            rows[flat.tobytes()] = Lookup(
                bits,
                weights,
                tuple(int(v) for v in flat),
                (*(before.outputs if before else ()), output),
            )
    return list(rows.values()), additive


def _bit_holds(
    a: Axis, position: int, coordinate: NDArray[np.int64], layout: Layout
) -> NDArray[np.int64]:
    """Return 1 for each coordinate at which bit `position` of an axis is 1, else 0."""
    own = layout.states_of_bit[a.bits[position]]
    result = np.zeros(len(coordinate), np.int64)
    for cell in range(1, a.cells):
        # In cell `cell`, bit number cell-1 holds and no narrower one does.
        result[(coordinate == cell)] = layout.states_of_bit[a.bits[cell - 1]] <= own
    return result


def _additive_part(table: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return integers for each axis whose sum approximates the table, to keep the rest small."""
    mean = table.mean()
    parts = []
    for position in range(table.ndim):
        others = tuple(i for i in range(table.ndim) if i != position)
        marginal = table.mean(axis=others) - (mean if position else 0)
        parts.append(np.rint(marginal).astype(np.int64))
    return parts


def _add_axis(linear: NDArray[np.int64], a: Axis, part: NDArray[np.int64], layout: Layout) -> None:
    """Add a function of one axis's coordinate to the weights of its column's states."""
    code = layout.code_of_bit[a.bits[0]]
    for state in range(code.n_states):
        bits = code.table[state]
        cell = sum(
            w * int(bits[bit - code.first_bit]) for bit, w in zip(a.bits, a.weights, strict=True)
        )
        linear[code.first_state + state] += part[cell]
