"""The privacy budget of a run: how noise, number of sums and (epsilon, delta) are related.

A run opens the count at the start, one histogram for every level of every tree, and one score
histogram for every tree. A training row is in the count and the levels, a validation row in the
count and the scores; no row is in both. Every opening is one release of a Gaussian kind whose noise
is `noise_multiplier` times its sensitivity (1/sqrt(depth) of that for scores, which therefore count
as `depth` releases each), so k of them that depend on one row are
k/(2·multiplier²)-zero-concentrated differentially private (discrete Gaussian: Canonne, Kamath and
Steinke, NeurIPS 2020, theorem 4). Google's dp-accounting converts that to (epsilon, delta) over
Rényi orders. Attempts that are not opened, drop-outs and the choice of splits cost nothing: they
depend on opened sums alone.

What is said about a run outside these sums is not accounted: a lender's number of rows, its own
AUC, and its time of computation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from federated.privacy.noise import MAXIMUM_EXCESS
from federated.privacy.parameters import (
    LEAST_MULTIPLIER,
    MAXIMUM_MULTIPLIER,
    Privacy,
    smallest_roster,
)
from utils.errors import AccountantMissing, PrivacyInvalid

_ORDERS = tuple(1 + 10 ** (i / 100 - 2) for i in range(601))  # 1.01 to 10,001
_MOST_RELEASES, _MOST_LEVELS = 10_000, 16


@dataclass(frozen=True)
class Releases:
    """The sums opened in a run after the count at the start, which is always opened.

    A score histogram has 1/depth of the variance of a level, and counts as `depth` of them.
    """

    levels: int
    scores: int
    depth: int

    def of_one_row(self) -> int:
        """Return how many releases, with the count, one row is in; raises PrivacyInvalid."""
        if not (
            0 <= self.levels <= _MOST_RELEASES
            and 0 <= self.scores <= _MOST_RELEASES
            and 1 <= self.depth <= _MOST_LEVELS
        ):
            raise PrivacyInvalid("A run opens fewer sums than that; check the trees and the depth.")
        return 1 + max(self.levels, self.scores * self.depth)


def planned(trees: int, depth: int) -> Releases:
    """Return the most sums that a run of `trees` trees of `depth` levels opens."""
    return Releases(trees * depth, trees, depth)


def spent(
    privacy: Privacy, releases: Releases, *, lenders: int, present: int = 0, colluding: int = 0
) -> float:
    """Return epsilon at `privacy.delta` after these releases.

    `present` is the least number of lenders in any sum; with 0 it is the smallest allowed one.
    `colluding` of these reveal their own noise to whoever sees the sums. Raises PrivacyInvalid if
    nothing would be left, and AccountantMissing.
    """
    multiplier = multiplier_left(privacy, lenders=lenders, present=present, colluding=colluding)
    return _epsilon(multiplier, privacy.delta, releases.of_one_row())


def multiplier_left(
    privacy: Privacy, *, lenders: int, present: int = 0, colluding: int = 0
) -> float:
    """Return the noise multiplier of a sum, without the noise of the colluding lenders."""
    smallest = smallest_roster(lenders)
    present = present or smallest
    if not smallest <= present <= lenders:
        raise PrivacyInvalid(f"A sum of {lenders} lenders has {smallest} to {lenders} of them.")
    if not 0 <= colluding < present:
        raise PrivacyInvalid("If all lenders of a sum collude, no noise is left.")
    return privacy.noise_multiplier * math.sqrt((present - colluding) / smallest)


def multiplier_for(epsilon: float, delta: float, releases: Releases) -> float:
    """Return the least noise multiplier for (epsilon, delta) after these releases.

    Raises PrivacyInvalid if no allowed multiplier reaches it, and AccountantMissing.
    """
    low, high = LEAST_MULTIPLIER, MAXIMUM_MULTIPLIER
    count = releases.of_one_row()
    if not (0 < epsilon < float("inf") and 0 < delta < 1):
        raise PrivacyInvalid("Epsilon must be above 0 and finite, and delta between 0 and 1.")
    if _epsilon(low, delta, count) <= epsilon:
        return low
    if _epsilon(high, delta, count) > epsilon:
        raise PrivacyInvalid(f"Epsilon {epsilon:g} needs too much noise; use fewer trees.")
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        if _epsilon(middle, delta, count) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _epsilon(multiplier: float, delta: float, count: int) -> float:
    accounting = _library()
    accountant = accounting.rdp.RdpAccountant(
        _ORDERS, accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    release = accounting.ZCDpEvent(1 / (2 * multiplier**2) + MAXIMUM_EXCESS)
    accountant.compose(release, count)
    return float(accountant.get_epsilon(delta))


@cache
def _library() -> Any:
    """Return the accountant's library, loaded only where a budget is computed."""
    try:
        import dp_accounting
        import dp_accounting.rdp
    except ImportError:
        raise AccountantMissing(
            "The privacy budget needs dp-accounting: install it with pip install '.[privacy]'."
        ) from None
    return dp_accounting
