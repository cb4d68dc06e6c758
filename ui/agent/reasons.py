"""The reasons on one party's page: its button, its panel, and who learns them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engines.interface import REASONS, PublicModel
from parties.agent import ApplicationAgent
from ui.agent.panels import agreement, empty, named
from ui.reasons import APPROVED, NOT_STATED, reasons_html
from ui.units import escape


def reasons_panel(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the parties that have agreed or, once opened, the reasons; who else learns them."""
    if application is None:
        return empty(NOT_STATED)
    member = application.member
    if member.reasons is not None:
        return reasons_html(member.reasons)
    if not member.reads(REASONS) and application.answered(REASONS):
        readers = member.readers_of(REASONS)
        verb = "learns" if len(readers) == 1 else "learn"
        text = f"Done. Only {named(readers, public)} {verb} the reasons."
        return f'<p class="ts-says" role="status">{escape(text)}</p>'
    if member.decision is not None and member.decision.approved and not _has_agreed(application):
        return empty(APPROVED)
    return agreement(application, REASONS, public)


def reasons_button(application: ApplicationAgent | None, public: PublicModel) -> Any:
    """Return the update of the button; hidden once agreed, and if no reasons are needed."""
    if REASONS not in public.programs:
        return gr.update(visible=False)
    if application is None:
        return gr.update(visible=True)
    decision = application.member.decision
    needed = decision is None or not decision.approved
    return gr.update(visible=needed and not _has_agreed(application))


def _has_agreed(application: ApplicationAgent) -> bool:
    return application.member.party in application.member.agreed_by(REASONS)
