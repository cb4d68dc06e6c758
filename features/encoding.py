"""Encoding of records as bits: thermometer codes, one-hot codes and flags, in the schema's order.

A column is always in one of a few *states*; each of its bits is 1 in some of them.

- boolean: states (false, true), bit `is true`;
- ordinal with cuts c_1 < … < c_k: states are the k + 1 bins, bits `x >= c_i` (thermometer code);
- categorical: a state and a bit for each value (one-hot);
- optional: an additional state and the bit `is missing`; all other bits of the column are then 0.

For any two bits of one column, the sets of states in which they are 1 are nested or disjoint. That
allows model/ to simplify the product of two bits to a single bit or to 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.contradictions import broken_rules
from features.missing import is_missing_value
from features.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    OrdinalColumn,
    Schema,
    number_text,
    shown_number,
)
from utils.errors import RecordContradictory, UnknownColumn, UnknownParty, ValueOutOfDomain

if TYPE_CHECKING:
    import pandas as pd

Bits = NDArray[np.uint8]
Record = Mapping[str, Any]


@dataclass(frozen=True)
class ColumnCode:
    """The positions of one column's bits and states, and the bits of each state.

    `table` has shape (states, bits). `first_bit` and `first_state` count over the whole schema.
    """

    column: Column
    party: str
    first_bit: int
    first_state: int
    state_labels: tuple[str, ...]
    bit_labels: tuple[str, ...]
    table: Bits

    @property
    def n_bits(self) -> int:
        return len(self.bit_labels)

    @property
    def n_states(self) -> int:
        return len(self.state_labels)

    def state(self, value: Any) -> int:
        """Return the state of `value`, counted within the column; raises ValueOutOfDomain."""
        column = self.column
        if is_missing_value(value):
            if not column.optional:
                raise ValueOutOfDomain(
                    f"{column.name} is missing: give {allowed(column)}.", (column.name,)
                )
            return self.n_states - 1
        if isinstance(column, BooleanColumn):
            return int(_boolean(column, value))
        if isinstance(column, CategoricalColumn):
            if value not in column.values and column.other is not None:
                return column.values.index(column.other)
            if value not in column.values:
                raise _refused(column, value)
            return column.values.index(value)
        return bisect_right(column.cuts, _number(column, value))

    def states(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
        """Return the state of each value, shape (values,); raises ValueOutOfDomain."""
        column = self.column
        numbers = np.asarray(values)
        if isinstance(column, OrdinalColumn) and numbers.dtype.kind in "iuf":
            missing = np.isnan(numbers)
            if (in_domain(column, numbers) | (missing & column.optional)).all():
                states = np.searchsorted(column.cuts, numbers, side="right").astype(np.int64)
                return np.where(missing, self.n_states - 1, states)
        return np.array([self.state(_plain(value)) for value in values], np.int64)

    def value(self, state: int) -> Any:
        """Return a value in this state; for an ordinal column, the smallest in the bin."""
        column = self.column
        if column.optional and state == self.n_states - 1:
            return None
        if isinstance(column, BooleanColumn):
            return bool(state)
        if isinstance(column, CategoricalColumn):
            return column.values[state]
        floor = column.bin_floor(state)
        return math.ceil(floor) if column.integer else floor


def allowed(column: Column) -> str:
    """Return the allowed values of a column in words, for an error message."""
    if isinstance(column, BooleanColumn):
        text = "true or false"
    elif isinstance(column, CategoricalColumn):
        text = "one of " + ", ".join(column.values)
        if column.other is not None:
            text += f" (any other text counts as {column.other})"
    else:
        whole = "a whole number" if column.integer else "a number"
        unit = f" ({column.unit})" if column.unit else ""
        ends = f"{shown_number(column.minimum)} to {shown_number(column.maximum)}"
        text = f"{whole} from {ends}{unit}"
    return text + (", or nothing" if column.optional else "")


def in_domain(column: OrdinalColumn, numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether a column allows each number, shape (numbers,); NaN is no number."""
    if column.clip:
        numbers = np.clip(numbers, column.minimum, column.maximum)
    fits = (numbers >= column.minimum) & (numbers <= column.maximum)
    return fits & (numbers == np.floor(numbers)) if column.integer else fits


