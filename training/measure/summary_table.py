"""The README's table: a few figures of the benchmark."""

from __future__ import annotations

from typing import Any

from training.measure.levelled_tables import LEVELLED, UNMODIFIED
from training.measure.text_tables import Table, figure, labelled

PEER = "concrete_ml"
_COLUMNS = (LEVELLED, UNMODIFIED, PEER)
_HEADS = ("", "Triseal, deployed model", "Triseal, XGBoost 40 x 3", "Concrete ML 40 x 3")
_NAMES = (
    "decide",
    "explain, every bin",
    "AUC",
    "public key or evaluation key",
    "encrypted inputs, all parties",
    "peak memory",
)
"""The rows of `levelled_rows` that are shown."""


def summary_table(result: dict[str, Any]) -> Table:
    """Return the figures of the levelled engine, of Concrete ML and of a whole application."""
    by_name = {row["name"]: row for row in result["levelled_rows"]}
    rows: list[tuple[str, ...]] = [
        (
            labelled(name, by_name[name]["unit"]),
            *(figure(by_name[name][column]) for column in _COLUMNS),
        )
        for name in _NAMES
    ]
    if application := result.get("application"):
        seconds = application["seconds"]["opening_to_decision"]
        rows.append(("whole application over HTTP, s", figure(seconds), "-", "-"))
    return Table(_HEADS, rows)
