"""Reports: what they count, that nothing personal or executable is in them, and fixed bytes."""

import csv
import io
from dataclasses import astuple
from datetime import UTC, datetime

import pytest

from governance import report_pdf, reports
from governance.report_csv import COLUMNS, csv_of
from governance.report_pdf import pdf_of
from governance.reports import Cosigned, Health, Line, Period, report_of
from tests.pdf_text import pdf_text
from utils.errors import InvalidRequest

ALIAS = "0123456789abcdef" * 4
SHOWN = ALIAS[:12]
MADE = datetime(2026, 11, 29, 9, 5, tzinfo=UTC)
HEALTH = Health(
    size=40,
    root="ab" * 32,
    healthy=True,
    fault=None,
    entries_checked=40,
    checked_at="2026-11-29T09:00:00Z",
    cosigned=Cosigned(30, "cd" * 32, {"Auditor": "2026-11-28T21:00:00Z"}),
)


def line(index, kind, status=None, time="2026-11-20T10:00:00Z", partner="bank_1", **more):
    details = {"request_id": "r1", "user_id": "anna_1", "purpose": "dpv:CreditChecking"}
    given = {"user_id": "anna_1", "person": ALIAS, "details": details | more.pop("details", {})}
    return Line(index, time, kind, status, partner, **{**given, **more})


def erased(index, kind, status, **more):
    return line(index, kind, status, user_id=None, erased=True, **more, details={})


def report(lines, first="2026-11-20", last="2026-11-28", **more):
    options = {"retention_days": {"rule-a": 5, "rule-b": 30}, "policy_version": "77" * 32}
    return report_of(lines, Period.of_days(first, last), HEALTH, made_at=MADE, **options, **more)


def cells(made):
    return list(csv.DictReader(io.StringIO(csv_of(made).decode(), newline=""), strict=True))


def everything(made):
    return csv_of(made).decode() + pdf_text(pdf_of(made))


def test_counts_by_day_partner_and_purpose():
    made = report(
        [
            line(0, "policy_change", partner=None, user_id=None, person=None, details={}),
            line(1, "decision", "allowed"),
            line(2, "decision", "denied", details={"rules": ["consent-needed"], "reason": "No."}),
            line(3, "answer", "allowed", details={"state": "granted"}),  # a consent, no request
            line(4, "answer", "reduced", details={"action": "statistic"}),
            line(5, "use", "done", details={"fields": ["income"]}),
            line(6, "revocation", "done"),
            line(7, "decision", "denied", time="2026-11-21T00:00:00Z", partner="shop_1"),
            line(8, "decision", "allowed", time="2026-11-29T00:00:00Z"),  # after the period
            line(9, "decision", "allowed", time="2026-11-19T23:59:59Z"),  # before it
        ]
    )
    purpose = "dpv:CreditChecking"
    assert [astuple(count) for count in made.counts] == [
        ("2026-11-20", "bank_1", purpose, 2, 1, 1, 1),
        ("2026-11-21", "shop_1", purpose, 0, 1, 0, 0),
    ]
    assert made.totals["Allowed"] == 2 and made.totals["Denied"] == 2
    assert made.totals["Requests"] == 3
    assert made.totals["Policy changes"] == 1 and len(made.rows) == 8
    (denial,) = [c for c in cells(made) if c["section"] == "entry" and c["entry"] == "2"]
    assert (denial["rules"], denial["reason"]) == ("consent-needed", "No.")
    text = everything(made)
    assert "Auditor" in text and "ab" * 32 in text and "77" * 32 in text


def test_a_denial_has_the_reason_of_its_answer_and_not_that_of_the_request():
    asked = {"reason": "Please.", "rules": ["rule-a"]}
    made = report(
        [
            line(0, "request", details=asked),
            line(1, "answer", "denied", details=asked | {"answer": "An average is enough."}),
        ]
    )
    assert [row.reason for row in made.rows] == ["Please.", "An average is enough."]
    assert made.rows[1].rules == ("rule-a",)


def test_retention_follows_the_strictest_rule_that_allowed_the_use():
    allowed = {"rules": ["rule-a", "rule-b"]}
    released = {"fields": ["income"]}
    made = report(
        [
            line(0, "decision", "allowed", time="2026-11-19T12:00:00Z", details=allowed),
            line(1, "use", "done", details=released),
            line(2, "use", "done", details=released | {"request_id": "r2", "retention_days": 30}),
            line(3, "use", "done", details=released | {"request_id": "r3"}),
            erased(4, "use", "done"),
            line(5, "use", "failed", details=released),
            line(6, "use", "done", partner=None, details={"program": "decide"}),
        ]
    )
    assert [(kept.row.index, kept.days, kept.due, kept.state) for kept in made.retention] == [
        (1, 5, "2026-11-25T10:00:00Z", "due"),
        (2, 30, "2026-12-20T10:00:00Z", "running"),
        (3, None, "", "unknown"),
        (4, None, "", "erased"),
    ]


