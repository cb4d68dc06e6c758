"""The selection tree of a program: the operations of an encrypted evaluation and their order.

The nested Horner form of the polynomial (model/horner.py) as flat arrays: the nodes by height, so
that all nodes of one height are computed together, and their linear parts as one sparse matrix. A
node is constant + linear + the sum of bit * child, with one product per child.

Several outputs share one ciphertext, output k on coefficient k: a vector of coefficients c becomes
the polynomial sum of c_k X^k. Along the bins of the explained column most vectors have one step, so
that few terms remain when vectors are written in terms of their steps d_t = c_t - c_(t-1):
sum of c_k X^k = sum of d_t (X^t + ... + X^(K-1)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from model.horner import Nested, nest
from model.polynomial import Coefficients
from model.program import Program

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Level:
    """The nodes of one height, with indices `first` to `stop`, and their products.

    Product i multiplies node `child[i]`, of a lower height, by selecting bit number `bit[i]`. The
    products of node `first + j` are `start[j]` to `start[j + 1]`.
    """

    first: int
    stop: int
    child: Positions
    bit: Positions
    start: Positions


@dataclass(frozen=True)
class SelectionTree:
    """A program in the form in which it is evaluated; the last node is the result.

    `bits` are the bits that the program reads, in the layout's order; all other attributes refer to
    bits by their positions in it. `selecting` are the bits that multiply. `steps` (terms, 2) are
    pairs (bit, t), each standing for the bit's body row times X^t + ... + X^(outputs - 1), which
    `linear` (nodes, terms) combines to the nodes' linear parts. `constants` (nodes, outputs) are
    the nodes' constants. `squares` bounds, for the worst input, the sum of the squared coefficients
    with which the body rows' noise enters one opened coefficient.
    """

    outputs: int
    score_bits: int
    bits: Positions
    selecting: Positions
    steps: Positions
    linear: csr_array
    constants: NDArray[np.int64]
    levels: tuple[Level, ...]
    squares: int

    @property
    def nodes(self) -> int:
        return len(self.constants)

    @property
    def products(self) -> int:
        """The number of external products of one evaluation."""
        return sum(len(level.child) for level in self.levels)

    @classmethod
    def of(cls, program: Program) -> SelectionTree:
        """Build the tree of a program."""
        outputs = len(program.outputs)
        nodes = _by_height(nest(program.polynomial))
        number = {id(node): i for i, (node, _) in enumerate(nodes)}
        selecting = sorted({bit for node, _ in nodes for bit, _ in node.products})
        position = {bit: i for i, bit in enumerate(selecting)}
        constants = np.zeros((len(nodes), outputs), np.int64)
        for i, (node, _) in enumerate(nodes):
            if node.constant is not None:
                constants[i] = node.constant
        heights = np.array([height for _, height in nodes])
        levels = []
        for height in range(int(heights[-1]) + 1):
            own = np.flatnonzero(heights == height)
            products = [nodes[i][0].products for i in own]
            levels.append(
                Level(
                    first=int(own[0]),
                    stop=int(own[-1]) + 1,
                    child=np.array([number[id(n)] for p in products for _, n in p], np.intp),
                    bit=np.array([position[bit] for p in products for bit, _ in p], np.intp),
                    start=np.cumsum([0, *(len(p) for p in products)], dtype=np.intp),
                )
            )
        steps, linear = _linear([node.linear for node, _ in nodes])
        bits = np.array(sorted({*selecting, *steps[:, 0].tolist()}), np.intp)
        steps[:, 0] = np.searchsorted(bits, steps[:, 0])
        return cls(
            outputs=outputs,
            score_bits=program.score_bits,
            bits=bits,
            selecting=np.searchsorted(bits, selecting),
            steps=steps,
            linear=linear,
            constants=constants,
            levels=tuple(levels),
            squares=_worst_squares([node.linear for node, _ in nodes], outputs),
        )


def _by_height(root: Nested) -> list[tuple[Nested, int]]:
    """Return all nodes with their heights, lowest first; within a height, in the form's order."""

    def walk(node: Nested) -> Iterator[tuple[Nested, int]]:
        below = 0
        for _, inner in node.products:
            for found in walk(inner):
                yield found
            below = max(below, found[1] + 1)  # the last node of a walk is its root
        yield node, below

    return sorted(walk(root), key=lambda found: found[1])


def _linear(
    parts: list[tuple[tuple[int, Coefficients], ...]],
) -> tuple[Positions, csr_array]:
    """Return the steps that occur, shape (terms, 2), and the nodes' coefficients (nodes, terms)."""
    entries = [
        (node, (bit, int(t)), int(steps[t]))
        for node, part in enumerate(parts)
        for bit, coefficients in part
        for steps in [np.diff(coefficients, prepend=0)]
        for t in np.flatnonzero(steps)
    ]
    terms = sorted({term for _, term, _ in entries})
    number = {term: i for i, term in enumerate(terms)}
    # Coefficients wrap at 2^64 like words: a negative one becomes a large unsigned word.
    values = np.array([value for _, _, value in entries], np.int64).view(np.uint64)
    rows = [node for node, _, _ in entries]
    columns = [number[term] for _, term, _ in entries]
    linear = csr_array((values, (rows, columns)), shape=(len(parts), len(terms)), dtype=np.uint64)
    linear.sort_indices()
    return np.array(terms, np.intp).reshape(-1, 2), linear


def _worst_squares(parts: list[tuple[tuple[int, Coefficients], ...]], outputs: int) -> int:
    """Return a bound on the noise of the linear parts, in units of one body row's variance.

    A bit's row has the same noise wherever it is used, so its coefficients are summed before they
    are squared. Only the nodes that are selected count, in the worst case all those of one sign.
    Each opened coefficient has the noise of all outputs' terms, each from another coefficient of
    the row.
    """
    positive: dict[int, list[int]] = {}
    negative: dict[int, list[int]] = {}
    for part in parts:
        for bit, coefficients in part:
            up = positive.setdefault(bit, [0] * outputs)
            down = negative.setdefault(bit, [0] * outputs)
            for k, c in enumerate(coefficients.tolist()):
                up[k] += max(c, 0)
                down[k] += max(-c, 0)
    return sum(
        max(up, down) ** 2
        for bit in positive
        for up, down in zip(positive[bit], negative[bit], strict=True)
    )
