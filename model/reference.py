"""The exact integer reference, which every encrypted result must equal bit for bit.

`Program.scores` sums the polynomial's monomials, independently of the plan that the engines with
table lookups run. Tests and training.evaluate compare both with each other and with every engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from features.encoding import Bits, Layout
from model.program import Program, explained_variants


def reference_scores(program: Program, bits: Bits) -> tuple[int, ...]:
    """Return the scores of one row of bits, shape (n_bits,), in the order of the outputs."""
    return tuple(int(score) for score in program.scores(bits[None, :])[0])


def counterfactual_rows(bits: Bits, layout: Layout) -> Bits:
    """Return the rows of bits that an explanation tries, shape (outputs, n_bits)."""
    variants = explained_variants(layout)
    rows = np.repeat(bits[None, :], len(variants), axis=0)
    for row, variant in zip(rows, variants, strict=True):
        for bit, value in variant.items():
            row[bit] = value
    return rows


def reference_record(
    program: Program, record: Mapping[str, Any], layout: Layout
) -> tuple[int, ...]:
    """Return the scores of a whole record; raises ValueOutOfDomain."""
    return reference_scores(program, layout.encode(record))
