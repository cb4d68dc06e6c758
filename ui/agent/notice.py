"""The section of the applicant's page with the notice of a denial."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr
from gradio.components import Component

from notices.changes import changes_of
from notices.content import NoticeContent, notice_content
from notices.html import KINDS, LANGUAGES, notice_html
from notices.pdf import notice_pdf
from parties.agent import ApplicationAgent
from parties.reviews import Review, Reviews
from settings import get_settings
from ui.blocks import html as html_block
from ui.error_words import (
    ASK_OPERATOR,
    UNEXPECTED_DETAIL,
    ErrorWords,
    error_words,
    words_html,
)
from ui.units import escape
from utils.errors import TrisealError

log = logging.getLogger(__name__)

_html = partial(html_block, min_width=250)
Found = Callable[[Any], ApplicationAgent | None]
"""Returns the application that a browser session shows."""
FAILED = ErrorWords(f"The notice could not be made. {ASK_OPERATOR}", UNEXPECTED_DETAIL)


class NoticeSection:
    """The notice's kind and language, its text, and its files; created inside `gr.Blocks`."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews
        _html(
            '<p class="ts-note">For a denial: what was decided, by whom and with which data, the '
            "principal reasons, what would have changed it, and your rights. Made in this "
            "process; nothing is sent.</p>"
        )
        with gr.Row(elem_classes="ts-bar"):
            self.kind = gr.Dropdown(
                [(label, kind) for kind, label in KINDS.items()],
                value=next(iter(KINDS)),
                label="Notice",
                min_width=200,
                elem_id="notice-kind",
            )
            self.language = gr.Dropdown(
                [(label, language) for language, label in LANGUAGES.items()],
                value=next(iter(LANGUAGES)),
                label="Language",
                min_width=120,
                elem_id="notice-language",
            )
        self.button = gr.Button("Show the notice", size="sm", min_width=200, elem_id="notice")
        self.text = _html("", "ts-notice-frame")
        with gr.Row():
            self.pdf = gr.DownloadButton(
                "Download as PDF", size="sm", visible=False, min_width=140, elem_id="notice-pdf"
            )
            self.page = gr.DownloadButton(
                "Download as HTML", size="sm", visible=False, min_width=140, elem_id="notice-html"
            )

    def wire(self, state: Component, found: Found) -> None:
        """Connect the button and both choices; `found` returns the application of `state`."""

        def show(shown: Any, kind: str, language: str) -> list[Any]:
            return show_notice(found(shown), kind, language, self._reviews)

        gr.on(
            [self.button.click, self.kind.input, self.language.input],
            show,
            [state, self.kind, self.language],
            [self.text, self.pdf, self.page],
            show_progress="hidden",
            concurrency_limit=8,
            api_name="notice",
        )


def no_notice(review: Review) -> str:
    """Return the reason why a referred application that is not denied needs no notice."""
    if review.stage == "approved":
        return "A person of the lender approved the application; no notice is due."
    return "A person of the lender decides; a notice is due only if the application is denied."


def show_notice(
    application: ApplicationAgent | None, kind: str, language: str, reviews: Reviews
) -> list[Any]:
    """Return the notice as HTML, and both files, or the reason why there is none."""
    decision = None if application is None else application.member.decision
    if application is None or decision is None:
        return _nothing("There is no decision yet.")
    member = application.member
    schema = member.public.schema_
    if decision.approved:
        return _nothing(f"The application was {schema.decision.approved}; no notice is due.")
    person_words = None
    try:
        if decision.referred:
            review = reviews.of(member.client_id)
            if review.stage != "denied":
                return _nothing(no_notice(review))
            person_words = review.words or ""
        content = content_of(application, language, person_words)
        text = notice_html(content, kind, language, get_settings().notice_templates)
        pdf = notice_pdf(text, content.day)
    except TrisealError as error:
        return [words_html(error_words(error, schema)), *_no_files()]
    except Exception:
        log.exception("a notice could not be made")
        return [words_html(FAILED), *_no_files()]
    # Inside Gradio's own folder, which is removed when the page stops.
    folder = Path(mkdtemp(prefix="notice-", dir=os.environ.get("GRADIO_TEMP_DIR")))
    name = f"notice-{kind}-{language}-{member.client_id[:8]}"
    files = folder / f"{name}.pdf", folder / f"{name}.html"
    files[0].write_bytes(pdf)
    files[1].write_text(text, encoding="utf-8")
    # In a frame of its own, so that its style and the page's stay apart; it has no scripts.
    frame = (
        f'<iframe title="Notice" sandbox="" srcdoc="{escape(text)}" '
        'style="width:100%;height:32rem;border:1px solid var(--border-color-primary);'
        'border-radius:8px;background:#fff"></iframe>'
    )
    missing = ""
    if content.reasons is None or not content.tried:
        parts = [
            *(["the reasons"] if content.reasons is None else []),
            *(["the explanation"] if not content.tried else []),
        ]
        missing = (
            f'<p class="ts-note">Without {" and ".join(parts)} so far: open them above, then show '
            "the notice again.</p>"
        )
    return [
        missing + frame,
        *(gr.DownloadButton(value=str(file), visible=True) for file in files),
    ]


def content_of(
    application: ApplicationAgent, language: str, person_words: str | None
) -> NoticeContent:
    """Return the content of a notice of today, from the results that this party has opened.

    `person_words` are those of the person who denied a referred application, else None.
    """
    member = application.member
    schema = member.public.schema_
    reasons, explained = member.reasons, member.explanation
    changes, tried = ((), ()) if explained is None else changes_of(schema, explained.explanation)
    return notice_content(
        schema,
        member.client_id,
        datetime.now(UTC).date(),
        None if reasons is None else reasons.reasons,
        language,
        changes,
        tried,
        None if member.state is None else datetime.fromisoformat(member.state.expires_at).date(),
        person_words,
    )


def _nothing(text: str) -> list[Any]:
    return [f'<p class="ts-empty">{escape(text)}</p>', *_no_files()]


def _no_files() -> list[Any]:
    return [gr.DownloadButton(value=None, visible=False) for _ in range(2)]
