"""The load's figures as tables.

The calls are judged by the probe's times: the agents yield to all other processes, so that their
own times include their waiting for the processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.measure.text_tables import Table, figure, plain
from trials.load.timing import UNJUDGED

MOST_MILLISECONDS = 50.0
PROBE = "probe"
_WAITS = "long wait"


def text(figures: Mapping[str, Any]) -> str:
    """Return all tables as text, and which calls are above the target."""
    rows = []
    slow = []
    for where, calls in (("agents", figures["calls"]), (PROBE, figures["outside"]["calls"])):
        for kind, own in calls.items():
            times = own["milliseconds"]
            judged = kind not in UNJUDGED
            if judged and where == PROBE and times["p95"] >= MOST_MILLISECONDS:
                slow.append(f"{kind}: {times['p95']:.0f} ms")
            spread = [figure(times[name]) for name in ("p50", "p95", "max")]
            rows.append(
                (kind, where, str(own["count"]), str(own["errors"]), *spread)
                if judged
                else (kind, where, str(own["count"]), str(own["errors"]), *[_WAITS] * 3)
            )
    ways = [
        (way, str(count), *[figure(figures["seconds_each"][way][n]) for n in ("p50", "p95", "max")])
        for way, count in figures["done"].items()
    ]
    blocks = [
        ", ".join(f"{name} {value}" for name, value in figures["machine"].items()),
        plain(Table(("way", "done", "s p50", "s p95", "s max"), ways)),
        plain(Table(("call", "by", "calls", "errors", "ms p50", "ms p95", "ms max"), rows)),
        f"{figures['lost']} lost; evaluations meanwhile: {figures['evaluations']}; "
        f"{figures['seconds']:.0f} s",
        f"p95 of {MOST_MILLISECONDS:g} ms or more: {'; '.join(slow) or 'none'}",
    ]
    if figures["first_errors"]:
        blocks.append("Errors: " + "; ".join(figures["first_errors"]))
    return "\n\n".join(blocks)
