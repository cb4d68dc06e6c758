"""The best split of a node by XGBoost's regularised gain, in float64 from integer sums.

Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System" (KDD 2016), equation 7, without the
factor 1/2, as in XGBoost's `hist`; monotone constraints as in its TreeEvaluator: a node has bounds
of its weight, a split by a constrained bit must have weights in the right order, and its children
are bounded by the mean of both. Only operations that IEEE 754 rounds in one way are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cells import Cells
from federated.boosting.fixed_point import Integers, real
from federated.plan import Plan

Floats = NDArray[np.float64]

LEAST_GAIN = 1e-6
"""XGBoost's kRtEps: a split must gain more."""


@dataclass(frozen=True)
class Bounds:
    """The range of a node's weight, before the learning rate."""

    lower: float = -float("inf")
    upper: float = float("inf")

    def children(self, left: float, right: float, monotone: bool) -> tuple[Bounds, Bounds]:
        """Return the bounds of both children, which have these weights."""
        if not monotone:
            return self, self
        middle = (left + right) / 2
        return Bounds(self.lower, middle), Bounds(middle, self.upper)


@dataclass(frozen=True)
class Best:
    """A split by the usable bit number `place`, with both children's weights."""

    place: int
    gain: float
    left: float
    right: float


def node_totals(cells: Cells, histograms: Integers) -> Integers:
    """Return the sums of each node (nodes, 2) of histograms (nodes, 2, cells).

    Every column has the same total. Under noise the columns differ, and their mean is taken.
    """
    columns = np.add.reduceat(histograms, cells.first, axis=2)
    first = columns[:, :, :1]
    # Differences are averaged, since a sum over many columns might overflow.
    return np.asarray(first[:, :, 0] + (columns - first).sum(axis=2) // columns.shape[2], np.int64)


def node_weight(plan: Plan, g: int, h: int) -> float:
    """Return the weight of an unbounded node with these sums; 0 below the least sum of hessians."""
    hessian = h * 2.0**-30
    if hessian < plan.least_hessian:
        return 0.0
    return -(g * 2.0**-30) / (hessian + plan.reg_lambda)


def _weights(plan: Plan, g: Floats, h: Floats, lower: Floats, upper: Floats) -> Floats:
    return np.asarray(np.clip(-g / (h + plan.reg_lambda), lower, upper), np.float64)


def _scores(plan: Plan, g: Floats, h: Floats, weights: Floats) -> Floats:
    """Return the decrease of the loss, times 2, by giving nodes these weights."""
    free = -g / (h + plan.reg_lambda)
    best = g * g / (h + plan.reg_lambda)
    bounded = -(2.0 * g * weights + (h + plan.reg_lambda) * (weights * weights))
    return np.where(weights == free, best, bounded)


def best_splits(
    plan: Plan,
    cells: Cells,
    histograms: Integers,
    totals: Integers,
    bounds: list[Bounds],
) -> list[Best | None]:
    """Return the best split of each node, None if no split gains enough.

    `histograms` (nodes, 2, cells) and `totals` (nodes, 2) are sums of gradients and hessians, 0 in
    cells that a node's path excludes. Of equal gains, that of the lowest bit counts.
    """
    lower = np.array([[b.lower] for b in bounds])
    upper = np.array([[b.upper] for b in bounds])
    columns = np.add.reduceat(histograms, cells.first, axis=2)
    ones = histograms @ cells.holds
    right = real(ones)
    left = real(columns[:, :, cells.column_of_bit] - ones)
    valid = (left[:, 1] >= plan.least_hessian) & (right[:, 1] >= plan.least_hessian)
    # Hessians of sides that are too small, negative ones under noise, only avoid a division by 0.
    h_left, h_right = np.where(valid, left[:, 1], 1.0), np.where(valid, right[:, 1], 1.0)
    g_left, g_right = left[:, 0], right[:, 0]
    w_left = _weights(plan, g_left, h_left, lower, upper)
    w_right = _weights(plan, g_right, h_right, lower, upper)
    node = real(totals)
    h_node = np.maximum(node[:, 1:], plan.least_hessian)
    parent = _scores(plan, node[:, :1], h_node, _weights(plan, node[:, :1], h_node, lower, upper))
    gains = _scores(plan, g_left, h_left, w_left) + _scores(plan, g_right, h_right, w_right)
    gains = gains - parent
    ordered = np.array([bit in plan.monotone for bit in cells.bits])
    valid &= ~ordered | (w_left <= w_right)
    gains = np.where(valid, gains, -np.inf)
    found: list[Best | None] = []
    for index, place in enumerate(np.argmax(gains, axis=1).tolist()):
        gain = float(gains[index, place])
        enough = gain > LEAST_GAIN and gain >= plan.gamma
        weights = float(w_left[index, place]), float(w_right[index, place])
        found.append(Best(place, gain, *weights) if enough else None)
    return found
