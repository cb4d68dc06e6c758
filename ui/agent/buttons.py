"""The buttons of one party's page: which can be pressed now, and why the others cannot."""

from __future__ import annotations

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from parties.agent import ApplicationAgent
from ui.agent import panels as agent_panels
from ui.agent.reasons import reasons_offered
from ui.buttons import ButtonState, with_one_primary

JOIN, AGAIN, SEND, LEAVE = "join", "again", "send", "leave"
AGREE = {program: f"agree-{program}" for program in (DECIDE, EXPLAIN, REASONS)}
STEPS = (JOIN, AGAIN, SEND, *AGREE.values())
"""The buttons of which one is primary, the earliest first."""
JOIN_FIRST = "Join an application first: enter this party's join code above."
RESTORE = (
    "The values above differ from those that were sent, which are fixed. Restore them, or open a "
    "new application."
)
STAYS = (
    "This application is under way. It stays in the list of applications, where you can open it "
    "again. Leave it for now?"
)


def button_states(
    application: ApplicationAgent | None, public: PublicModel, changed: bool
) -> dict[str, ButtonState]:
    """Return the states by `elem_id`; `changed` if the fields differ from what was sent."""
    over = application is None or bool(application.over)
    stopped = application is not None and agent_panels.stopped_run(application) is not None
    states = {
        JOIN: ButtonState(visible=over),
        AGAIN: ButtonState(visible=stopped and not over),
        SEND: ButtonState(_not_to_send(application, public)),
        AGREE[DECIDE]: ButtonState(
            _not_to_decide(application, public, changed), visible=not _agreed(application, DECIDE)
        ),
        AGREE[EXPLAIN]: ButtonState(
            _not_after_decision(application, public), visible=not _agreed(application, EXPLAIN)
        ),
        AGREE[REASONS]: ButtonState(
            _not_after_decision(application, public),
            visible=reasons_offered(application, public) and not _agreed(application, REASONS),
        ),
    }
    going_on = application is not None and not over and not _decided(application)
    leave = ButtonState(
        visible=application is not None, question=STAYS if going_on else "", yes="Leave it"
    )
    return {**with_one_primary(states), LEAVE: leave}


def _agreed(application: ApplicationAgent | None, program: str) -> bool:
    if application is None:
        return False
    return application.member.party in application.member.agreed_by(program)


def _decided(application: ApplicationAgent) -> bool:
    return agent_panels.is_over(application, DECIDE)


def _gone(application: ApplicationAgent | None) -> str:
    if application is None:
        return JOIN_FIRST
    return "This application has ended. Join another one." if application.over else ""


def _not_to_send(application: ApplicationAgent | None, public: PublicModel) -> str:
    gone = _gone(application)
    if application is None or gone:
        return gone
    member = application.member
    if not member.keys_ready:
        joined = member.state.joined if member.state else ()
        away = [name for name in public.schema_.party_names if name not in joined]
        verb = "has" if len(away) == 1 else "have"
        waits = f": {agent_panels.named(away, public)} still {verb} to join" if away else ""
        return f"The joint key is made first{waits}."
    if member.has_sent:
        return "The record is sent, and fixed. For another one, open a new application."
    return ""


def _not_to_decide(application: ApplicationAgent | None, public: PublicModel, changed: bool) -> str:
    gone = _gone(application)
    if application is None or gone:
        return gone
    member = application.member
    away = [name for name in public.schema_.party_names if name not in member.sent_by]
    if member.party in away:
        return "Encrypt and send this party's record first (step 2)."
    if away:
        theirs = "its record" if len(away) == 1 else "their records"
        return f"Waiting for {agent_panels.named(away, public)} to encrypt {theirs}."
    return RESTORE if changed else ""


def _not_after_decision(application: ApplicationAgent | None, public: PublicModel) -> str:
    gone = _gone(application)
    if application is None or gone:
        return gone
    if _decided(application):
        return ""
    agreed = application.member.agreed_by(DECIDE)
    if application.member.party not in agreed:
        return "The decision is opened first (step 3)."
    away = [name for name in public.schema_.party_names if name not in agreed]
    if away:
        return f"Waiting for {agent_panels.named(away, public)} to agree to open the decision."
    return "The decision is being computed and opened; this comes next."
