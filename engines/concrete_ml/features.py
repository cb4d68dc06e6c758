"""Conversion of a party's bits to the inputs of Concrete ML's model: features, then integers.

Concrete ML compares numbers under encryption, so an ordinal column is one number, its bin. A
boolean, each category and `is missing` are 0 or 1. The quantisers are the model's own, stored as
JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.encoding import Bits, Layout
from features.schema import OrdinalColumn
from features.variations import variations
from model.program import explained_variants


def feature_names(layout: Layout, party: str) -> list[str]:
    """Return one party's feature names: for example, `Age bin`, `Housing_type is With parents`."""
    names = []
    for code in layout.party_codes(party):
        labels = list(code.bit_labels)
        if isinstance(code.column, OrdinalColumn):
            labels = ["bin", *labels[len(code.column.cuts) :]]
        names += [f"{code.column.name} {label}" for label in labels]
    return names


def party_features(layout: Layout, party: str, bits: Bits) -> NDArray[np.int64]:
    """Return one party's features, shape (..., features), from its own bits (..., bits).

    A missing ordinal value has bin 0, and a separate feature for being missing.
    """
    start = layout.party_bits(party).start
    columns = []
    for code in layout.party_codes(party):
        own = bits[..., code.first_bit - start :][..., : code.n_bits].astype(np.int64)
        if isinstance(code.column, OrdinalColumn):
            cuts = len(code.column.cuts)
            columns.append(own[..., :cuts].sum(axis=-1, keepdims=True))
            own = own[..., cuts:]
        columns.append(own)
    return np.concatenate(columns, axis=-1)


def remaining_variants(layout: Layout, bits: Bits) -> list[Bits]:
    """Return the explained party's bits (bits,) for each bin as advised, with assumptions set.

    These are the higher bins or, with direction `less`, the lower ones, in rising order. All bins
    are returned if the value is missing or an assumption does not hold, and none if the value is in
    the last bin. Alternatives and pairs are not varied.
    """
    start = layout.party_bits(layout.schema.explained_party).start
    explained, code = variations(layout.schema)[0], layout.code(layout.schema.explanation.column)
    fixed = explained_variants(layout)[: len(explained.bins)]
    own = bits[code.first_bit - start :][: code.n_bits]
    state = int((code.table == own).all(axis=1).argmax())
    assumed = [bit for bit in fixed[0] if layout.code_of_bit[bit] is not code]
    held = all(bits[bit - start] == fixed[0][bit] for bit in assumed)
    present = state if held and state <= len(explained.column.cuts) else None
    variants = []
    for index in sorted(explained.ahead(present)):
        variant = bits.copy()
        for bit, value in fixed[index].items():
            variant[bit - start] = value
        variants.append(variant)
    return variants


def remaining_rows(layout: Layout, bits: Bits) -> Bits:
    """Return whole rows of bits that an explanation runs, shape (runs, n_bits)."""
    own = layout.party_bits(layout.schema.explained_party)
    variants = remaining_variants(layout, bits[own])
    rows = np.repeat(bits[None, :], len(variants), axis=0)
    for row, variant in zip(rows, variants, strict=True):
        row[own] = variant
    return rows


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputQuantiser(_Document):
    """Maps x to rint(x / scale + zero_point), clipped to `lowest` and `highest`."""

    feature: str = Field(max_length=200)
    scale: float = Field(gt=0)
    zero_point: int
    lowest: int
    highest: int


class Quantisers(_Document):
    """The quantisers, which a party needs in addition to Concrete's client specification.

    `inputs` are in the order of a party's features. A score is the sum over all trees of
    output_scale * (output - output_zero_point): the log-odds of approval.
    """

    format: Literal[1] = 1
    inputs: dict[str, list[InputQuantiser]]
    output_scale: float = Field(gt=0)
    output_zero_point: int
    trees: int = Field(gt=0)

    def fit(self, layout: Layout) -> bool:
        """Return True if these quantisers belong to this schema."""
        parties = layout.schema.party_names
        return list(self.inputs) == parties and all(
            [q.feature for q in self.inputs[party]] == feature_names(layout, party)
            for party in parties
        )

    def quantise(self, layout: Layout, party: str, bits: Bits) -> NDArray[np.int64]:
        """Return a party's input to the circuit, (..., features), from its own bits (..., bits)."""
        own = self.inputs[party]
        scale = np.array([q.scale for q in own])
        zero_point = np.array([q.zero_point for q in own])
        limits = ([q.lowest for q in own], [q.highest for q in own])
        values = np.rint(party_features(layout, party, bits) / scale + zero_point)
        return values.clip(*limits).astype(np.int64)

    def quantise_all(self, layout: Layout, bits: Bits) -> tuple[NDArray[np.int64], ...]:
        """Return every party's input to the circuit, from whole rows of bits (..., n_bits)."""
        return tuple(
            self.quantise(layout, party, bits[..., layout.party_bits(party)])
            for party in layout.schema.party_names
        )

    def scores(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log-odds of approval (...,) from every tree's output (..., trees).

        The outputs are summed as integers, which rounds once; Concrete ML sums rounded products.
        """
        total = outputs.astype(np.int64).sum(axis=-1) - self.trees * self.output_zero_point
        return np.asarray(self.output_scale * total, np.float64)
