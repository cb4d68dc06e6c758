"""The noise that one lender adds to its vector of a step, before it is masked.

**Sensitivity.** One training row of gradient g and hessian h adds both to one cell of each of the
C columns in a histogram, in at most one node of a level: the root has one node, and of later levels
only left children are sent. With a = |g| in [0, 1], h = a(1 - a). If the hessian's noise has
1/R of the variance of the gradient's, then in units of the latter the row moves the histogram by
sqrt(C · (a² + R·a²(1 - a)²)). For R <= 11.09 (the fifth power of the golden ratio) the maximum is
at a = 1, where h = 0: it is sqrt(C). With R = 11 the hessians therefore cost nothing beyond the
gradients, with noise of 0.30 of their standard deviation. The bound that treats g and h as
independent, sqrt(C · (1 + R/16)), would be 30 % larger; scaling h by 4 (R = 16) has a sensitivity
of 1.13 · sqrt(C).

A row adds 1 to one cell of every column in the count at the start, that of its state and outcome,
with sensitivity sqrt(C); the first tree's root follows from it (boosting/first_root.py). A
validation row adds 1 to its class in that count and to one cell of a score histogram, of which a
tree has one. A training row is in as many histograms as a tree has levels. With 1/(levels) of the
variance, score histograms spend as much on a validation row as levels on a training row.

**Several lenders.** Of N lenders, m = max(3, 2N/3 rounded up) at least are in a sum. Each adds
noise of 1/m of the variance, so that every sum has enough; with all N present it has N/m times as
much. Lenders who collude know their own noise: with c of them (m - c)/m of the variance is left.

**Sums of discrete Gaussians** are not quite discrete Gaussians. Kairouz, Liu and Steinke (ICML
2021) bound the difference: d cells of n lenders with variance s each add at most
d/4 · 10 · Σ_{k<n} exp(-2π²·s·k/(k + 1)) to the zero-concentrated budget. Noise of gradients has s
around 2^70, and the term is below exp(-10^21). Noise of counts is never narrower than s = 4, for
which it is below 10^-11 with 100 lenders and 2^16 cells; the accountant adds that.

**Repetition.** The noise is a pseudorandom function of the lender's secret, the run, the tree, the
level and the vector, but not of the attempt. A repeated upload, and a later attempt with another
roster, then carry the same noise: two sums of one step, if they could ever be opened, differ by
other lenders' vectors and cannot be averaged to cancel it. A different vector gets independent
noise, so that no two vectors differ by the data alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engines.levelled.randomness import derive
from federated.aggregation.group import MOST_LENDERS
from federated.privacy.discrete_gaussian import sample
from federated.privacy.parameters import Privacy, smallest_roster
from utils.errors import PrivacyInvalid

Vector = NDArray[np.uint64]

HESSIAN_RATIO = 11
"""The variance of a gradient's noise over that of a hessian's."""
FRACTION_BITS = 30
"""Gradients and hessians are integers in units of 2^-30."""
MAXIMUM_CELLS = 1 << 16
"""Maximum length of a step's vector."""
LEAST_VARIANCE = Fraction(4)
"""Least variance of one lender's noise, for which a sum is near enough a discrete Gaussian."""
SECRET_BYTES = 32

# Rounding to 2^-30 can raise g² + 11h² above 1 near a = 1, by less than 2^-56.
_ROUNDING = 1 + Fraction(1, 2**50)


@dataclass(frozen=True)
class Part:
    """Consecutive numbers of a vector that get noise of one variance."""

    length: int
    variance: Fraction
    """The variance of one lender's noise, in squared units of the vector's integers."""


Parts = tuple[Part, ...]


def count_parts(privacy: Privacy, lenders: int, *, columns: int, states: int) -> Parts:
    """Return the parts of the count at the start: denied and approved rows of all columns' states,
    and two validation classes.

    Raises PrivacyInvalid, as all functions here, for numbers that no run has.
    """
    rows = Part(2 * states, _count_variance(privacy, lenders, columns))
    return rows, Part(2, _count_variance(privacy, lenders, 1))


