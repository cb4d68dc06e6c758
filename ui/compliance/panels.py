"""The parts of the compliance page as HTML; everything from the server is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contract.governance import PolicyRule, PolicyState
from governance.purposes import purpose_words
from governance.reports import Health, Report, Row, totals_of
from parties.results import PROGRAM_WORDS
from ui.compliance.feed import MOST_KEPT, News
from ui.units import escape, facts_html

MOST_SHOWN = 60
"""Entries that the page shows at once."""
MOST_NAMED = 6
"""Fields of an entry that are named."""
NOT_AUDITED = '<p class="ts-empty">Not audited from this page yet.</p>'
NO_REPORT = '<p class="ts-empty">No report made yet.</p>'
_GOOD = ("allowed", "done", "resumed")
_BAD = ("denied", "failed")
_MASKS = {
    "clear": "not masked",
    "redact": "redacted",
    "partial": "last characters",
    "token": "a code per partner",
    "band": "a range",
    "hash": "a salted hash",
    "drop": "left out",
}


def introduction(server: str) -> str:
    """Return the page header."""
    return f"""
<header class="ts-head">
  <p class="ts-brand">Triseal</p>
  <h1>Compliance</h1>
  <p class="ts-lead">Who asked for which data, for which purpose, what was allowed, denied and used.
  People appear by their pseudonyms in the log; no value of anybody's data is here.</p>
  <p class="ts-chips"><span>Server: {escape(server)}</span><span>All times in UTC</span></p>
