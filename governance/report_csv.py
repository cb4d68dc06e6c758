"""A report as one CSV file (RFC 4180), for spreadsheets and programs.

Every line has the same columns; `section` says what it is about. Spreadsheets run a cell as a
formula that begins with `=`, `+`, `-`, `@`, a tab or a return, so that such a text gets an
apostrophe in front.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from governance.reports import Report, Row

COLUMNS = (
    *("section", "name", "value", "entry", "time", "kind", "status", "partner", "person"),
    *("purpose", "action", "fields", "rules", "reason"),
    *("allowed", "denied", "uses", "revocations", "retention_days", "retention_until"),
    "retention_state",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_of(report: Report) -> bytes:
    """Return the file, UTF-8 with CRLF line ends; every cell is quoted."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, restval="", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writeheader()
    for line in _lines(report):
        writer.writerow({name: _safe(str(value)) for name, value in line.items()})
    return file.getvalue().encode()


def _lines(report: Report) -> Iterator[dict[str, object]]:
    health, cosigned = report.health, report.health.cosigned
    facts = {
        "first and last day (UTC)": report.period.days,
        "made at": report.made_at,
        "people": report.people,
        "policy version": report.policy_version,
        "log size": health.size,
        "log root": health.root,
        "audit": "healthy" if health.healthy else f"fault: {health.fault}",
        "audited entries": health.entries_checked,
        "audited at": health.checked_at,
        "cosigned size": "" if cosigned is None else cosigned.size,
        "cosigned root": "" if cosigned is None else cosigned.root,
    }
    facts |= {} if cosigned is None else {f"cosigned by {n}": t for n, t in cosigned.by.items()}
    for name, value in facts.items():
        yield {"section": "log", "name": name, "value": value}
    for name, number in report.totals.items():
        yield {"section": "total", "name": name, "value": number}
    for count in report.counts:
        yield {
            "section": "count",
            "time": count.day,
            "partner": count.partner,
            "purpose": count.purpose,
            "allowed": count.allowed,
            "denied": count.denied,
            "uses": count.uses,
            "revocations": count.revocations,
        }
    for row in report.rows:
        yield {"section": "entry", **_cells(row)}
    for kept in report.retention:
        yield {
            "section": "retention",
            **_cells(kept.row),
            "retention_days": "" if kept.days is None else kept.days,
            "retention_until": kept.due,
            "retention_state": kept.state,
        }


def _cells(row: Row) -> dict[str, object]:
    return {
        "entry": row.index,
        "time": row.time,
        "kind": row.kind,
        "status": row.status,
        "partner": row.partner,
        "person": row.person,
        "purpose": row.purpose,
        "action": row.action,
        "fields": " ".join(row.fields),
        "rules": " ".join(row.rules),
        "reason": row.reason,
    }


def _safe(text: str) -> str:
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
