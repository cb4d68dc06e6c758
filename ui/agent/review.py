"""The section of the applicant's and of the lender's page with reviews by a person."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from contract.reviews import Outcome
from parties.agent import ApplicationAgent
from parties.joint.review_texts import MOST_CHARACTERS
from parties.reviews import Review, Reviews
from ui.blocks import html as html_block
from ui.error_words import ErrorWords, error_words, words_html
from ui.units import escape, facts_html
from utils.errors import TrisealError

_html = partial(html_block, min_width=250)
Found = Callable[[Any], ApplicationAgent | None]
"""Returns the application that a browser session shows."""

NO_DECISION = ErrorWords("There is no decision to review yet.")
STAGES = {
    "none": "No review was asked for",
    "asked": "Asked; waiting for the lender to begin",
    "under_review": "A person is reviewing the decision",
    "upheld": "Concluded: the decision stands",
    "changed": "Concluded: the lender decides otherwise",
    "approved": "Concluded: a person has approved the application",
    "denied": "Concluded: a person has denied the application",
}
REFERRED = {
    "asked": "Referred to a person; waiting for the lender to begin",
    "under_review": "A person is looking at the application",
}
"""Stages of a referred application, where the words differ."""
UPHOLD, CHANGE = "Uphold the decision", "Decide otherwise"
DENY, APPROVE = "Deny the application", "Approve the application"
APPLICANT_TEXT = (
    "A person at the lender looks at the decision again. Your statement is sealed for the lender; "
    "the server cannot read it. Nothing of your encrypted record is opened by asking. If the "
    "lender needs values from it, it has to ask for each with a request of its own, which you may "
    "refuse."
)
LENDER_TEXT = (
    "Applications that the model refers to a person, and applicants who ask for a person to look "
    "at a decision again. A statement is all that you see; the encrypted record stays closed. Ask "
    "the applicant for the values that you need."
)


class ApplicantReview:
    """The applicant's side: a statement, the review's stage, and its outcome."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews
        _html(f'<p class="ts-note">{escape(APPLICANT_TEXT)}</p>')
        self.panel = _html(stage_panel(None), "ts-panel")
        self.statement = gr.Textbox(
            label="Your statement",
            placeholder="What should the person know?",
            lines=4,
            max_length=MOST_CHARACTERS,
            elem_id="review-statement",
        )
        with gr.Row():
            self.ask = gr.Button("Ask for a review", size="sm", min_width=140, elem_id="review-ask")
            self.refresh = gr.Button("Refresh", size="sm", min_width=90, elem_id="review-refresh")

    def wire(self, section: gr.Accordion, state: Component, found: Found) -> None:
        """Connect the buttons; `found` returns the application of `state`."""

        def look(shown: Any) -> list[Any]:
            return self._answer(found(shown), self._reviews.of)

        def ask(shown: Any, statement: str) -> list[Any]:
            return self._answer(
                found(shown), lambda client_id: self._reviews.ask(client_id, statement or "")
            )

        outputs = [self.panel, self.statement, self.ask]
        for event, handler, inputs, name in (
            (self.ask.click, ask, [state, self.statement], "review_ask"),
            (self.refresh.click, look, [state], "review_look"),
        ):
            event(
                handler, inputs, outputs, show_progress="hidden", concurrency_limit=8, api_name=name
            )

    def _answer(
        self, application: ApplicationAgent | None, call: Callable[[str], Review]
    ) -> list[Any]:
        if application is None or application.member.decision is None:
            return [words_html(NO_DECISION), gr.skip(), gr.skip()]
        try:
            review = call(application.member.client_id)
        except TrisealError as error:
            schema = application.member.public.schema_
            return [words_html(error_words(error, schema)), gr.skip(), gr.skip()]
        # A referred application has a review already, to which a statement can be added.
        asked = review.stage != "none" and not (
            review.referred and review.open and review.statement is None
        )
        return [stage_panel(review), gr.update(visible=not asked), gr.update(visible=not asked)]


