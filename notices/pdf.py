"""Notices as PDF, laid out from their HTML, so that both say the same.

Only the elements that the templates use are laid out: h1, h2, p, ol, ul, li, table, small. The same
HTML and day give the same bytes. The fonts are the PDF standard ones, which have the letters of
Western European languages (Windows-1252); any other letter is printed as a question mark.
"""

from __future__ import annotations

import io
from datetime import date
from html.parser import HTMLParser
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    HRFlowable,
    ListFlowable,
    ListItem,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

_TEXT, _SOFT, _RULE, _ACCENT = (
    HexColor(code) for code in ("#1e293b", "#475569", "#cbd5e1", "#0f766e")
)
_MARGIN = 22 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_P = ParagraphStyle(
    "p", fontName="Helvetica", fontSize=10, leading=14, textColor=_TEXT, spaceBefore=2, spaceAfter=4
)
_CELL = ParagraphStyle("td", _P, spaceBefore=0, spaceAfter=0)
_HEAD = ParagraphStyle("th", _CELL, fontName="Helvetica-Bold", textColor=_SOFT)
_STYLES = {
    "h1": ParagraphStyle(
        "h1", _P, fontName="Helvetica-Bold", fontSize=17, leading=22, spaceAfter=8
    ),
    "h2": ParagraphStyle(
        "h2", _P, fontName="Helvetica-Bold", fontSize=11.5, leading=15, spaceBefore=10,
        spaceAfter=2, textColor=_ACCENT, keepWithNext=1,
    ),
    "p": _P,
    "li": ParagraphStyle("li", _P, spaceBefore=0, spaceAfter=2),
    "th": _HEAD,
    "td": _CELL,
    "small": ParagraphStyle("small", _P, fontSize=8, leading=11, textColor=_SOFT),
}  # fmt: skip


def notice_pdf(html: str, day: date) -> bytes:
    """Return the PDF of a notice made by `notice_html`; `day` is the file's date."""
    laid_out = _Blocks()
    laid_out.feed(html)
    laid_out.close()
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN - 6,  # 6: the padding of the library's frame
        rightMargin=_MARGIN - 6,
        topMargin=20 * mm,
        bottomMargin=20 * mm,
        title=laid_out.title,
        author="Triseal",
        invariant=1,
        lang=laid_out.language,
    )

    def frame(canvas: Canvas, _: Any) -> None:
        canvas.setDateFormatter(lambda *_: f"D:{day:%Y%m%d}000000+00'00'")
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(_SOFT)
        canvas.drawRightString(_MARGIN + _WIDTH, 11 * mm, str(canvas.getPageNumber()))

    document.build(laid_out.story, onFirstPage=frame, onLaterPages=frame)
    return file.getvalue()


class _Blocks(HTMLParser):
    """The blocks of a notice as the library's flowables, in `story`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.story: list[Any] = []
        self.title, self.language = "", "en"
        self._open = ""
        self._text: list[str] = []
        self._items: list[Any] = []
        self._rows: list[list[Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "html":
            self.language = dict(attrs).get("lang") or "en"
        if tag in (*_STYLES, "title"):
            self._open, self._text = tag, []
        elif tag in ("ol", "ul"):
            self._items = []
        elif tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])

    def handle_data(self, data: str) -> None:
        if self._open:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._end(tag, " ".join("".join(self._text).split()))
            self._open = ""
        elif tag in ("ol", "ul"):
            self.story.append(_list(self._items, numbered=tag == "ol"))
        elif tag == "table":
            self.story += [_table(self._rows), Spacer(0, 4)]

    def _end(self, tag: str, text: str) -> None:
        if tag == "title":
            self.title = text
            return
        printable = text.encode("cp1252", "replace").decode("cp1252")
        block = Paragraph(escape(printable), _STYLES[tag])
        if tag == "li":
            self._items.append(block)
        elif tag in ("th", "td"):
            self._rows[-1].append(block)
        else:
            if tag == "small":
                self.story.append(HRFlowable(width="100%", color=_RULE, spaceBefore=12))
            self.story.append(block)


def _list(items: list[Any], numbered: bool) -> ListFlowable:
    return ListFlowable(
        [ListItem(item) for item in items],
        bulletType="1" if numbered else "bullet",
        start=None if numbered else "•",
        leftIndent=16,
        bulletFontSize=10,
        bulletColor=_TEXT,
    )


def _table(rows: list[list[Any]]) -> Table:
    first = 0.3 * _WIDTH
    # A list of all columns of a party may be longer than a page.
    table = Table(rows, colWidths=[first, _WIDTH - first], splitInRow=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
            ]
        )
    )
    return table
