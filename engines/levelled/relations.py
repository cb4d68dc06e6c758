"""The relations among the bits of a party's columns that hold for every valid record.

Besides being 0 or 1, the bits of a column satisfy, by its kind:

- ordinal, bits t_1 … t_k: t_(i+1)·(t_i - 1) = 0, so that no 1 follows a 0 (thermometer code);
- boolean: nothing, as a thermometer code of one bit;
- ordinal or boolean and optional: also z·t_1 = 0 for the bit z `is missing`, and with the order
  all other bits are 0 if z is 1;
- categorical: the sum of all bits is 1, among them `is missing` if the column is optional.

These are exactly the codes that `features.encoding` can produce. Each product has the bit itself as
one factor, and every bit occurs as the first factor of at most one product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.levelled.words import Integers
from features.encoding import Bits, Layout
from features.schema import CategoricalColumn

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Relations:
    """One party's relations; arrays have shape (bits,) and positions count the party's bits.

    `partner[i]` is the other bit of the product b_i·(b_partner - offset) = 0, or -1 for none.
    `group[i]` numbers the groups whose bits have the sum 1, from 0 to `groups` - 1; -1 for none.
    """

    partner: Positions
    offset: Integers
    group: Positions
    groups: int

    @classmethod
    def of(cls, layout: Layout, party: str) -> Relations:
        """Return the relations of a party's bits; raises UnknownParty."""
        codes = layout.party_codes(party)
        start = codes[0].first_bit
        bits = codes[-1].first_bit + codes[-1].n_bits - start
        partner, group = np.full(bits, -1, np.intp), np.full(bits, -1, np.intp)
        offset = np.zeros(bits, np.int64)
        groups = 0
        for code in codes:
            first, stop = code.first_bit - start, code.first_bit - start + code.n_bits
            if isinstance(code.column, CategoricalColumn):
                group[first:stop] = groups
                groups += 1
                continue
            ordered = stop - code.column.optional
            partner[first + 1 : ordered] = np.arange(first, ordered - 1)
            offset[first + 1 : ordered] = 1
            partner[ordered:stop] = first
        return cls(partner, offset, group, groups)

    @property
    def bits(self) -> int:
        return len(self.partner)

    def hold(self, bits: Bits) -> bool:
        """Return True if unencrypted bits, shape (bits,), satisfy all relations."""
        values = bits.astype(np.int64)
        products = np.where(self.partner >= 0, values * (values[self.partner] - self.offset), 0)
        sums = [values[self.group == group].sum() for group in range(self.groups)]
        return not products.any() and all(total == 1 for total in sums)
