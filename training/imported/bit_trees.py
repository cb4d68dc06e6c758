"""Raw trees as trees over a schema's bits.

A split sends each state of its column to one side. On a path, only some states are still possible;
a split becomes the fewest tests of bits that divide these, and none if they all go the same way.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from features.encoding import ColumnCode, Layout
from features.schema import CategoricalColumn, OrdinalColumn
from model.booster import MAXIMUM_COLUMNS, MAXIMUM_LEAVES, MAXIMUM_TESTS
from model.booster_json import NodeList
from training.imported.cut_points import CutPoints
from training.imported.ensemble import Flags, Inner, Node, NumericSplit, SourceModel, Split
from training.imported.features import NAN, Binding
from utils.errors import ImportRefused, ModelTooLarge

States = frozenset[int]
Test = tuple[int, "Test", "Test"] | bool
"""A bit and the tests for its values 0 and 1, or True for left and False for right."""
BitNode = tuple[int, "BitNode", "BitNode"] | float


class BitTrees:
    """The trees of `model` over the bits of `layout`; margins are times `sign`.

    `bindings` are by feature, `cuts` by column. Raises ImportRefused if a split divides texts that
    the schema groups, and ModelTooLarge.
    """

    def __init__(
        self,
        model: SourceModel,
        layout: Layout,
        bindings: dict[int, Binding],
        cuts: dict[str, CutPoints],
        sign: int = 1,
    ) -> None:
        self._model, self._bindings, self._cuts, self._sign = model, bindings, cuts, sign
        self._codes = {code.column.name: code for code in layout.codes}
        self._sides: dict[Split, Flags] = {}
        self._leaves = 0

    def node_lists(self) -> list[NodeList]:
        """Return the trees; the first one's leaves contain the model's base."""
        trees = self._model.trees or (0.0,)
        bases = [self._model.base, *(0.0 for _ in trees[1:])]
        return [
            _node_list(self._grow(tree, {}, base)) for tree, base in zip(trees, bases, strict=True)
        ]

    def _grow(
        self, node: Node, possible: dict[str, States], base: float, count: int = 0
    ) -> BitNode:
        """Return a raw node as tests of bits, `count` of which are above it."""
        if not isinstance(node, Inner):
            self._leaves += 1
            if self._leaves > MAXIMUM_LEAVES:
                raise ModelTooLarge(
                    f"Over the schema's bits, the model has more than {MAXIMUM_LEAVES} leaves. "
                    "Train fewer or smaller trees, with max_depth=4 for example, and group rare "
                    "categories."
                )
            return float(np.float32(self._sign * (node + base)))
        name = self._bindings[node.split.feature].column.name
        code, sides = self._codes[name], self._sides_of(node.split)
        states = possible.get(name, frozenset(range(code.n_states)))

        def place(test: Test, states: States, count: int) -> BitNode:
            if isinstance(test, bool):
                child = node.left if test else node.right
                return self._grow(child, possible | {name: states}, base, count)
            if count >= MAXIMUM_TESTS:
                raise ModelTooLarge(
                    f"Over the schema's bits, a tree of the model makes more than {MAXIMUM_TESTS} "
                    "tests for one leaf. Group rare categories before training."
                )
            bit, zero, one = test
            ones = frozenset(s for s in states if code.table[s, bit])
            return (
                code.first_bit + bit,
                place(zero, states - ones, count + 1),
                place(one, ones, count + 1),
            )

        test = tests(code, states, sides)
        if not isinstance(test, bool) and len(possible.keys() | {name}) > MAXIMUM_COLUMNS:
            raise ModelTooLarge(
                f"A tree of the model tests more than {MAXIMUM_COLUMNS} columns for one leaf. "
                f"Train with max_depth={MAXIMUM_COLUMNS} or less; a leaf-wise model, as "
                "LightGBM's, needs max_depth too."
            )
        if isinstance(test, bool):
            return self._grow(node.left if test else node.right, possible, base, count)
        return place(test, states, count)

    def _sides_of(self, split: Split) -> Flags:
        """Return True for each state of the split's column that goes to the left."""
        sides = self._sides.get(split)
        if sides is None:
            binding = self._bindings[split.feature]
            code = self._codes[binding.column.name]
            if isinstance(code.column, OrdinalColumn):
                sides = _ordinal_sides(split, code, code.column, self._cuts[code.column.name])
            else:
                sides = _listed_sides(split, code, binding)
            self._sides[split] = sides
        return sides


