"""Trees in words: for each leaf, the conditions on its path in the schema's labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.encoding import ColumnCode, Layout
from features.schema import BooleanColumn, OrdinalColumn, shown_number
from federated.boosting.fixed_point import LEAF_BITS
from federated.boosting.trees import Split, Tree, column_of

UNKNOWN = "unknown"
_MOST_NAMED = 3
"""Values of a category that are named; of more, those that are left out if they are fewer."""

_States = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """One leaf: the conditions of its path, by the schema's columns, and its value in log-odds."""

    conditions: tuple[str, ...]
    value: float


def rules_of(tree: Tree, layout: Layout) -> tuple[Rule, ...]:
    """Return the rules of a tree, from its leftmost leaf to its rightmost one."""
    splits = {split.node: split for split in tree.splits}
    return tuple(_rules(tree, splits, layout, 0, {}))


def condition(code: ColumnCode, states: _States) -> str:
    """Return in words that a column is in one of `states`, shape (states of the column,).

    Empty if all states are possible.
    """
    if states.all():
        return ""
    label, column = code.column.label, code.column
    optional = column.optional
    missing = optional and bool(states[-1])
    known = states[:-1] if optional else states
    if not known.any():
        return f"{label} is {UNKNOWN}"
    if known.all():
        return f"{label} is known"
    if isinstance(column, OrdinalColumn):
        text = _interval(column, np.flatnonzero(known))
    elif isinstance(column, BooleanColumn):
        text = " is yes" if known[1] else " is no"
    else:
        text = _names(code, known, missing)
        if text.startswith(" is not "):
            return f"{label}{text}"
    return f"{label}{text}{f' or {UNKNOWN}' if missing else ''}"


def _rules(
    tree: Tree,
    splits: dict[int, Split],
    layout: Layout,
    node: int,
    path: dict[int, _States],
) -> Iterator[Rule]:
    split = splits.get(node)
    if split is None:
        found = (condition(layout.codes[c], states) for c, states in sorted(path.items()))
        value = tree.leaf(node) / (1 << LEAF_BITS)
        yield Rule(tuple(text for text in found if text), value)
        return
    place = column_of(split.bit, layout)
    code = layout.codes[place]
    ones = code.table[:, split.bit - code.first_bit] == 1
    before = path.get(place, np.ones(code.n_states, np.bool_))
    for child, states in ((2 * node + 1, before & ~ones), (2 * node + 2, before & ones)):
        yield from _rules(tree, splits, layout, child, {**path, place: states})


def _interval(column: OrdinalColumn, bins: NDArray[np.intp]) -> str:
    """Return the range of neighbouring bins; splits of a path never leave a gap."""
    first, last = int(bins[0]), int(bins[-1])
    low = f" ≥ {shown_number(column.cuts[first - 1])}" if first else ""
    high = f" < {shown_number(column.cuts[last])}" if last < len(column.cuts) else ""
    unit = f" {column.unit}" if column.unit else ""
    return f"{low}{' and' if low and high else ''}{high}{unit}"


def _names(code: ColumnCode, known: _States, missing: bool) -> str:
    """Return the possible values of a category, or those that are left out if they are fewer."""
    inside = [code.state_labels[i] for i in np.flatnonzero(known)]
    outside = [code.state_labels[i] for i in np.flatnonzero(~known)]
    if code.column.optional and not missing:
        outside.append(UNKNOWN)
    if len(inside) > min(_MOST_NAMED, len(outside)):
        return f" is not {_either(outside)}"
    return f" is {_either(inside)}"


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
