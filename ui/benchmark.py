"""The measured comparison with Concrete ML, read from what `make bench` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ui.units import escape

FILE = "benchmark.json"
_RATIOS = {
    "decide_vs_concrete_ml": "deciding",
    "explain_vs_concrete_ml": "explaining",
}
_ROWS = 40


def comparison(deployment: Path) -> str:
    """The comparison as HTML, or how to make it where it has not been measured."""
    try:
        found = json.loads((deployment / FILE).read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, Mapping):
        return (
            '<p class="ts-empty">Not measured on this machine yet. <code>make bench</code> runs '
            "this engine and Concrete ML's own XGBoost one after the other on the same machine "
            "and writes the table that is shown here.</p>"
        )
    return _headline(found.get("ratios")) + _table(found.get("rows")) + _machine(found)


def _headline(ratios: Any) -> str:
    if not isinstance(ratios, Mapping):
        return ""
    cards = "".join(
        f"<div><b>{_factor(ratios[key])}</b><span>faster than Concrete ML at {word}</span></div>"
        for key, word in _RATIOS.items()
        if isinstance(ratios.get(key), int | float) and ratios[key] > 0
    )
    return f'<div class="ts-ratios">{cards}</div>' if cards else ""


def _factor(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def _table(rows: Any) -> str:
    if not isinstance(rows, list):
        return ""
    cells = "".join(
        f'<tr><th scope="row">{escape(row.get("name", ""))}</th>'
        f'<td data-who="Triseal">{_measured(row, "value")}</td>'
        f'<td data-who="Concrete ML">{_measured(row, "concrete_ml")}</td>'
        f'<td data-who="Ratio">{_times(row.get("ratio"))}</td></tr>'
        for row in rows[:_ROWS]
        if isinstance(row, Mapping)
    )
    if not cells:
        return ""
    return (
        '<table class="ts-table"><thead><tr><th scope="col">What</th>'
        '<th scope="col">Triseal on Concrete</th><th scope="col">Concrete ML</th>'
        f'<th scope="col">Ratio</th></tr></thead><tbody>{cells}</tbody></table>'
    )


def _measured(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "–" if value is None else escape(f"{_value(value)} {row.get('unit') or ''}".strip())


def _times(ratio: Any) -> str:
    return escape(_value(ratio)) if isinstance(ratio, int | float) else ""


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def _machine(found: Mapping[str, Any]) -> str:
    machine = found.get("machine")
    if isinstance(machine, Mapping):
        machine = ", ".join(f"{key}: {value}" for key, value in machine.items())
    return f'<p class="ts-note">Measured on {escape(machine)}.</p>' if machine else ""