def level_parts(
    privacy: Privacy,
    lenders: int,
    *,
    columns: int,
    cells: int,
    nodes: int,
    scores: int = 0,
    depth: int,
) -> Parts:
    """Return the parts of a level: for each node gradients, then hessians; then score counts.

    `columns` are those with a usable bit, `cells` is the length of all their histograms, and
    `depth` is the plan's.
    """
    gradients = _variance(privacy, lenders, columns) * 4**FRACTION_BITS * _ROUNDING
    node = Part(cells, gradients), Part(cells, gradients / HESSIAN_RATIO)
    last = score_parts(privacy, lenders, scores=scores, depth=depth) if scores else ()
    return node * nodes + last


def score_parts(privacy: Privacy, lenders: int, *, scores: int, depth: int) -> Parts:
    """Return the parts of a score histogram of `scores` counts, in a run of trees of `depth`."""
    if depth < 1:
        raise PrivacyInvalid("Trees have at least one level; check the plan.")
    variance = _variance(privacy, lenders, 1) / depth
    return (Part(scores, max(LEAST_VARIANCE, variance)),)


def advised_least_hessian(privacy: Privacy, columns: int) -> float:
    """Return a min_child_weight for a plan with noise: 16 standard deviations of a gradient cell.

    Smaller nodes get leaves that are mostly noise. Measured: `training.measure.privacy_curve`.
    """
    return 16 * privacy.noise_multiplier * math.sqrt(columns)


def noise_seed(secret: bytes, run: bytes, tree: int, level: int, vector: Vector) -> bytes:
    """Derive the seed of a step's noise from the lender's own 32-byte secret.

    `run` is the run's digest, and `vector` is the vector without noise. Raises PrivacyInvalid.
    """
    if len(secret) != SECRET_BYTES or len(run) != SECRET_BYTES:
        raise PrivacyInvalid(
            f"A lender's secret and a run's digest have {SECRET_BYTES} bytes; start the run again."
        )
    digest = hashlib.sha256(vector.astype("<u8", copy=False).tobytes()).digest()
    return derive(secret, "noise of a step", run, f"{tree} {level}", digest)


def noise(seed: bytes, parts: Sequence[Part]) -> Vector:
    """Return one lender's noise for a vector of these parts, modulo 2^64.

    Raises PrivacyInvalid if the vector is too long or the noise too wide.
    """
    if sum(part.length for part in parts) > MAXIMUM_CELLS:
        raise PrivacyInvalid(f"A step with noise has at most {MAXIMUM_CELLS} numbers.")
    drawn = [
        sample(derive(seed, f"part {i}"), part.length, part.variance)
        for i, part in enumerate(parts)
    ]
    return np.concatenate([np.empty(0, np.int64), *drawn]).view(np.uint64)


def with_noise(
    vector: Vector,
    parts: Sequence[Part],
    *,
    secret: bytes,
    run: bytes,
    tree: int,
    level: int,
) -> Vector:
    """Return the vector of a step with this lender's noise, always the same for the same step.

    Raises PrivacyInvalid if the parts do not have the vector's length.
    """
    if vector.ndim != 1 or vector.dtype != np.uint64 or len(vector) != sum(p.length for p in parts):
        raise PrivacyInvalid("The noise does not fit the vector of this step; restart the lender.")
    return vector + noise(noise_seed(secret, run, tree, level, vector), parts)


def sum_excess(lenders: int, cells: int, variance: Fraction) -> float:
    """Return the budget that a sum of discrete Gaussians adds to that of a single one.

    `variance` is that of each lender's noise, at least 1/4. In zero-concentrated differential
    privacy, for one release of all cells (Kairouz, Liu and Steinke, ICML 2021).
    """
    tail = sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, lenders))
    return cells / 4 * 10 * tail


MAXIMUM_EXCESS = sum_excess(MOST_LENDERS, MAXIMUM_CELLS, LEAST_VARIANCE)
"""The most that one release adds to the budget because its noise is a sum; below 10^-11."""


def _variance(privacy: Privacy, lenders: int, columns: int) -> Fraction:
    """Return the variance of one lender's noise for sums in which a row counts in each column."""
    if not 1 <= columns <= MAXIMUM_CELLS:
        raise PrivacyInvalid("Noise needs at least one column that is used; check the plan.")
    share = Fraction(columns, smallest_roster(lenders))
    return Fraction(privacy.noise_multiplier) ** 2 * share


def _count_variance(privacy: Privacy, lenders: int, columns: int) -> Fraction:
    return max(LEAST_VARIANCE, _variance(privacy, lenders, columns))