def _boolean(column: BooleanColumn, value: Any) -> bool:
    if isinstance(value, bool | np.bool_) or (
        isinstance(value, int | float | np.integer | np.floating) and value in (0, 1)
    ):
        return bool(value)
    raise _refused(column, value)


def _refused(column: Column, value: Any, why: str = "") -> ValueOutOfDomain:
    """Return the error for a value that a column does not allow; `why` is a clause on it."""
    text = f"{column.name} cannot be {str(value)[:80]!r}{why}: give {allowed(column)}."
    return ValueOutOfDomain(text, (column.name,))


def _number(column: OrdinalColumn, value: Any) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not (
        isinstance(value, bool)
    )
    if number and column.clip:
        value = min(max(value, column.minimum), column.maximum)
    # Not converted to a float, since a huge integer has none; False for NaN.
    fits = number and column.minimum <= value <= column.maximum
    if not fits or (column.integer and value != math.floor(value)):
        # Messages group thousands, so that a person may type the same.
        commas = " (write it without commas)" if "," in str(value) else ""
        raise _refused(column, value, "" if number else f", which is not a number{commas}")
    return float(value)


def column_code(
    column: Column, party: str = "", first_bit: int = 0, first_state: int = 0
) -> ColumnCode:
    """Return the code of a column, by default of one that stands alone."""
    if isinstance(column, BooleanColumn):
        states, bits = ["false", "true"], ["is true"]
        table = np.array([[0], [1]], np.uint8)
    elif isinstance(column, OrdinalColumn):
        states = column.bin_labels(number=number_text)
        bits = [f">= {number_text(cut)}" for cut in column.cuts]
        table = np.tri(len(states), len(bits), k=-1, dtype=np.uint8)
    else:
        states, bits = list(column.values), [f"is {value}" for value in column.values]
        table = np.eye(len(states), dtype=np.uint8)
    if column.optional:
        states, bits = [*states, "missing"], [*bits, "is missing"]
        grown = np.zeros((len(states), len(bits)), np.uint8)
        grown[:-1, :-1] = table
        grown[-1, -1] = 1
        table = grown
    table.setflags(write=False)
    return ColumnCode(column, party, first_bit, first_state, tuple(states), tuple(bits), table)


