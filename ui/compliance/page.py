"""The compliance page: a live view of the log, charts, the policy, the log's health, reports."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import gradio as gr
from gradio.components import Component

from governance.report_csv import csv_of
from governance.report_pdf import pdf_of
from governance.reports import Health, Period, Report, report_of
from settings import Settings
from ui.blocks import html, plot, section, step_button
from ui.compliance import panels
from ui.compliance.charts import TITLES, plots_of
from ui.compliance.feed import Feed, News
from ui.compliance.filters import (
    KINDS,
    STATUSES,
    TIMES,
    Filters,
    partner_choices,
    purpose_choices,
    word_choices,
)
from ui.compliance.operator_client import OperatorClient
from ui.error_words import error_words, words_html
from ui.panels import heading
from ui.plots import blank_figure
from ui.single.actions import shown_at_once
from utils.errors import TrisealError

TICK_SECONDS = 5.0
REPORT_SECONDS = 3600.0
"""Time for which a report can be downloaded before its files are removed."""
DEFAULT_DAYS = 7
HEAD = """<script>
// A hidden tab asks for nothing.
document.addEventListener("visibilitychange", () => {
  document.querySelector(document.hidden ? "#pause" : "#resume")?.click();
});
</script>"""

View = list[Any]


@dataclass
class Shown:
    """The view of one browser session: the feed's serial number, the filters, the policy."""

    serial: int = -1
    filters: Filters = field(default_factory=Filters)
    policy_entry: int = -2


def build_compliance_page(settings: Settings, client: OperatorClient | None = None) -> gr.Blocks:
    """Build the page for the server in the settings."""
    client = OperatorClient.from_settings(settings) if client is None else client
    with gr.Blocks(title="Triseal: compliance", analytics_enabled=False) as page:
        _CompliancePage(client).wire(page)
    return page


