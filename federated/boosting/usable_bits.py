"""The bits that trees may split on, chosen once from the number of rows in every state.

A bit is usable if at least k rows lie on both of its sides, and if every group of states that the
usable bits cannot tell apart is empty or has at least k rows. Such a group is one cell of every
histogram, so that no cell stands for fewer than k rows of all lenders.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from features.encoding import ColumnCode
from features.schema import CategoricalColumn
from federated.boosting.fixed_point import MAXIMUM_ROWS, Integers, Vector
from federated.plan import Plan
from utils.errors import HistogramInvalid, TrainingDataInvalid

_Bit = Annotated[int, Field(strict=True, ge=0, lt=1 << 20)]


class UsableBits(BaseModel):
    """The usable bits in rising order, and the number of training rows that were counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bits: tuple[_Bit, ...] = Field(min_length=1, max_length=1 << 15)
    rows: Annotated[int, Field(strict=True, ge=0, le=MAXIMUM_ROWS)]

    @model_validator(mode="after")
    def _check(self) -> UsableBits:
        if any(a >= b for a, b in zip(self.bits, self.bits[1:], strict=False)):
            raise ValueError("the usable bits must rise strictly")
        return self


def counts_length(plan: Plan) -> int:
    """Return the length of a vector of counts: all states, and two classes of validation rows."""
    return plan.layout.n_states + 2


def choose_bits(plan: Plan, counts: Vector) -> UsableBits:
    """Choose the usable bits from summed counts, as `LocalRows.counts` returns them.

    Raises HistogramInvalid if the counts are inconsistent, which is not checked under noise, and
    TrainingDataInvalid if no bit is usable.
    """
    numbers = _checked(plan, counts)
    bits: list[int] = []
    totals = []
    for code in plan.layout.codes:
        own = numbers[code.first_state : code.first_state + code.n_states]
        bits += [code.first_bit + bit for bit in usable_of_column(code, own, plan.least_rows)]
        totals.append(int(own.sum()))
    if not bits:
        raise TrainingDataInvalid(
            f"No column divides the lenders' rows into groups of at least {plan.least_rows}; "
            "train with more rows, or lower least_rows in the plan."
        )
    return UsableBits(bits=tuple(bits), rows=min(max(totals), MAXIMUM_ROWS))


def _checked(plan: Plan, counts: Vector) -> Integers:
    if counts.dtype != np.uint64 or counts.shape != (counts_length(plan),):
        raise HistogramInvalid(
            f"The sums of the first count do not have {counts_length(plan)} numbers; every lender "
            "must run the same version of Triseal with the same plan."
        )
    numbers = counts.view(np.int64)
    if plan.privacy is not None:
        return np.clip(numbers, 0, MAXIMUM_ROWS)
    totals = [
        int(numbers[code.first_state : code.first_state + code.n_states].sum())
        for code in plan.layout.codes
    ]
    inside = bool(((numbers >= 0) & (numbers <= MAXIMUM_ROWS)).all())
    if not inside or len(set(totals)) > 1 or totals[0] > MAXIMUM_ROWS:
        raise HistogramInvalid(
            "The sums of the first count are inconsistent: the states of every column must add up "
            f"to the same number of rows, at most {MAXIMUM_ROWS}. At least one lender sent counts "
            "that do not come from its rows. The masks hide which one: start the training again "
            "with the lenders that you trust."
        )
    return numbers


def usable_of_column(code: ColumnCode, counts: Integers, least: int) -> list[int]:
    """Return the usable bits of one column, counted within it; `counts` has its states' rows."""
    total = int(counts.sum())
    missing = int(counts[-1]) if code.column.optional else 0
    values = [int(n) for n in (counts[:-1] if code.column.optional else counts)]
    own_cell = code.column.optional and missing >= least and total - missing >= least
    # Otherwise, missing values count with the values that have the same other bits: none.
    joined = 0 if own_cell else missing
    if isinstance(code.column, CategoricalColumn):
        bits = _categories(values, joined, least)
    else:
        bits = _cuts(values, joined, least)
    if own_cell:
        bits.append(code.n_bits - 1)
    ones = counts @ code.table.astype(np.int64)
    return [bit for bit in bits if least <= ones[bit] <= total - least]


def _cuts(bins: list[int], joined: int, least: int) -> list[int]:
    """Keep cuts from the lowest, so that every merged bin but the last has enough rows.

    If the last one has not, its cut has too few rows above it and is not usable.
    """
    kept: list[int] = []
    rows = joined
    for cut, count in enumerate(bins[:-1]):
        rows += count
        if rows >= least:
            kept.append(cut)
            rows = 0
    return kept


def _categories(counts: list[int], joined: int, least: int) -> list[int]:
    """Keep the categories with enough rows; the rest must be empty or have enough as well."""
    order = sorted(range(len(counts)), key=lambda value: (counts[value], value))
    rest = joined
    while order and (counts[order[0]] < least or 0 < rest < least):
        rest += counts[order.pop(0)]
    return sorted(order)
