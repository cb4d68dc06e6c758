"""A report as PDF, for people.

The same report gives the same bytes: the file's date is the report's. Text from the log is escaped
before it is laid out, since the library reads markup in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    LongTable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from governance.purposes import PURPOSES, purpose_words
from governance.reports import Report, Row

MOST_PRINTED = 1000
"""Rows of one table that are printed; the CSV file has all."""
LONGEST_CELL = 800
"""Characters of a cell that are printed."""
MOST_NAMED = 16
"""Fields or rules of one entry that are printed."""
TITLE = "Use of personal data"
_TEXT, _SOFT, _RULE, _BAND, _ACCENT = (
    HexColor(code) for code in ("#1e293b", "#475569", "#cbd5e1", "#f1f5f9", "#0f766e")
)
_GOOD, _BAD = HexColor("#1d7f58"), HexColor("#b5472a")
_MARGIN = 15 * mm
_PADDING = 6  # of the library's frame, on every side
_WIDTH = landscape(A4)[0] - 2 * _MARGIN

_CELL = ParagraphStyle("cell", fontName="Helvetica", fontSize=7.5, leading=9.5, textColor=_TEXT)
_NUMBER = ParagraphStyle("number", _CELL, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", _CELL, fontName="Helvetica-Bold", textColor=_SOFT)
_BODY = ParagraphStyle("body", _CELL, fontSize=9, leading=13, textColor=_SOFT)
_FACT = ParagraphStyle("fact", _CELL, fontSize=9, leading=12)
_TOTAL = ParagraphStyle("total", _CELL, fontName="Helvetica-Bold", fontSize=18, leading=22)
_SECTION = ParagraphStyle(
    "section", _CELL, fontName="Helvetica-Bold", fontSize=12, leading=15, spaceBefore=14,
    spaceAfter=5,
)  # fmt: skip
_H1 = ParagraphStyle("title", _SECTION, fontSize=20, leading=25, spaceBefore=0, spaceAfter=2)
_GRID = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LEFTPADDING", (0, 0), (-1, -1), 4),
    ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ("TOPPADDING", (0, 0), (-1, -1), 3),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
    ("BACKGROUND", (0, 0), (-1, 0), _BAND),
]
_STATES = {
    "running": "may be kept",
    "due": "must have been erased by the requester",
    "erased": "person erased, with all details",
    "unknown": "no rule known",
}


def pdf_of(report: Report) -> bytes:
    """Return the file; its text can be extracted."""
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=landscape(A4),
        leftMargin=_MARGIN - _PADDING,
        rightMargin=_MARGIN - _PADDING,
        topMargin=_MARGIN,
        bottomMargin=18 * mm,
        title=f"{TITLE}, {report.period.days}",
        author="Triseal",
        invariant=1,
        lang="en",
    )

    def frame(canvas: Canvas, _: Any) -> None:
        made = datetime.fromisoformat(report.made_at)
        canvas.setDateFormatter(lambda *_: f"D:{made:%Y%m%d%H%M%S}+00'00'")
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(_SOFT)
        canvas.drawString(_MARGIN, 10 * mm, f"Triseal. Made at {_time(report.made_at)} UTC")
        canvas.drawRightString(_MARGIN + _WIDTH, 10 * mm, f"Page {canvas.getPageNumber()}")

    document.build(_story(report), onFirstPage=frame, onLaterPages=frame)
    return file.getvalue()


def _story(report: Report) -> list[Any]:
    return [
        Paragraph(TITLE, _H1),
        Paragraph(_words(f"{report.period.days} (UTC). People: {report.people}."), _FACT),
        Spacer(0, 8),
        _totals(report),
        *_section("The log"),
        *_health(report),
        *_section("By day, partner and purpose"),
        *_counts(report),
        *_section("Requests, decisions, permits, uses and changes"),
        *_entries(report.rows),
        *_section("Retention of results"),
        Paragraph(
            "How long the requester may keep the result of a use, by the rules that allowed it. "
            "The log shows erasures on this server. It cannot show that a requester has erased "
            "its copy: ask for a confirmation of those that are due.",
            _BODY,
        ),
        Spacer(0, 5),
        *_retention(report),
    ]


def _section(title: str) -> list[Any]:
    # A heading that is kept with a table would move the whole table to the next page.
    return [CondPageBreak(35 * mm), Paragraph(title, _SECTION)]


def _totals(report: Report) -> Table:
    labels = [Paragraph(_words(name), _HEAD) for name in report.totals]
    numbers = [Paragraph(str(number), _TOTAL) for number in report.totals.values()]
    table = Table([numbers, labels], colWidths=[_WIDTH / len(labels)] * len(labels))
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), _BAND),
                ("LINEABOVE", (0, 0), (-1, 0), 1.5, _ACCENT),
                ("TOPPADDING", (0, 1), (-1, 1), 0),
                ("BOTTOMPADDING", (0, 1), (-1, 1), 7),
            ]
        )
    )
    return table


def _health(report: Report) -> list[Any]:
    health, cosigned = report.health, report.health.cosigned
    audit = ParagraphStyle("audit", _FACT, textColor=_GOOD if health.healthy else _BAD)
    checked = f"{health.entries_checked} entries at {_time(health.checked_at)}"
    found = f"healthy; {checked}" if health.healthy else f"FAULT: {health.fault}; {checked}"
    by = "nobody yet"
    if cosigned is not None:
        signers = ", ".join(f"{name} at {_time(time)}" for name, time in cosigned.by.items())
        by = f"{cosigned.size} entries, by {signers}; root {cosigned.root}"
    facts = [
        ("Size", f"{health.size} entries", _FACT),
        ("Root", health.root, _FACT),
        ("Audit by the server", found, audit),
        ("Last cosigned checkpoint", by, _FACT),
        ("Policy version", report.policy_version, _FACT),
    ]
    rows = [[Paragraph(name, _HEAD), Paragraph(_words(text), style)] for name, text, style in facts]
    table = Table(rows, colWidths=[48 * mm, _WIDTH - 48 * mm])
    table.setStyle(TableStyle([line for line in _GRID if line[0] != "BACKGROUND"]))
    return [table]


def _counts(report: Report) -> list[Any]:
    rows = [
        [
            _cell(count.day),
            _cell(count.partner or "the parties"),
            _cell(_purpose(count.purpose)),
            *(
                Paragraph(str(number), _NUMBER)
                for number in (count.allowed, count.denied, count.uses, count.revocations)
            ),
        ]
        for count in report.counts[:MOST_PRINTED]
    ]
    heads = ("Day", "Partner", "Purpose", "Allowed", "Denied", "Uses", "Revocations")
    widths = (24, 60, 79, 26, 26, 26, 26)
    return _table(heads, rows, widths, len(report.counts), numbers=4)


def _entries(rows: Sequence[Row]) -> list[Any]:
    cells = [
        [
            _cell(str(row.index)),
            _cell(_time(row.time)),
            _cell(" ".join(filter(None, (row.kind.replace("_", " "), row.action)))),
            _outcome(row),
            _cell(row.partner),
            _cell(f"{row.person} (erased)" if row.erased else row.person),
            _cell(_purpose(row.purpose)),
            _cell(_some(row.fields)),
            _cell("; ".join(filter(None, (_some(row.rules), row.reason)))),
        ]
        for row in rows[:MOST_PRINTED]
    ]
    heads = ("Entry", "Time", "Kind", "Outcome", "Partner", "Person", "Purpose", "Fields", "Why")
    return _table(heads, cells, (12, 31, 26, 17, 24, 29, 35, 41, 52), len(rows))


def _retention(report: Report) -> list[Any]:
    rows = [
        [
            _cell(str(kept.row.index)),
            _cell(_time(kept.row.time)),
            _cell(kept.row.partner),
            _cell(kept.row.person),
            _cell(_purpose(kept.row.purpose)),
            _cell("" if kept.days is None else str(kept.days)),
            _cell(_time(kept.due)),
            _cell(_STATES[kept.state]),
        ]
        for kept in report.retention[:MOST_PRINTED]
    ]
    heads = ("Entry", "Used at", "Partner", "Person", "Purpose", "Days", "Until", "State")
    return _table(heads, rows, (12, 35, 32, 32, 56, 14, 35, 51), len(report.retention))


def _table(
    heads: Sequence[str],
    rows: list[list[Any]],
    widths: Sequence[float],
    count: int,
    numbers: int = 0,
) -> list[Any]:
    """Return the table of the first of `count` rows.

    `widths` are shared out to the page's width; the last `numbers` columns have numbers.
    """
    if not rows:
        return [Paragraph("Nothing in this period.", _BODY)]
    right = ParagraphStyle("right", _HEAD, alignment=TA_RIGHT)
    first = len(heads) - numbers
    head = [Paragraph(text, _HEAD if i < first else right) for i, text in enumerate(heads)]
    scale = _WIDTH / sum(widths)
    table = LongTable([head, *rows], colWidths=[width * scale for width in widths], repeatRows=1)
    table.setStyle(TableStyle(_GRID))
    if count == len(rows):
        return [table]
    return [table, Paragraph(f"{count - len(rows)} more are in the report as CSV.", _BODY)]


def _outcome(row: Row) -> Paragraph:
    colour = _BAD if row.status in ("denied", "failed") else _GOOD
    return Paragraph(_words(row.status), ParagraphStyle("outcome", _HEAD, textColor=colour))


def _time(text: str) -> str:
    """Return a time as in the log without the marks of its format; all times are in UTC."""
    return text.replace("T", " ").removesuffix("Z")


def _some(names: Sequence[str]) -> str:
    """Return the names, not so many that a row would not fit on a page."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _purpose(term: str) -> str:
    return f"{purpose_words(term)} ({term})" if term in PURPOSES else term


def _cell(text: str) -> Paragraph:
    return Paragraph(_words(text), _CELL)


def _words(text: str) -> str:
    """Return a text as markup, not so long that a row would not fit on a page."""
    cut = text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
    return escape(_plain(cut))


def _plain(text: str) -> str:
    """Return the text in the characters that the standard fonts have."""
    return text.encode("cp1252", "replace").decode("cp1252")
