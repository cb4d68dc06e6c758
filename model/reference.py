"""The exact integer reference: what every encrypted result must equal, bit for bit.

Written down twice on purpose: `program.scores` sums monomials, this module walks the plan that the
table engines run. Tests and training.evaluate hold the two, and every engine, against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from features.encoding import Bits, Layout
from model.program import Program, explained_variants


def reference_scores(program: Program, bits: Bits) -> tuple[int, ...]:
    """The scores of one row of bits, shape (n_bits,), in the order of the program's outputs."""
    return tuple(int(score) for score in program.scores(bits[None, :])[0])


def counterfactual_rows(bits: Bits, layout: Layout) -> Bits:
    """One row of bits for each bin of the explained column; shape (bins, n_bits)."""
    variants = explained_variants(layout)
    rows = np.repeat(bits[None, :], len(variants), axis=0)
    for row, variant in zip(rows, variants, strict=True):
        for bit, value in variant.items():
            row[bit] = value
    return rows


def reference_record(
    program: Program, record: Mapping[str, Any], layout: Layout
) -> tuple[int, ...]:
    """The scores of a whole record; raises ValueOutOfDomain."""
    return reference_scores(program, layout.encode(record))
