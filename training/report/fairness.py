"""Outcomes of groups of applicants under a model, with bootstrap intervals.

For every group: the approval rate, the impact ratio (the rate divided by that of the reference
group; below 0.80 the four-fifths rule of US employment guidance, 29 CFR 1607.4 D, sees adverse
impact), the standardised mean difference of the score (N. Schmidt and B. Stephens, arXiv
1911.05755, 2019), and the equal opportunity difference (M. Hardt, E. Price and N. Srebro, NIPS
2016): the share approved of good applicants, minus that of the reference group. The reference is
the group of at least 30 rows with the highest approval rate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from training.report.estimates import Estimate, percentile_interval, share
from training.report.groups import Groups, audited_groups
from training.report.resampling import RESAMPLES, SEED, Floats, resampled

if TYPE_CHECKING:
    import pandas as pd

FOUR_FIFTHS = 0.8

Scores = NDArray[np.int64]
Outcomes = NDArray[np.int8]


def group_outcomes(
    layout: Layout,
    bits: Bits,
    y: Outcomes,
    scores: Scores,
    frame: pd.DataFrame | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, list[dict[str, Any]]]:
    """Return, for every audited column, one entry per group, as JSON values.

    `bits` (rows, n_bits), `y` (rows,) with 1 = approved in the data, `scores` (rows,) of the
    integer program, where 0 or more means approved; `frame` as in `audited_groups`. An entry has
    `group`, `rows`, `few` (fewer than 30 rows, so that nothing is compared), `approved_in_data`,
    `approved_by_model`, `missed` (share of good applicants denied), `impact_ratio`,
    `mean_difference`, `opportunity_difference`, each None where it cannot be computed, `reference`,
    and `intervals` with the ends of the 95 % intervals.
    """
    return {
        groups.column: outcomes_of(groups, y, scores, resamples)
        for groups in audited_groups(layout, bits, frame)
    }


def outcomes_of(
    groups: Groups, y: Outcomes, scores: Scores, resamples: int = RESAMPLES
) -> list[dict[str, Any]]:
    """Return the entries of one column; see `group_outcomes`."""
    cells, counts = np.unique(
        np.stack([groups.members, y.astype(np.int64), scores]), axis=1, return_counts=True
    )
    number, large = len(groups.names), groups.large
    good, approved = cells[1] == 1, cells[2] >= 0
    inside = cells[0][:, None] == np.arange(number)
    reference = _reference(groups, scores >= 0)

    def statistic(drawn: Floats) -> Floats:
        return _statistics(drawn, inside, good, approved, cells[2].astype(np.float64), reference)

    with np.errstate(divide="ignore", invalid="ignore"):
        (values,) = statistic(counts[None, :].astype(np.float64))
    drawn = resampled(counts, statistic, resamples, SEED)
    entries = []
    for group in range(number):
        own = groups.members == group
        of_good = own & (y == 1)
        accepted = share(int((own & (scores >= 0)).sum()), int(own.sum()))
        missed = share(int((of_good & (scores < 0)).sum()), int(of_good.sum()))
        compared: list[Estimate | None] = [None] * 3
        if large[group] and reference is not None and group != reference:
            compared = [
                percentile_interval(values[i * number + group], drawn[:, i * number + group])
                for i in range(3)
            ]
        entries.append(
            _entry(groups.names[group], own, y, accepted, missed, compared)
            | {"few": not large[group], "reference": group == reference}
        )
        if group == reference:
            fixed = {"impact_ratio": 1.0, "mean_difference": 0.0, "opportunity_difference": 0.0}
            entries[-1] |= fixed
    return entries


def _reference(groups: Groups, approved: NDArray[np.bool_]) -> int | None:
    """Return the large group with the highest approval rate, if anybody in one is approved."""
    sizes = groups.sizes
    accepted = np.bincount(groups.members, weights=approved, minlength=len(groups.names))
    rates = np.where(groups.large, accepted / np.maximum(sizes, 1), -1.0)
    best = int(rates.argmax())
    return best if rates[best] > 0 else None


def _statistics(
    drawn: Floats,
    inside: NDArray[np.bool_],
    good: NDArray[np.bool_],
    approved: NDArray[np.bool_],
    scores: Floats,
    reference: int | None,
) -> Floats:
    """Return impact ratios, mean differences and opportunity differences, group by group.

    `drawn` (resamples, cells) counts rows; the result has shape (resamples, 3 x groups).
    """
    own = inside.astype(np.float64)
    rows = drawn @ own
    rate = drawn @ (own * approved[:, None]) / rows
    mean = drawn @ (own * scores[:, None]) / rows
    opportunity = drawn @ (own * (approved & good)[:, None]) / (drawn @ (own * good[:, None]))
    total = drawn.sum(axis=1)
    centre = drawn @ scores / total
    deviation = np.sqrt(np.maximum(drawn @ scores**2 / total - centre**2, 0))
    first = 0 if reference is None else reference
    return np.concatenate(
        [
            rate / rate[:, [first]],
            (mean - mean[:, [first]]) / deviation[:, None],
            opportunity - opportunity[:, [first]],
        ],
        axis=1,
    )


def _entry(
    name: str,
    own: NDArray[np.bool_],
    y: Outcomes,
    accepted: Estimate | None,
    missed: Estimate | None,
    compared: list[Estimate | None],
) -> dict[str, Any]:
    estimates = {
        "approved_by_model": accepted,
        "missed": missed,
        "impact_ratio": compared[0],
        "mean_difference": compared[1],
        "opportunity_difference": compared[2],
    }
    return {
        "group": name,
        "rows": int(own.sum()),
        "approved_in_data": float(y[own].mean()),
        **{key: None if e is None else e.value for key, e in estimates.items()},
        "intervals": {key: [e.low, e.high] for key, e in estimates.items() if e is not None},
    }


class LowestRatio:
    """The lowest impact ratio over the large groups of all columns, for decisions on some rows.

    The reference group of each column is the one with the highest approval rate; each resample has
    its own reference groups and its own lowest ratio. Both results are None if no column has two
    large groups, or nobody is approved.
    """

    def __init__(self, groups: list[Groups], approved: NDArray[np.bool_]) -> None:
        self._groups = [own for own in groups if own.large.sum() > 1]
        rows = np.stack([*(g.members for g in self._groups), approved.astype(np.int64)])
        self._cells, self._counts = np.unique(rows, axis=1, return_counts=True)

    def value(self) -> float | None:
        """Return the ratio alone."""
        if not self._groups:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = float(self._statistic(self._counts[None, :].astype(np.float64))[0, 0])
        return lowest if math.isfinite(lowest) else None

    def estimate(self, resamples: int = RESAMPLES) -> Estimate | None:
        """Return the ratio with its bootstrap interval."""
        value = self.value()
        if value is None:
            return None
        drawn = resampled(self._counts, self._statistic, resamples)
        return percentile_interval(value, drawn[:, 0])

    def _statistic(self, drawn: Floats) -> Floats:
        taken = self._cells[-1] == 1
        lowest = np.full(len(drawn), math.inf)
        for i, own in enumerate(self._groups):
            inside = (self._cells[i][:, None] == np.flatnonzero(own.large)).astype(np.float64)
            rates = drawn @ (inside * taken[:, None]) / (drawn @ inside)
            lowest = np.minimum(lowest, rates.min(axis=1) / rates.max(axis=1))
        return lowest[:, None]


def summaries(groups: list[Groups], y: Outcomes, approved: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the figures of fairlearn for each column, over its groups of at least 30 rows.

    `demographic_parity_ratio` is the lowest approval rate by the highest, and
    `equal_opportunity_difference` the largest difference of the shares approved of good applicants;
    None for a column with fewer than two such groups. Empty without fairlearn, which the
    environment of Concrete lacks.
    """
    try:
        from fairlearn.metrics import demographic_parity_ratio, equal_opportunity_difference
    except ImportError:
        return {}
    found: dict[str, Any] = {}
    for own in groups:
        if own.large.sum() < 2:
            found[own.column] = None
            continue
        used = own.large[own.members]
        rows = np.stack([own.members, y.astype(np.int64), approved.astype(np.int64)])[:, used]
        cells, weights = np.unique(rows, axis=1, return_counts=True)
        arguments = (cells[1], cells[2])
        options = {"sensitive_features": cells[0], "sample_weight": weights}
        found[own.column] = {
            "demographic_parity_ratio": float(demographic_parity_ratio(*arguments, **options)),
            "equal_opportunity_difference": float(
                equal_opportunity_difference(*arguments, **options)
            ),
        }
    return found
