"""The rules of a schema (features/rules.py) applied to records and to rows of data.

A value counts as it is encoded: that of a column that clips as the nearest end of its range, and a
text that is not listed as the column's `other`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.missing import is_missing_value
from features.rules import Condition, OtherColumn, Rule
from features.schema import CategoricalColumn, Column, OrdinalColumn, Schema

Mask = NDArray[np.bool_]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


def rules_of(schema: Schema, party: str) -> list[Rule]:
    """Return the rules on the columns of `party`; raises UnknownParty."""
    own = {column.name for column in schema.party(party).columns}
    return [rule for rule in schema.rules if own.issuperset(rule.columns)]


def broken_rules(schema: Schema, party: str, record: Mapping[str, Any]) -> list[Rule]:
    """Return the rules that a record of `party` breaks; its values must be allowed ones.

    Raises UnknownParty.
    """
    rules = rules_of(schema, party)
    names = {name for rule in rules for name in rule.columns}
    columns = {name: as_counted(schema.column(name), [record.get(name)]) for name in names}
    return [rule for rule in rules if broken(rule, columns)[0]]


def as_counted(column: Column, values: Sequence[Any]) -> NDArray[Any]:
    """Return allowed values as rules read them, shape (values,).

    Booleans and numbers are float64, with NaN for a missing one; texts are objects, with None.
    """
    present = [None if is_missing_value(value) else value for value in values]
    if isinstance(column, CategoricalColumn):
        if column.other is not None:
            listed = {*column.values, None}
            present = [value if value in listed else column.other for value in present]
        return np.array([*present, None], object)[:-1]  # None keeps NumPy from making a matrix
    if isinstance(column, OrdinalColumn) and column.clip:
        present = [
            None if value is None else min(max(value, column.minimum), column.maximum)
            for value in present
        ]
    return np.array([np.nan if value is None else float(value) for value in present], np.float64)


def broken(rule: Rule, columns: Mapping[str, NDArray[Any]]) -> Mask:
    """Return which rows break a rule, shape (rows,).

    `columns` has the rows of each of its columns as returned by `as_counted`.
    """
    masks = [~_missing(columns[name]) for name in rule.columns]
    masks += [_holds(condition, columns) for condition in rule.never]
    return np.logical_and.reduce(masks)


def _holds(condition: Condition, columns: Mapping[str, NDArray[Any]]) -> Mask:
    """Return which rows meet a condition; a row that lacks a value may count as either."""
    values = columns[condition.column]
    if condition.one_of is not None:
        return np.array([value in condition.one_of for value in values], np.bool_)
    assert condition.comparison is not None  # noqa: S101  # the condition's own validator
    name, bound = condition.comparison
    limit = columns[bound.column] + bound.plus if isinstance(bound, OtherColumn) else bound
    return np.asarray(_COMPARE[name](values, limit), np.bool_)


def _missing(values: NDArray[Any]) -> Mask:
    if values.dtype == object:
        return np.array([value is None for value in values], np.bool_)
    return np.isnan(values)


def rule_notes(schema: Schema, columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return a sentence for each rule that some rows break, with their number and no value.

    `columns` has the rows of all columns that the rules read, as returned by `as_counted`.
    """
    notes = []
    for rule in schema.rules:
        rows = broken(rule, columns)
        if rows.any():
            count = f"{rows.sum():,} of {len(rows):,} rows ({rows.mean():.2%})"
            notes.append(
                f"{count} break the rule {rule.name} ({', '.join(rule.columns)}), by which a party "
                f"refuses such a record: {rule.text}"
            )
    return notes
