"""Tables of figures, as plain text and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FIRST_WIDTH, _WIDTH = 32, 12


@dataclass(frozen=True)
class Table:
    """A table: `head` names the columns, and the first cell of each row labels its figures."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def figure(value: Any) -> str:
    """Format a value with four significant digits; None becomes a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def labelled(name: str, unit: str) -> str:
    """Return the label of a row with its unit."""
    return ", ".join(filter(None, (name, unit)))


def plain(table: Table) -> str:
    """Return the table as text with aligned columns."""
    rows = [table.head, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.head))]
    widths = [max(widths[0], _FIRST_WIDTH), *(max(w, _WIDTH) for w in widths[1:])]
    return "\n".join(
        " ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(table: Table) -> str:
    """Return the table as Markdown."""
    rule = "|" + "---|" * len(table.head)
    head, *rows = ["| " + " | ".join(row) + " |" for row in (table.head, *table.rows)]
    return "\n".join([head.replace("|  |", "| |"), rule, *rows])


def replaced(text: str, begin: str, end: str, section: str) -> str:
    """Return a document with `section`, its marks included, in place of the marked one, if any."""
    if begin not in text or end not in text:
        return text
    before, _, rest = text.partition(begin)
    return before + section + rest.partition(end)[2]
