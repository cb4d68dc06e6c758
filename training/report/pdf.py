"""A document of blocks as PDF, for people; equal documents give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    LongTable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)

from training.report.document import Block, Heading, Items, Table, Text

LONGEST_CELL = 1500
"""Characters of a cell that are printed: a row has to fit on a page."""
_TEXT, _SOFT, _RULE, _BAND = (HexColor(c) for c in ("#1e293b", "#475569", "#cbd5e1", "#f1f5f9"))
_MARGIN = 18 * mm
_PADDING = 6  # of the library's frame, on every side
_WIDTH = A4[0] - 2 * _MARGIN

_BODY = ParagraphStyle(
    "body", fontName="Helvetica", fontSize=9.5, leading=13, textColor=_TEXT, spaceAfter=5
)
_ITEM = ParagraphStyle("item", _BODY, leftIndent=10, bulletIndent=0, spaceAfter=2)
_CELL = ParagraphStyle("cell", _BODY, fontSize=7.5, leading=9.5, spaceAfter=0)
_NUMBER = ParagraphStyle("number", _CELL, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", _CELL, fontName="Helvetica-Bold", textColor=_SOFT)
_HEAD_NUMBER = ParagraphStyle("head_number", _HEAD, alignment=TA_RIGHT)
_HEADINGS = {
    level: ParagraphStyle(
        f"heading{level}", _BODY, fontName="Helvetica-Bold", fontSize=size, leading=size * 1.25,
        spaceBefore=before, spaceAfter=4,
    )
    for level, size, before in ((1, 18, 0), (2, 13, 12), (3, 10.5, 8))
}  # fmt: skip
_GRID = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ("TOPPADDING", (0, 0), (-1, -1), 2.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
        ("BACKGROUND", (0, 0), (-1, 0), _BAND),
    ]
)


def pdf(blocks: Sequence[Block], title: str, foot: str) -> bytes:
    """Return the file; `foot` stands at the foot of every page, beside its number."""
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN - _PADDING,
        rightMargin=_MARGIN - _PADDING,
        topMargin=_MARGIN,
        bottomMargin=18 * mm,
        title=title,
        author="Triseal",
        invariant=1,
        lang="en",
    )

    def frame(canvas: Canvas, _: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(_SOFT)
        canvas.drawString(_MARGIN, 10 * mm, _plain(foot))
        canvas.drawRightString(_MARGIN + _WIDTH, 10 * mm, f"Page {canvas.getPageNumber()}")

    story = [part for block in blocks for part in _parts(block)]
    document.build(story, onFirstPage=frame, onLaterPages=frame)
    return file.getvalue()


def _parts(block: Block) -> list[Any]:
    if isinstance(block, Heading):
        # A heading that is kept with a table would move the whole table to the next page.
        return [CondPageBreak(30 * mm), Paragraph(_words(block.text), _HEADINGS[block.level])]
    if isinstance(block, Text):
        return [Paragraph(_words(block.text), _BODY)]
    if isinstance(block, Items):
        return [Paragraph(_words(text), _ITEM, bulletText="•") for text in block.texts]
    return [_table(block), Spacer(0, 7)]


def _table(table: Table) -> LongTable:
    first = len(table.heads) - table.numbers
    head = [
        Paragraph(_words(text), _HEAD if i < first else _HEAD_NUMBER)
        for i, text in enumerate(table.heads)
    ]
    rows = [
        [Paragraph(_words(t), _CELL if i < first else _NUMBER) for i, t in enumerate(row)]
        for row in table.rows
    ]
    widths = table.widths or (1.0,) * len(table.heads)
    scale = _WIDTH / sum(widths)
    made = LongTable([head, *rows], colWidths=[width * scale for width in widths], repeatRows=1)
    made.setStyle(_GRID)
    return made


def _words(text: str) -> str:
    """Return a text as the library's markup, without the backquotes of Markdown."""
    cut = text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
    return escape(_plain(cut.replace("`", "")))


def _plain(text: str) -> str:
    """Return the text in the characters that the standard fonts have."""
    return text.encode("cp1252", "replace").decode("cp1252")
