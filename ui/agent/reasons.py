"""The reasons on one party's page: whether they are offered, and their panel."""

from __future__ import annotations

from engines.interface import REASONS, PublicModel
from parties.agent import ApplicationAgent
from ui.agent.panels import agreement, empty
from ui.reasons import APPROVED, NOT_STATED, has_reasons, reasons_html


def reasons_panel(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the parties that have agreed or, once opened, the reasons; who else learns them."""
    if application is None:
        return empty(NOT_STATED)
    member = application.member
    if member.reasons is not None:
        return reasons_html(member.reasons)
    if member.decision is not None and member.decision.approved and not _has_agreed(application):
        return empty(APPROVED)
    return agreement(application, REASONS, public)


def reasons_offered(application: ApplicationAgent | None, public: PublicModel) -> bool:
    """Return True if the model states reasons, and the application is not approved."""
    decision = None if application is None else application.member.decision
    return has_reasons(public) and (decision is None or not decision.approved)


def _has_agreed(application: ApplicationAgent) -> bool:
    return application.member.party in application.member.agreed_by(REASONS)