def _ordinal_sides(split: Split, code: ColumnCode, column: OrdinalColumn, cuts: CutPoints) -> Flags:
    sides = np.full(code.n_states, split.left(np.array([column.minimum]))[0])
    bins = len(cuts.cuts) + 1
    for flip in split.flips() if isinstance(split, NumericSplit) else ():
        if flip in cuts.place:
            first = cuts.place[flip] + 1
            sides[first:bins] = ~sides[first:bins]
    if column.optional:
        sides[-1] = split.left(np.array([NAN]))[0]
    return sides


def _listed_sides(split: Split, code: ColumnCode, binding: Binding) -> Flags:
    column, sides = code.column, np.zeros(code.n_states, np.bool_)
    values = list(column.values) if isinstance(column, CategoricalColumn) else [False, True]
    given = [binding.given(value) for value in values]
    given += [(binding.missing,)] if column.optional else []
    for state, numbers in enumerate(given):
        goes = split.left(np.array(numbers))
        if goes.any() != goes.all():
            raise ImportRefused(
                f"The schema groups texts of {column.name} as {values[state]}, and the model "
                "tells them apart. List them as values of their own."
            )
        sides[state] = goes[0]
    return sides


def tests(code: ColumnCode, states: States, sides: Flags) -> Test:
    """Return the fewest tests of a column's bits that divide `states` by their sides."""
    return _best(code, states, sides)[1]


def _best(code: ColumnCode, states: States, sides: Flags) -> tuple[int, Test]:
    ordered = sorted(states)
    left = [state for state in ordered if sides[state]]
    if not left or len(left) == len(ordered):
        return 0, bool(left)
    options = []
    for bit in _useful_bits(code, ordered, left, sides):
        ones = frozenset(state for state in states if code.table[state, bit])
        (few, zero), (more, one) = (_best(code, part, sides) for part in (states - ones, ones))
        options.append((1 + few + more, bit, zero, one))
    count, bit, zero, one = min(options, key=lambda option: option[:2])
    return count, (bit, zero, one)


def _useful_bits(code: ColumnCode, ordered: list[int], left: list[int], sides: Flags) -> list[int]:
    """Return the bits among which the best test is."""
    if isinstance(code.column, CategoricalColumn):
        # Each state has a bit of its own: test those of the smaller side, one after another.
        right = [state for state in ordered if not sides[state]]
        return [min(left, right, key=len)[0]]
    column = code.column
    missing = code.n_states - 1 if column.optional else None
    bits = [code.n_bits - 1] if missing in ordered else []
    present = [state for state in ordered if state != missing]
    # State s is divided from the ones below it by bit s - 1.
    bits += [b - 1 for a, b in pairwise(present) if sides[a] != sides[b]]
    return bits


def _node_list(root: BitNode) -> NodeList:
    left: list[int] = []
    right: list[int] = []
    bits: list[int] = []
    values: list[float] = []

    def add(node: BitNode) -> int:
        number = len(left)
        for column in (left, right):
            column.append(-1)
        bits.append(0)
        values.append(0.0)
        if isinstance(node, tuple):
            bits[number] = node[0]
            left[number] = add(node[1])
            right[number] = add(node[2])
        else:
            values[number] = node
        return number

    add(root)
    return NodeList(left, right, bits, values)