class Layout:
    """The positions of all bits and states of a schema: party by party, column by column."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        codes: list[ColumnCode] = []
        bits = states = 0
        for party in schema.parties:
            for column in party.columns:
                code = column_code(column, party.name, bits, states)
                codes.append(code)
                bits += code.n_bits
                states += code.n_states
        self.codes = tuple(codes)
        self.n_bits = bits
        self.n_states = states

    @cached_property
    def code_of_bit(self) -> tuple[ColumnCode, ...]:
        """The code of each bit's column."""
        return tuple(code for code in self.codes for _ in range(code.n_bits))

    @cached_property
    def states_of_bit(self) -> tuple[frozenset[int], ...]:
        """For each bit, the states, counted over the schema, in which it is 1."""
        return tuple(
            frozenset((code.first_state + np.flatnonzero(code.table[:, bit])).tolist())
            for code in self.codes
            for bit in range(code.n_bits)
        )

    def code(self, column: str) -> ColumnCode:
        """Return the code of a column; raises UnknownColumn."""
        for code in self.codes:
            if code.column.name == column:
                return code
        raise UnknownColumn(f"The schema has no column {column[:80]!r}.")

    def bit_name(self, bit: int) -> str:
        """Return the name of a bit: for example, `Years_employed >= 5`."""
        code = self.code_of_bit[bit]
        return f"{code.column.name} {code.bit_labels[bit - code.first_bit]}"

    def party_codes(self, party: str) -> tuple[ColumnCode, ...]:
        """Return the codes of one party's columns; raises UnknownParty."""
        if party not in self.schema.party_names:
            raise UnknownParty(f"There is no party {party[:40]!r} in this schema.")
        return tuple(code for code in self.codes if code.party == party)

    def party_bits(self, party: str) -> slice:
        """Return the slice of one party's bits among all bits; raises UnknownParty."""
        codes = self.party_codes(party)
        return slice(codes[0].first_bit, codes[-1].first_bit + codes[-1].n_bits)

    def party_states(self, party: str) -> slice:
        """Return the slice of one party's states among all states; raises UnknownParty."""
        codes = self.party_codes(party)
        return slice(codes[0].first_state, codes[-1].first_state + codes[-1].n_states)

    def encode_party(self, party: str, record: Record) -> Bits:
        """Encode one party's record as bits, shape (bits of the party,).

        Raises ValueOutOfDomain for a value that the schema does not allow, RecordContradictory for
        values that break one of its rules, UnknownColumn for a column that the party does not own,
        and UnknownParty.
        """
        codes = self.party_codes(party)
        foreign = sorted(set(record) - {code.column.name for code in codes})
        if foreign:
            raise UnknownColumn(
                f"{', '.join(str(name)[:40] for name in foreign)}: not a column of {party}; its "
                f"columns are {', '.join(code.column.name for code in codes)}."
            )
        bits = np.concatenate(
            [code.table[code.state(record.get(code.column.name))] for code in codes]
        )
        _require_consistent(self.schema, party, record)
        return bits

    def encode(self, record: Record) -> Bits:
        """Encode a whole record as bits, shape (n_bits,), for the reference.

        Raises ValueOutOfDomain and RecordContradictory.
        """
        return np.concatenate(
            [
                self.encode_party(
                    party.name,
                    {c.name: record.get(c.name) for c in party.columns},
                )
                for party in self.schema.parties
            ]
        )

    def encode_frame(self, frame: pd.DataFrame) -> Bits:
        """Encode all rows as bits, shape (rows, n_bits); raises ValueOutOfDomain, UnknownColumn.

        Rows that break a rule of the schema are encoded like others; training warns of them.
        """
        import pandas as pd  # not at the top, so that servers and parties do not need it

        absent = [c.column.name for c in self.codes if c.column.name not in frame.columns]
        if absent:
            raise UnknownColumn(f"The data has no column {', '.join(absent)}.")
        blocks = []
        for code in self.codes:
            # A column has few distinct values, so each is checked and encoded once.
            positions, values = pd.factorize(frame[code.column.name], use_na_sentinel=False)
            blocks.append(code.table[code.states(values)[positions]])
        return np.concatenate(blocks, axis=1)

    def states(self, bits: Bits) -> NDArray[np.int64]:
        """Return the state of every column, counted over the schema, shape (..., columns).

        `bits` (..., n_bits) must be encoded by this layout.
        """
        columns = []
        for code in self.codes:
            own = bits[..., code.first_bit : code.first_bit + code.n_bits].astype(np.int64)
            matches = (own[..., None, :] == code.table).all(axis=-1)
            columns.append(code.first_state + matches.argmax(axis=-1))
        return np.stack(columns, axis=-1)

    def bits_of_states(self, states: NDArray[np.int64]) -> Bits:
        """Return the bits of states, shape (..., columns) to (..., n_bits); inverts `states`."""
        return np.concatenate(
            [code.table[states[..., i] - code.first_state] for i, code in enumerate(self.codes)],
            axis=-1,
        )


def _require_consistent(schema: Schema, party: str, record: Record) -> None:
    """Raise RecordContradictory, in the words of the rules that a party's record breaks."""
    rules = broken_rules(schema, party, record)
    if rules:
        names = tuple(dict.fromkeys(name for rule in rules for name in rule.columns))
        labels = [schema.column(name).label or name for name in names]
        listed = " or ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))
        said = " ".join(rule.text for rule in rules)
        raise RecordContradictory(f"{said} Correct {listed}, then go on.", names)


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python object."""
    return value.item() if isinstance(value, np.generic) else value
