"""The measured comparison with Concrete ML, read from the output of `make bench`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ui.units import escape, show_bytes, show_seconds

FILE = "benchmark.json"
_RATIOS = {
    "deployed_decide_vs_concrete_ml": "deciding, levelled engine, the deployed model",
    "deployed_explain_vs_concrete_ml": "explaining, levelled engine, the deployed model",
    "levelled_decide_vs_concrete_ml": "deciding, levelled engine, XGBoost 40 x 3 both",
    "levelled_explain_vs_concrete_ml": "explaining, levelled engine, XGBoost 40 x 3 both",
    "decide_vs_concrete_ml": "deciding, the deployed model on Concrete",
    "explain_vs_concrete_ml": "explaining, the deployed model on Concrete",
}
_LEVELLED_COLUMNS = {
    "levelled": "Levelled",
    "concrete": "On Concrete",
    "levelled_40x3": "Levelled, 40 x 3",
    "concrete_ml": "Concrete ML, 40 x 3",
}
_CONCRETE_COLUMNS = {"value": "Triseal on Concrete", "concrete_ml": "Concrete ML"}
_ROWS = 40
_EXPONENT = " 2^"


def comparison(deployment: Path) -> str:
    """Return the comparison as HTML, or how to produce it if nothing has been measured."""
    try:
        found = json.loads((deployment / FILE).read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, Mapping):
        return (
            '<p class="ts-empty">Not measured on this machine yet.</p><details><summary>How to '
            "measure</summary><p><code>make bench</code> runs this engine and Concrete ML's own "
            "XGBoost on the same machine and writes the table shown here.</p></details>"
        )
    table = _table(found.get("levelled_rows"), _LEVELLED_COLUMNS)
    table = table or _table(found.get("rows"), _CONCRETE_COLUMNS)
    return _headline(found.get("ratios")) + table + _machine(found)


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


def _table(rows: Any, columns: Mapping[str, str]) -> str:
    if not isinstance(rows, list):
        return ""
    lines = "".join(_line(row, columns) for row in rows[:_ROWS] if isinstance(row, Mapping))
    if not lines:
        return ""
    heads = "".join(f'<th scope="col">{escape(label)}</th>' for label in columns.values())
    return (
        '<div class="ts-long" tabindex="0" role="region" aria-label="Measures">'
        f'<table class="ts-table ts-list"><thead><tr><th scope="col">Measure</th>{heads}'
        f'<th scope="col">Ratio, 40 x 3</th></tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _line(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    cells = "".join(
        f'<td data-who="{escape(label)}">{_measured(row, key)}</td>'
        for key, label in columns.items()
    )
    return (
        f'<tr><th scope="row">{_named(row)}</th>{cells}'
        f'<td data-who="Ratio, 40 x 3">{_times(row.get("ratio"))}</td></tr>'
    )


def _named(row: Mapping[str, Any]) -> str:
    """Return the name of a row, which may end with the base of its values."""
    name = str(row.get("name", "")).removesuffix(_EXPONENT).replace("_", " ")
    return escape(name[:1].upper() + name[1:])


def _measured(row: Mapping[str, Any], key: str) -> str:
    value, unit = row.get(key), row.get("unit") or ""
    if value is None:
        return "–"
    if isinstance(value, int | float):
        if unit == "s":
            return escape(show_seconds(value))
        if unit == "MB":
            return escape(show_bytes(round(value * 10**6)))
        if str(row.get("name", "")).endswith(_EXPONENT):
            return f"2<sup>{escape(_number(value))}</sup>"
        value = _number(value)
    return escape(f"{value} {unit}".strip())


def _times(ratio: Any) -> str:
    return f"{_number(ratio)}×" if isinstance(ratio, int | float) else ""


def _number(value: float) -> str:
    """Return a number for people: `2,280`, `0.8028`, `0.000004`, `−150.2`."""
    shown = f"{value:,.6f}".rstrip("0").rstrip(".") if abs(value) < 0.01 else f"{value:,.4g}"
    if abs(value) >= 1000:
        shown = f"{value:,.0f}"
    return shown.replace("-", "−")


def _machine(found: Mapping[str, Any]) -> str:
    machine = found.get("machine")
    if isinstance(machine, Mapping):
        machine = ", ".join(f"{key}: {value}" for key, value in machine.items())
    return f'<p class="ts-note">Measured on {escape(machine)}.</p>' if machine else ""