class LenderReviews:
    """The lender's side: the list of reviews, and the steps of the one that is chosen."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews
        _html(f'<p class="ts-note">{escape(LENDER_TEXT)}</p>')
        self.table = _html(table_of([]), "ts-panel")
        self.chosen = gr.Dropdown(
            [], label="Application", visible=False, min_width=200, elem_id="review-chosen"
        )
        self.panel = _html("", "ts-panel")
        self.words = gr.Textbox(
            label="Words for the applicant",
            lines=3,
            visible=False,
            max_length=MOST_CHARACTERS,
            elem_id="review-words",
        )
        with gr.Row():
            self.take = gr.Button(
                "Begin the review", size="sm", visible=False, min_width=130, elem_id="review-take"
            )
            self.uphold = gr.Button(
                UPHOLD,
                size="sm",
                visible=False,
                min_width=130,
                elem_id="review-uphold",
            )
            self.change = gr.Button(
                CHANGE, size="sm", visible=False, min_width=130, elem_id="review-change"
            )
            self.refresh = gr.Button("Refresh", size="sm", min_width=90, elem_id="review-refresh")

    @property
    def outputs(self) -> list[Component]:
        return [
            *(self.table, self.chosen, self.panel, self.words),
            *(self.take, self.uphold, self.change),
        ]

    def wire(self, section: gr.Accordion, state: Component, found: Found) -> None:
        """Connect the buttons; the list is of all applications in the lender's folder.

        It is read when `section` is unfolded, since it takes a call to the server for each of them.
        """
        reviews, both = self._reviews, [self.chosen, self.words]

        def look(chosen: str | None) -> list[Any]:
            return self._view(chosen)

        def take(chosen: str | None) -> list[Any]:
            return self._do(chosen, reviews.take)

        def uphold(chosen: str | None, words: str) -> list[Any]:
            return self._conclude(chosen, "upheld", "denied", words)

        def change(chosen: str | None, words: str) -> list[Any]:
            return self._conclude(chosen, "changed", "approved", words)

        for event, handler, inputs, name in (
            (section.expand, look, [self.chosen], "reviews_arrive"),
            (self.refresh.click, look, [self.chosen], "reviews_look"),
            (self.chosen.input, look, [self.chosen], "reviews_choose"),
            (self.take.click, take, [self.chosen], "review_take"),
            (self.uphold.click, uphold, both, "review_uphold"),
            (self.change.click, change, both, "review_change"),
        ):
            event(
                handler,
                inputs,
                self.outputs,
                show_progress="hidden",
                concurrency_limit=8,
                api_name=name,
            )

    def _conclude(
        self, chosen: str | None, of_review: Outcome, of_referral: Outcome, words: str | None
    ) -> list[Any]:
        def conclude(client_id: str) -> Review:
            referred = self._reviews.of(client_id).referred
            outcome = of_referral if referred else of_review
            return self._reviews.conclude(client_id, outcome, words or "")

        return self._do(chosen, conclude)

    def _do(self, chosen: str | None, call: Callable[[str], Review]) -> list[Any]:
        try:
            if chosen:
                call(chosen)
        except TrisealError as error:
            return [gr.skip(), gr.skip(), self._refusal(error), *[gr.skip()] * 4]
        return self._view(chosen)

    def _view(self, chosen: str | None) -> list[Any]:
        try:
            found = self._reviews.all()
        except TrisealError as error:
            return [self._refusal(error), *[gr.skip()] * 6]
        one = next((r for r in found if r.client_id == chosen), found[0] if found else None)
        waits = one is not None and one.open
        choices = [(f"{r.client_id[:8]}: {stage_words(r)}", r.client_id) for r in found]
        named = (DENY, APPROVE) if one is not None and one.referred else (UPHOLD, CHANGE)
        return [
            table_of(found),
            gr.update(choices=choices, value=one and one.client_id, visible=len(found) > 1),
            "" if one is None else stage_panel(one),
            gr.update(visible=waits) if waits else gr.update(visible=False, value=""),
            gr.update(visible=one is not None and one.stage == "asked"),
            *(gr.update(visible=waits, value=name) for name in named),
        ]

    def _refusal(self, error: TrisealError) -> str:
        return words_html(error_words(error, self._reviews.schema))


def stage_words(review: Review) -> str:
    """Return the stage of a review in words."""
    own = REFERRED.get(review.stage) if review.referred else None
    return own or STAGES[review.stage]


def stage_panel(review: Review | None) -> str:
    """Return the stage of a review with its times and texts."""
    if review is None or review.stage == "none":
        return f'<p class="ts-empty">{STAGES["none"]}.</p>'
    facts = [
        ("Stage", stage_words(review)),
        ("Referred on" if review.referred else "Asked on", _day(review.asked)),
        ("Outcome due by", _day(review.due)) if review.open else ("Closed on", _day(review.closed)),
    ]
    if review.statement is not None:
        facts.append(("Statement", review.statement))
    if review.words is not None:
        facts.append(("Lender's words", review.words))
    if review.unreadable:
        unproven = "" if review.open else " The outcome is not confirmed: ask the lender."
        facts.append(("Text", f"A text could not be opened on this machine.{unproven}"))
    return facts_html(facts)


def table_of(reviews: list[Review]) -> str:
    """Return all reviews as a table, those that are overdue marked."""
    if not reviews:
        return '<p class="ts-empty">No application waits for a person.</p>'
    now = datetime.now(UTC)
    rows = "".join(
        f"<tr><td><code>{review.client_id[:8]}</code></td><td>{escape(stage_words(review))}</td>"
        f"<td>{_due(review, now)}</td></tr>"
        for review in reviews
    )
    return (
        '<div class="ts-scroll" tabindex="0" role="region" aria-label="Reviews">'
        '<table class="ts-table"><thead><tr><th scope="col">Application</th>'
        '<th scope="col">Stage</th><th scope="col">Due</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _due(review: Review, now: datetime) -> str:
    if not review.open:
        return "-"
    mark = ' <b class="ts-overdue">overdue</b>' if review.overdue(now) else ""
    return f"{_day(review.due)}{mark}"


def _day(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d}"
