"""From a party's bits to what Concrete ML's model takes: plain features, then small integers.

Concrete ML compares numbers under encryption, so an ordinal column is one number, its bin; a
boolean and every category is 0 or 1, and so is `is missing`. The quantisers are the model's own,
kept as plain JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.encoding import Bits, Layout
from features.schema import OrdinalColumn
from model.program import explained_variants


def feature_names(layout: Layout, party: str) -> list[str]:
    """The features of one party, such as `Age` or `Housing_type is With parents`."""
    names = []
    for code in layout.party_codes(party):
        labels = list(code.bit_labels)
        if isinstance(code.column, OrdinalColumn):
            labels = ["bin", *labels[len(code.column.cuts) :]]
        names += [f"{code.column.name} {label}" for label in labels]
    return names


def party_features(layout: Layout, party: str, bits: Bits) -> NDArray[np.int64]:
    """The features of one party, shape (..., features), of its own bits (..., bits).

    A missing ordinal value has bin 0, beside its own feature for being missing.
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
    """The explained party's bits (bits,) with each bin above its own, and what is assumed, set.

    All bins where the value is missing or what is assumed does not hold; none in the highest bin.
    """
    start = layout.party_bits(layout.schema.explained_party).start
    variants = []
    for fixed in explained_variants(layout):
        variant = bits.copy()
        for bit, value in fixed.items():
            variant[bit - start] = value
        variants.append(variant)
    current = next((i for i, v in enumerate(variants) if np.array_equal(v, bits)), -1)
    return variants[current + 1 :]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputQuantiser(_Document):
    """x becomes rint(x / scale + zero_point), kept within `lowest` and `highest`."""

    feature: str = Field(max_length=200)
    scale: float = Field(gt=0)
    zero_point: int
    lowest: int
    highest: int


class Quantisers(_Document):
    """What a party needs beside Concrete's own specification.

    `inputs` follow the order of a party's features. A score is the sum over all trees of
    output_scale * (output - output_zero_point): the log-odds of approval.
    """

    format: Literal[1] = 1
    inputs: dict[str, list[InputQuantiser]]
    output_scale: float = Field(gt=0)
    output_zero_point: int
    trees: int = Field(gt=0)

    def fit(self, layout: Layout) -> bool:
        """Whether these quantisers belong to this schema."""
        parties = layout.schema.party_names
        return list(self.inputs) == parties and all(
            [q.feature for q in self.inputs[party]] == feature_names(layout, party)
            for party in parties
        )

    def quantise(self, layout: Layout, party: str, bits: Bits) -> NDArray[np.int64]:
        """A party's input to the circuit: (..., features) of its own bits (..., bits)."""
        own = self.inputs[party]
        scale = np.array([q.scale for q in own])
        zero_point = np.array([q.zero_point for q in own])
        limits = ([q.lowest for q in own], [q.highest for q in own])
        values = np.rint(party_features(layout, party, bits) / scale + zero_point)
        return values.clip(*limits).astype(np.int64)

    def quantise_all(self, layout: Layout, bits: Bits) -> tuple[NDArray[np.int64], ...]:
        """Every party's input to the circuit, of whole rows of bits (..., n_bits)."""
        return tuple(
            self.quantise(layout, party, bits[..., layout.party_bits(party)])
            for party in layout.schema.party_names
        )

    def scores(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """The log-odds of approval (...,) from every tree's output (..., trees).

        Added up as integers, which rounds once; Concrete ML adds up the rounded products.
        """
        total = outputs.astype(np.int64).sum(axis=-1) - self.trees * self.output_zero_point
        return np.asarray(self.output_scale * total, np.float64)
