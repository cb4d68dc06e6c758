"""The cells of a histogram: the groups of each column's states that the usable bits tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.fixed_point import Integers
from federated.boosting.trees import column_of
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from utils.errors import SplitsInvalid


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of all columns with a usable bit, column by column.

    `bits` are the usable bits. `columns` are indices of the layout's columns, and `first` their
    first cells; `of_states` has the cell, within the column, of each of a column's states. `holds`
    (cells, bits) is 1 where a bit is 1, and `column_of_bit` indexes `columns`.
    """

    bits: tuple[int, ...]
    columns: tuple[int, ...]
    first: Integers
    count: int
    of_states: tuple[NDArray[np.uint8], ...]
    holds: Integers
    column_of_bit: Integers

    @property
    def sizes(self) -> list[int]:
        """The number of cells of each column."""
        return [int(n) for n in np.diff([*self.first, self.count])]

    def others(self, place: int) -> NDArray[np.bool_]:
        """Return the cells that are not of the column of bit number `place`, shape (cells,)."""
        column = int(self.column_of_bit[place])
        cells = np.ones(self.count, np.bool_)
        cells[self.first[column] : self.first[column] + self.sizes[column]] = False
        return cells


def cells_of(plan: Plan, usable: UsableBits) -> Cells:
    """Return the cells that follow from the usable bits; raises SplitsInvalid for unknown bits."""
    layout = plan.layout
    if usable.bits[-1] >= layout.n_bits:
        raise SplitsInvalid(
            f"The usable bits name bit {usable.bits[-1]}, but the schema has {layout.n_bits}; the "
            "coordinator must use the plan that this lender has agreed to."
        )
    by_column: dict[int, list[int]] = {}
    for bit in usable.bits:
        by_column.setdefault(column_of(bit, layout), []).append(bit)
    first: list[int] = []
    of_states, blocks, owners = [], [], []
    count = 0
    for position, (column, bits) in enumerate(by_column.items()):
        code = layout.codes[column]
        patterns = code.table[:, [bit - code.first_bit for bit in bits]]
        distinct = list(dict.fromkeys(map(tuple, patterns.tolist())))
        of_states.append(np.array([distinct.index(tuple(p)) for p in patterns.tolist()], np.uint8))
        blocks.append(np.array(distinct, np.int64))
        owners += [position] * len(bits)
        first.append(count)
        count += len(distinct)
    holds = np.zeros((count, len(usable.bits)), np.int64)
    bit = 0
    for start, block in zip(first, blocks, strict=True):
        holds[start : start + len(block), bit : bit + block.shape[1]] = block
        bit += block.shape[1]
    return Cells(
        bits=usable.bits,
        columns=tuple(by_column),
        first=np.array(first, np.int64),
        count=count,
        of_states=tuple(of_states),
        holds=holds,
        column_of_bit=np.array(owners, np.int64),
    )