class _CompliancePage:
    """The components and their handlers, created inside `gr.Blocks` from top to bottom."""

    def __init__(self, client: OperatorClient) -> None:
        self.client, self.feed = client, Feed(client)
        self.health: Health | None = None
        self.state = gr.State(Shown())
        self.timer = gr.Timer(TICK_SECONDS)
        html(panels.introduction(client.url))
        self.problem = html("")
        with section():
            html(heading(None, "Requests, decisions and uses", "Kept up to date; newest first."))
            self._filters()
            self.summary = html(panels.summary(()))
            with gr.Row(elem_classes="ts-charts"):
                charts = [self._chart(title) for title in TITLES]
            self.plots = [part for chart in charts for part in chart]
            self.table = html(panels.entries_table((), News()))
        with section():
            html(
                heading(
                    None,
                    "The log",
                    "The server compares all stored entries with the hashes, the details and the "
                    "signed checkpoints. A cosigner signs a checkpoint only if it continues the "
                    "last one.",
                )
            )
            with gr.Row(elem_classes="ts-doing"):
                self.audit_button = step_button("Audit the log", "audit", min_width=180)
                self.audited = html(panels.NOT_AUDITED, "ts-panel")
        with section():
            html(
                heading(
                    None,
                    "Report for a period",
                    "Requests, decisions and their reasons, uses, revocations, erasures, changes "
                    "of the policy, retention of results, and the state of the log.",
                )
            )
            self._report()
        with section():
            html(heading(None, "Policy", "The rules by which the server decides, in words."))
            self.policy = html('<p class="ts-empty">Not read yet.</p>')
        self.pause = gr.Button("Pause", elem_id="pause", elem_classes="ts-unseen")
        self.resume = gr.Button("Resume", elem_id="resume", elem_classes="ts-unseen")

    def _filters(self) -> None:
        with gr.Row(elem_classes=["ts-fields", "ts-filters"]):
            self.filters: list[Component] = [
                _dropdown("Partner", partner_choices(()), "filter-partner"),
                _dropdown("Purpose", purpose_choices(()), "filter-purpose"),
                gr.Textbox(
                    label="Person",
                    placeholder="pseudonym or id",
                    max_lines=1,
                    max_length=128,
                    elem_id="filter-person",
                    min_width=150,
                ),
                _dropdown("Kind", word_choices("Any kind", KINDS), "filter-kind"),
                _dropdown("Outcome", word_choices("Any outcome", STATUSES), "filter-status"),
                _dropdown("Time", [(name, name) for name in TIMES], "filter-time", "Any time"),
            ]

    def _chart(self, title: str) -> tuple[gr.Plot, gr.HTML]:
        with gr.Column(min_width=290):
            html(f'<h3 class="ts-chart">{title}</h3>')
            return plot(blank_figure()), html("")

    def _report(self) -> None:
        today = datetime.now(UTC).date()
        with gr.Row(elem_classes=["ts-fields", "ts-filters"]):
            self.first = gr.Textbox(
                label="First day",
                value=str(today - timedelta(days=DEFAULT_DAYS - 1)),
                max_lines=1,
                max_length=10,
                elem_id="first-day",
                min_width=130,
            )
            self.last = gr.Textbox(
                label="Last day",
                value=str(today),
                max_lines=1,
                max_length=10,
                elem_id="last-day",
                min_width=130,
            )
            self.names = gr.Checkbox(
                label="Show user ids",
                info="except of erased people",
                elem_id="names",
                min_width=200,
            )
        with gr.Row(elem_classes="ts-doing"):
            self.report_button = step_button("Make the report", "make-report", min_width=180)
            self.reported = html(panels.NO_REPORT, "ts-panel ts-reported")
        with gr.Row():
            self.downloads = [
                gr.DownloadButton(
                    f"Download {kind}", visible=False, min_width=180, scale=0, elem_id=elem_id
                )
                for kind, elem_id in (("PDF", "report-pdf"), ("CSV", "report-csv"))
            ]

    def arrive(self, shown: Shown, *filters: str) -> View:
        """Return the whole first view."""
        shown.serial, shown.policy_entry = -1, -2
        audited = gr.skip() if self.health is None else panels.health_panel(self.health)
        return [*self.look(shown, *filters), audited]

    def look(self, shown: Shown, *filters: str) -> View:
        """Return what has changed in the log or in the filters since the last view."""
        news, wanted = self.feed.look(), Filters(*(str(each or "") for each in filters))
        policy = self._policy(shown, news)
        if (news.serial, wanted) == (shown.serial, shown.filters):
            return [shown, *_skipped(2 + len(self.plots) + 3), policy]
        new = news.serial != shown.serial
        shown.serial, shown.filters = news.serial, wanted
        rows = [entry.row for entry in wanted.matching(news.entries, datetime.now(UTC))]
        return [
            shown,
            panels.problem(news.problem),
            gr.update(choices=partner_choices(news.entries)) if new else gr.skip(),
            gr.update(choices=purpose_choices(news.entries)) if new else gr.skip(),
            panels.summary(rows),
            *plots_of(rows),
            panels.entries_table(rows, news),
            policy,
        ]

    def _policy(self, shown: Shown, news: News) -> Any:
        """Return the rules if the log has a change of the policy that is not shown yet."""
        if shown.policy_entry == news.policy_entry:
            return gr.skip()
        try:
            found = panels.policy_table(self.client.policy())
        except TrisealError as error:
            return words_html(error_words(error), "ts-stale", "status")
        shown.policy_entry = news.policy_entry
        return found

    def audit(self) -> str:
        """Have the server audit the log; return the result."""
        try:
            self.health = self.client.health()
        except TrisealError as error:
            return words_html(error_words(error), "ts-stale", "status")
        return panels.health_panel(self.health)

    def report(self, first: str, last: str, names: bool) -> View:
        """Make the report for a period; return what it contains, and its files."""
        try:
            return self._made_report(first, last, names)
        except TrisealError as error:
            files = [gr.update(visible=False) for _ in self.downloads]
            return [words_html(error_words(error), "ts-stale", "status"), *files, gr.skip()]

    def _made_report(self, first: str, last: str, names: bool) -> View:
        period = Period.of_days(first, last)
        policy = self.client.policy()
        self.health = self.client.health()
        report = report_of(
            self.client.period(period),
            period,
            self.health,
            retention_days={
                rule.id: int(rule.obligations["retention_days"])
                for rule in policy.rules
                if rule.obligations and "retention_days" in rule.obligations
            },
            policy_version=policy.version,
            made_at=datetime.now(UTC),
            names=bool(names),
        )
        files = [gr.update(value=str(path), visible=True) for path in _written(report)]
        return [panels.report_panel(report), *files, panels.health_panel(self.health)]

    def wire(self, page: gr.Blocks) -> None:
        """Connect the filters, buttons and the timer to their handlers."""
        inputs = [self.state, *self.filters]
        seen = [
            *(self.state, self.problem, *self.filters[:2], self.summary, *self.plots),
            *(self.table, self.policy),
        ]
        looks = [(self.timer.tick, "tick"), (self.resume.click, "resume")]
        looks += [(each.change, f"filter_{i}") for i, each in enumerate(self.filters)]
        for event, name in looks:
            event(
                shown_at_once(self.look),
                inputs,
                seen,
                show_progress="hidden",
                trigger_mode="once" if name == "tick" else "always_last",
                concurrency_limit=8,
                api_name=name,
            )
        page.load(
            shown_at_once(self.arrive),
            inputs,
            [*seen, self.audited],
            show_progress="hidden",
            concurrency_limit=8,
            api_name="arrive",
        )
        for button, active in ((self.pause, False), (self.resume, True)):
            button.click(
                lambda active=active: gr.Timer(active=active),
                None,
                self.timer,
                show_progress="hidden",
                concurrency_limit=8,
                api_name="run_timer" if active else "stop_timer",
            )
        self.audit_button.click(
            shown_at_once(self.audit),
            None,
            self.audited,
            show_progress="minimal",
            concurrency_limit=1,
            api_name="audit",
        )
        self.report_button.click(
            shown_at_once(self.report),
            [self.first, self.last, self.names],
            [self.reported, *self.downloads, self.audited],
            show_progress="minimal",
            concurrency_limit=1,
            api_name="report",
        )


def _dropdown(
    label: str, choices: list[tuple[str, str]], elem_id: str, value: str = ""
) -> gr.Dropdown:
    return gr.Dropdown(
        choices,
        value=value,
        label=label,
        elem_id=elem_id,
        min_width=150,
        # A partner or a purpose that is chosen may leave the choices with an erasure.
        allow_custom_value=True,
    )


def _skipped(count: int) -> Sequence[Any]:
    return [gr.skip()] * count


def _written(report: Report) -> tuple[Path, Path]:
    """Write the files of a report into the page's private folder; return their paths.

    Folders of earlier reports are removed after REPORT_SECONDS.
    """
    own = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    for old in own.glob("report-*"):
        if time.time() - old.stat().st_mtime > REPORT_SECONDS:
            rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="report-", dir=own))
    name = f"triseal {report.period.days}".replace(" ", "-")
    found = (folder / f"{name}.pdf", folder / f"{name}.csv")
    for path, data in zip(found, (pdf_of(report), csv_of(report)), strict=True):
        path.write_bytes(data)
    return found
