"""The reasons for a denial as HTML, for the single page and the parties' pages."""

from __future__ import annotations

from engines.interface import REASONS, PublicModel
from parties.results import ReasonsOpened
from ui.units import escape, facts_html, show_fetched, show_seconds

TITLE = "The reasons"
AGAINST = "The principal reasons for a denial, at most four, in the lender's words."
NOT_STATED = "Not stated yet."
APPROVED = "The application was approved: no reasons are needed."


def has_reasons(public: PublicModel) -> bool:
    """Return True if the server's model states reasons."""
    return REASONS in public.programs


def reasons_html(found: ReasonsOpened) -> str:
    """Return the reasons in the schema's wording, or why there are none, with sizes and times."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.sentences)
    listed = f'<ol class="ts-reasons">{items}</ol>' if items else ""
    facts = [
        ("Evaluated in", show_seconds(found.run_seconds)),
        ("Fetched and opened", show_fetched(found.size, found.seconds)),
    ]
    kind = "ts-note" if listed else "ts-says"
    return f'{listed}<p class="{kind}" role="status">{escape(found.remark)}</p>{facts_html(facts)}'


def reasons_limit(public: PublicModel) -> list[str]:
    """Return the sentence on what opened reasons reveal; empty if the model states none."""
    if not has_reasons(public):
        return []
    if public.masked(REASONS):
        bits = public.programs[public.final(REASONS)].score_bits
        return [
            "How strongly each reason counts against the applicant, once the reasons of a denial "
            f"are opened: one of {2**bits} levels for each reason, to the readers of the reasons "
            "alone."
        ]
    return [
        "The points of every reason, once the reasons of a denial are opened, to the readers of "
        "the reasons alone. Those of many chosen records would reveal something about the model."
    ]
