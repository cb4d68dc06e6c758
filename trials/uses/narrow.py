"""Computations that would say something about a few rows."""

from __future__ import annotations

from random import Random
from typing import Any

from trials.uses.canaries import ROWS
from trials.uses.episode import Episode, refused
from trials.uses.registry import fault
from utils.errors import ComputationTooNarrow, RequestClosed

LEAST = 5
"""Rows that a result is about at least, by the shipped rule for banks."""


def first_rows(count: int) -> dict[str, Any]:
    """Return the filter for the first rows, by their months."""
    month = f"{2025 + count // 12}-{count % 12 + 1:02d}-01"
    return {"column": "month", "op": "<", "value": month}


def _about(random: Random, count: int) -> dict[str, Any]:
    kind = random.choice(("mean", "sum", "max", "median"))
    return {"kind": kind, "column": "amount", "filters": [first_rows(count)]}


@fault("a computation that is too narrow")
def narrow(episode: Episode, random: Random) -> str:
    """Ask for a statistic of fewer rows than the policy's least, or of all but a few."""
    few = random.randrange(1, LEAST)
    count = random.choice((few, ROWS - few))
    request_id = episode.approved(computation=_about(random, count))
    permit = episode.permit(request_id)
    code = refused(lambda: episode.bring(permit), ComputationTooNarrow)
    episode.owner.revoke(request_id)
    refused(lambda: episode.bring(permit), RequestClosed)
    return code


@fault("two computations that differ by few rows")
def differing(episode: Episode, random: Random) -> str:
    """Ask for the same statistic with a few more, or fewer, rows; also in another session."""
    count = ROWS // 2
    first = {"kind": "sum", "column": "amount", "filters": [first_rows(count)]}
    episode.run_until_over(episode.approved(computation=first))
    other = count + random.choice((-1, 1)) * random.randrange(1, LEAST)
    if random.random() < 0.5:
        episode.session = episode.connect(episode.bank)
    request_id = episode.approved(computation=_about(random, other))
    return refused(lambda: episode.bring(episode.permit(request_id)), ComputationTooNarrow)
