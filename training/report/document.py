"""A document as a list of blocks, written as Markdown; pdf.py writes the same blocks as PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; `numbers` counts the last columns, which are aligned to the right.

    `widths` are the columns' shares of a page's width; equal ones where not given.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 0
    widths: tuple[float, ...] = ()


Block = Heading | Text | Items | Table


def markdown(blocks: Sequence[Block]) -> str:
    """Return the document as Markdown with a final line feed."""
    return "\n\n".join(_written(block) for block in blocks) + "\n"


def _written(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_line(block.text)}"
    if isinstance(block, Text):
        return _line(block.text)
    if isinstance(block, Items):
        return "\n".join(f"- {_line(text)}" for text in block.texts)
    first = len(block.heads) - block.numbers
    rule = ["---" if i < first else "---:" for i in range(len(block.heads))]
    rows = [block.heads, tuple(rule), *block.rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)


def _line(text: str) -> str:
    """Return a text without line ends, and without the start of an HTML element."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
