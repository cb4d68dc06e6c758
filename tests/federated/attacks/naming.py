"""Naming a training's rows out of a list of known people, from the leaves of its trees.

A leaf with its value and its cover (`sum_hessian`) gives the sums of gradients and hessians of its
rows; without the cover, its value alone gives one equation. All equations are linear in the number
of times that each known person was trained on, since the trees are public and hence everyone's
gradient. TimberStrike (arXiv 2506.07605) reads the same statistics, with an optimiser for rows of
any kind; here the list makes it a problem of non-negative least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import expit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Leaves:
    """A tree's leaves, as an attacker sees them.

    `of` (people,) is everyone's leaf, `margins` (people,) the margin before the tree, and `weights`
    (leaves,) are the leaves' values before the learning rate. `covers` are sums of hessians.
    """

    of: NDArray[np.int64]
    margins: Floats
    weights: Floats
    covers: Floats | None


def named(trees: list[Leaves], reg_lambda: float, rows: int, own: NDArray[np.int64]) -> set[int]:
    """Return the positions of the `rows` people who were most likely trained on.

    Outcomes are not known in advance. The first `len(own)` people are the attacker's own rows with
    these outcomes, whose part is subtracted, and which are not named.
    """
    left, right = _equations(trees, reg_lambda, own)
    size = 1 / np.maximum(np.linalg.norm(left, axis=1), 1e-9)
    times, _ = nnls(left * size[:, None], right * size, maxiter=20_000)
    likely = times.reshape(2, -1).sum(axis=0)
    likely[: len(own)] = -1
    ties = np.random.default_rng(0).permutation(len(likely))  # most people come out at 0 times
    return set(np.lexsort((ties, -likely))[:rows].tolist())


def _equations(
    trees: list[Leaves], reg_lambda: float, own: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return matrix (equations, 2 people) and right side; the second half is for outcome 1."""
    left, right = [], []
    mine = np.arange(len(own)) + own * len(trees[0].of)
    for tree in trees:
        p = expit(tree.margins)
        g, h = np.concatenate([p, p - 1]), np.tile(p * (1 - p), 2)
        of = np.tile(tree.of, 2)
        for leaf, weight in enumerate(tree.weights):
            if tree.covers is None:  # w = -G / (H + lambda)
                parts = [(g + weight * h, -weight * reg_lambda)]
            else:
                cover = tree.covers[leaf]
                parts = [(g, -weight * (cover + reg_lambda)), (h, cover)]
            for part, value in parts:
                row = np.where(of == leaf, part, 0.0)
                left.append(row)
                right.append(value - row[mine].sum())
    return np.stack(left), np.array(right)