</header>"""


def problem(text: str) -> str:
    """Return a problem that the page should show; empty if there is none."""
    return f'<p class="ts-stale" role="status">{escape(text)}</p>' if text else ""


def summary(rows: Sequence[Row]) -> str:
    """Return the totals of the shown entries."""
    items = "".join(
        f"<div><b>{number:,}</b><span>{escape(name)}</span></div>"
        for name, number in totals_of(rows).items()
    )
    return f'<div class="ts-ratios ts-totals">{items}</div>'


def entries_table(rows: Sequence[Row], news: News) -> str:
    """Return the newest matching entries as a table."""
    if not news.entries:
        if news.problem:
            return '<p class="ts-empty">Nothing could be read from the log.</p>'
        return (
            '<p class="ts-empty">The log is empty. A request appears here when a partner asks for '
            "a permit, or a party agrees to a program.</p>"
        )
    if not rows:
        return '<p class="ts-empty">No entry matches these filters.</p>'
    heads = ("Entry", "Time", "What", "Outcome", "Partner", "Person", "Purpose and fields", "Why")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(_row(row) for row in rows[:MOST_SHOWN])
    return (
        f'<p class="ts-note">{_shown(len(rows), news)}</p><div class="ts-entries" tabindex="0" '
        f'role="region" aria-label="Entries"><table class="ts-table"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def policy_table(policy: PolicyState) -> str:
    """Return the rules of the policy in words."""
    rows = "".join(_rule(rule) for rule in policy.rules)
    return (
        '<p class="ts-note">Nothing is allowed without a rule. Version <code>'
        f"{escape(policy.version[:16])}…</code>; {len(policy.rules)} rules.</p>"
        '<div class="ts-entries" tabindex="0" role="region" aria-label="Rules">'
        '<table class="ts-table ts-rules"><thead><tr><th scope="col">Rule</th>'
        '<th scope="col">In words</th><th scope="col">Obligations</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def health_panel(health: Health) -> str:
    """Return the result of an audit and the last cosigned checkpoint."""
    told = (
        '<p class="ts-same" role="status">✓ Healthy: entries, hashes, details and checkpoints '
        "belong together.</p>"
        if health.healthy
        else f'<p class="ts-alarm" role="status">✕ {escape(health.fault or "Damaged")}</p>'
    )
    cosigned = health.cosigned
    facts = [
        ("Audited at", _time(health.checked_at)),
        ("Entries checked", f"{health.entries_checked:,} of {health.size:,}"),
        ("Root", f"{health.root[:16]}…"),
    ]
    if cosigned is None:
        facts.append(("Last cosigned checkpoint", "none yet"))
    else:
        behind = max(0, health.size - cosigned.size)
        by = ", ".join(f"{name}, {_time(time)}" for name, time in cosigned.by.items())
        facts += [
            ("Last cosigned checkpoint", f"{cosigned.size:,} entries ({behind:,} since)"),
            ("Cosigned by", by or "nobody"),
        ]
    return told + facts_html(facts)


def report_panel(report: Report) -> str:
    """Return what a report contains."""
    due = sum(kept.state == "due" for kept in report.retention)
    facts = [
        ("Period", report.period.days),
        ("People", report.people),
        ("Entries", f"{len(report.rows):,}"),
        *((name, f"{number:,}") for name, number in report.totals.items() if number),
        ("Results under retention", f"{len(report.retention):,}"),
        ("Results to delete now", f"{due:,}"),
    ]
    return facts_html(facts)


def _shown(count: int, news: News) -> str:
    words = f"{count:,} matching entr{'y' if count == 1 else 'ies'}"
    if count > MOST_SHOWN:
        words += f", the newest {MOST_SHOWN} shown"
    words += f"; the log has {news.size:,}"
    if news.size > MOST_KEPT:
        words += f", of which this page has the newest {MOST_KEPT:,}. A report covers any period"
    return words + "."


def _row(row: Row) -> str:
    action = PROGRAM_WORDS.get(row.action, row.action)
    what = ": ".join(filter(None, (row.kind.replace("_", " "), action)))
    person = f"<code>{escape(row.person)}</code>" if row.person else ""
    if row.erased:
        person += " <em>erased</em>"
    purpose = purpose_words(row.purpose)
    fields = (
        f'<small class="ts-fieldnames" title="{escape(", ".join(row.fields))}">'
        f"{escape(_some(row.fields))}</small>"
    )
    cells = (
        ("Time", escape(_time(row.time))),
        ("What", escape(what)),
        ("Outcome", _outcome(row.status)),
        ("Partner", escape(row.partner)),
        ("Person", person),
        ("Purpose", escape(purpose) + (fields if row.fields else "")),
        ("Why", _why(row)),
    )
    body = "".join(f'<td data-who="{name}">{text}</td>' for name, text in cells)
    return f'<tr data-entry="{row.index}"><th scope="row">{row.index}</th>{body}</tr>'


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _why(row: Row) -> str:
    rules = f"<code>{escape(', '.join(row.rules))}</code>" if row.rules else ""
    return " ".join(filter(None, (rules, escape(row.reason))))


def _outcome(status: str) -> str:
    if not status:
        return ""
    kind = "good" if status in _GOOD else "bad" if status in _BAD else "mid"
    mark = {"good": "✓", "bad": "✕", "mid": "•"}[kind]
    return f'<span class="ts-outcome {kind}">{mark} {escape(status)}</span>'


def _rule(rule: PolicyRule) -> str:
    kind, mark = ("good", "✓ permits") if rule.effect == "permit" else ("bad", "✕ forbids")
    return (
        f'<tr><th scope="row"><code>{escape(rule.id)}</code><small class="ts-fieldnames">'
        f"{escape(rule.file)}, line {rule.line}</small></th>"
        f'<td data-who="In words"><span class="ts-outcome {kind}">{mark}</span> '
        f'{escape(rule.reason)}</td><td data-who="Obligations">{_obligations(rule.obligations)}'
        "</td></tr>"
    )


def _obligations(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "–"
    words = [
        f"kept at most {found.get('retention_days')} days",
        f"at most {_count(found.get('rate_per_hour'))} an hour, "
        f"{_count(found.get('rate_per_day'))} a day",
    ]
    masks = {**(found.get("masks") or {}), **(found.get("field_masks") or {})}
    if not masks:
        words.append(f"statistics on {_count(found.get('least_rows'))} rows or more")
    if masks:
        each = (f"{name.replace('_', ' ')}: {_mask(mask)}" for name, mask in masks.items())
        words.append(f"masks: {', '.join(each)}")
    return escape("; ".join(words))


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def _mask(mask: Any) -> str:
    kind = str(mask.get("kind")) if isinstance(mask, Mapping) else str(mask)
    return _MASKS.get(kind, kind)


def _time(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")
