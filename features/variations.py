"""The values that an explanation tries: of the explained column, of alternatives, and of pairs.

The scores of an explanation are in one order: the tried bins of the explained column, those of each
alternative, then, for each pair, every combination of two columns' paired bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from features.schema import (
    MAXIMUM_PAIRED,
    Alternative,
    OrdinalColumn,
    Schema,
    evenly_spread,
    number_text,
    shown_number,
)

Change = tuple[str, int]
"""A column's name, and the index of one of its variation's bins."""


_LIMITS = {
    "more": "at least",
    "under": "less than",
    "most": "at most",
}


@dataclass(frozen=True)
class Variation:
    """One column that an explanation varies.

    `bins` are the bins of the column that are tried, in rising order, `labels` their labels in
    compiled programs, and `shown` the ones for people.
    `steps` are the indices of those `bins` that are advised; of the explained column, the bin at
    the wrong end is tried as well. `whole` is True if every bin is tried. The explained column is
    tried under its assumptions (`assume`).
    """

    column: OrdinalColumn
    party: str
    more: bool
    phrase: str
    bins: tuple[int, ...]
    labels: tuple[str, ...]
    shown: tuple[str, ...]
    steps: tuple[int, ...]
    whole: bool
    assume: Mapping[str, bool]

    @property
    def paired(self) -> list[int]:
        """The indices of the `bins` that pairs combine."""
        return evenly_spread(self.steps, MAXIMUM_PAIRED)

    def ahead(self, state: int | None) -> list[int]:
        """Return the indices of the `bins` that change the present one as advised, nearest first.

        `state` is the present bin of the column; if it is None (missing, unknown, or an assumption
        does not hold), every bin is a change.
        """
        order = range(len(self.bins)) if self.more else reversed(range(len(self.bins)))
        return [
            i
            for i in order
            if state is None or (self.bins[i] > state if self.more else self.bins[i] < state)
        ]

    def limit(self, index: int) -> str:
        """Return bin number `index` and all beyond it as words: `at least 5`, `less than 0.4`."""
        direction, end = self.bound(index)
        return f"{_LIMITS[direction]} {shown_number(end)}"

    def bound(self, index: int) -> tuple[Literal["more", "under", "most"], float]:
        """Return how bin number `index` and all beyond it are bounded, and the number.

        `more` is the number or more, `under` less than the number, `most` at most the number.
        """
        if self.more:
            return "more", self._end(index)
        return ("under" if self._open(index) else "most"), self._end(index)

    def _end(self, index: int) -> float:
        """Return the smallest value of a bin; for `less`, the largest or the cut above it."""
        own, cuts = self.bins[index], self.column.cuts
        if self.more:
            return self.column.bin_floor(own)
        if own == len(cuts):
            return self.column.maximum
        return cuts[own] - 1 if self.column.integer else cuts[own]

    def _open(self, index: int) -> bool:
        """Return True if a bin's upper end, a cut, is no value of the bin."""
        return not self.column.integer and self.bins[index] < len(self.column.cuts)

    def words(self, index: int, number: Callable[[float], str] = shown_number) -> str:
        """Return the bin number `index` as words: for example, `2 to under 5`."""
        return self.column.bin_labels(number=number)[self.bins[index]]


def variations(schema: Schema) -> tuple[Variation, ...]:
    """Return what an explanation varies: the explained column, then its alternatives."""
    return (_explained(schema), *(_alternative(schema, a) for a in schema.explanation.alternatives))


def _explained(schema: Schema) -> Variation:
    column, more = schema.explained_column, schema.explanation.direction == "more"
    steps = schema.explained_steps
    at = [column.cuts.index(step) for step in steps]
    # Of a coarse bin, the bin of the column that is nearest to the less advised ones is tried.
    bins = (0, *(i + 1 for i in at)) if more else (*at, len(column.cuts))
    return Variation(
        column=column,
        party=schema.explained_party,
        more=more,
        phrase=schema.explanation.phrase,
        bins=bins,
        labels=tuple(column.bin_labels(steps, number_text)),
        shown=tuple(column.bin_labels(steps)),
        steps=tuple(range(1, len(bins)) if more else range(len(bins) - 1)),
        whole=len(steps) == len(column.cuts),
        assume=schema.explanation.assume,
    )


def _alternative(schema: Schema, alternative: Alternative) -> Variation:
    column, more = schema.ordinal(alternative.column), alternative.direction == "more"
    bins = tuple(column.cuts.index(step) + int(more) for step in alternative.steps)
    every, shown = column.bin_labels(number=number_text), column.bin_labels()
    return Variation(
        column=column,
        party=schema.owner(column.name),
        more=more,
        phrase=alternative.phrase,
        bins=bins,
        labels=tuple(f"{column.name}: {every[own]}" for own in bins),
        shown=tuple(shown[own] for own in bins),
        steps=tuple(range(len(bins))),
        whole=False,
        assume={},
    )


def paired(schema: Schema) -> list[tuple[Variation, Variation]]:
    """Return both variations of each pair, in the schema's order."""
    by_name = {one.column.name: one for one in variations(schema)}
    return [(by_name[first], by_name[second]) for first, second in schema.explanation.pairs]


def tried(schema: Schema) -> list[tuple[Change, ...]]:
    """Return the changes that each output of an explanation makes, one or two."""
    alone = [((one.column.name, i),) for one in variations(schema) for i in range(len(one.bins))]
    together = [
        ((first.column.name, i), (second.column.name, j))
        for first, second in paired(schema)
        for i, j in product(first.paired, second.paired)
    ]
    return [*alone, *together]


def explained_labels(schema: Schema) -> tuple[str, ...]:
    """Return one label for each output of an explanation, no two of them equal."""
    own = {one.column.name: one for one in variations(schema)}
    return tuple(
        own[changes[0][0]].labels[changes[0][1]]
        if len(changes) == 1
        else "; ".join(f"{name}: {own[name].words(i, number_text)}" for name, i in changes)
        for changes in tried(schema)
    )