def test_no_user_id_and_nothing_unknown_is_in_a_report():
    secret = {"values": [7654321], "income": 7654321, "reason": "Data of anna_1 may not be used."}
    lines = [line(0, "decision", "denied", details=secret), erased(1, "decision", "denied")]
    shown = everything(report(lines))
    assert "anna_1" not in shown and "7654321" not in shown
    assert shown.count(SHOWN) >= 6, "the pseudonym, in both files, also in the reason"
    named = report(lines, names=True)
    assert "anna_1" in csv_of(named).decode() and "anna_1" in pdf_text(pdf_of(named))
    assert [row.person for row in named.rows] == ["anna_1", SHOWN]


FORMULAS = ["=1+1", "+1", "-2+3", "@SUM(A1)", " =1", '=HYPERLINK("http://x","y")', "＝1"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(formula):
    details = {"reason": formula, "purpose": formula, "fields": [formula], "rules": [formula]}
    made = report([line(0, "decision", "denied", partner=formula, details=details)])
    found = [cell for row in cells(made) for cell in row.values()]
    assert sum(cell.strip("' ") == formula.strip() for cell in found) >= 5, "it is still there"
    assert not any(
        cell.strip().startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for cell in found
    )


def test_csv_keeps_to_its_format():
    odd = 'a "quoted", text\nwith lines\r\nand = signs \u202e\x00'
    data = csv_of(report([line(0, "decision", "denied", details={"reason": odd})]))
    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert data.endswith(b"\r\n") and b"\x00" not in data
    assert data.count(b"\n") == data.count(b"\r\n") == len(rows)
    assert any('a "quoted", text with lines and = signs' in cell for row in rows for cell in row)


def test_pdf_is_repeatable_and_reads_no_markup():
    markup = '<img src="file:///etc/passwd"/> <b>bold</b> &amp; <para>'
    rows = [line(i, "decision", "denied", details={"reason": markup}) for i in range(3)]
    data = pdf_of(report(rows))
    assert data == pdf_of(report(rows)) and data.startswith(b"%PDF-")
    assert b"20261129090500+00'00'" in data and b"/Subtype /Image" not in data
    text = "".join(pdf_text(data).split())  # words are divided at the ends of lines
    assert text.count("".join(markup.split())) == 3


def test_longest_details_fit_on_pages():
    names = [f"field_{i}_" + "x" * 70 for i in range(300)]
    details = {"reason": "Ж" * 5000, "fields": names, "rules": names, "purpose": "p" * 500}
    made = report([line(i, "decision", "denied", details=details) for i in range(2)])
    assert len(made.rows[0].reason) == reports.LONGEST_REASON
    text = pdf_text(pdf_of(made))
    assert "field_0_" in text and text.count("…") >= 4


def test_pdf_says_how_many_rows_only_the_csv_has(monkeypatch):
    monkeypatch.setattr(report_pdf, "MOST_PRINTED", 2)
    made = report([line(i, "decision", "allowed") for i in range(5)])
    assert "3 more are in the report as CSV." in pdf_text(pdf_of(made))
    assert len([row for row in cells(made) if row["section"] == "entry"]) == 5


def test_empty_period_is_a_report_too():
    made = report([])
    assert made.totals["Allowed"] == 0 and "Nothing in this period." in pdf_text(pdf_of(made))


@pytest.mark.parametrize(
    ("first", "last"),
    [("2026-11-21", "2026-11-20"), ("x", "2026-11-20"), ("2024-01-01", "2026-01-01"), ("", "")],
)
def test_wrong_period_is_named(first, last):
    with pytest.raises(InvalidRequest, match="day"):
        Period.of_days(first, last)


def test_too_many_entries_are_refused(monkeypatch):
    monkeypatch.setattr(reports, "MOST_ROWS", 3)
    assert len(report([line(i, "decision", "allowed") for i in range(3)]).rows) == 3
    with pytest.raises(InvalidRequest, match="shorter"):
        report([line(i, "decision", "allowed") for i in range(4)])
