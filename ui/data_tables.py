"""Tables of the data of plots, for readers who do not see a plot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ui.units import escape

SUMMARY = "Data as a table"
MOST_ROWS = 1000
"""Rows of one table, the last ones."""


def rows_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a caption; the first cell of a row is its heading.

    It scrolls by itself, and can be reached by keyboard to do so.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in list(rows)[-MOST_ROWS:]
    )
    return (
        f'<div class="ts-scroll ts-tall" tabindex="0" role="region" aria-label="{escape(title)}">'
        f'<table class="ts-rows"><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def folded_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the table of a plot's data, folded; empty without rows."""
    found = list(rows)
    if not found:
        return ""
    return (
        f'<details class="ts-data"><summary>{SUMMARY}</summary>'
        f"{rows_table(title, heads, found)}</details>"
    )
