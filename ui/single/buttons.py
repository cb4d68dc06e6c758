"""The buttons of the single page: which can be pressed now, and why the others cannot."""

from __future__ import annotations

from engines.interface import PublicModel
from ui.buttons import ButtonState, with_one_primary
from ui.reasons import APPROVED, has_reasons
from ui.state import PageState
from ui.units import join_words

KEYS, SEND_ALL, RUN, OPEN, EXPLAIN_STEP = "make-keys", "send-all", "run", "open-decision", "explain"
REASONS_STEP, ALL_STEPS, START_OVER = "reasons", "all-steps", "start-over"
KEYS_FIRST = "Make the keys first (step 1)."
AT_WORK = "A run is under way."
LET_GO = (
    "An application is under way. Starting over erases its keys and everything that was sent. "
    "Start over?"
)


def send_button(party: str) -> str:
    """Return the `elem_id` of the button that sends a party's record."""
    return f"send-{party}"


def button_states(state: PageState, public: PublicModel) -> dict[str, ButtonState]:
    """Return the states of all buttons by `elem_id`, of which one that is ready is primary."""
    denied = state.decision is not None and not state.decision.approved
    found = {
        KEYS: ButtonState("The keys are made. For new ones, start over." if state.keys else ""),
        SEND_ALL: ButtonState(_not_to_send_all(state, public)),
        RUN: ButtonState(_not_to_run(state, public)),
        OPEN: ButtonState(_not_to_open(state)),
        REASONS_STEP: ButtonState(
            _not_to_state_reasons(state, public), visible=has_reasons(public)
        ),
        EXPLAIN_STEP: ButtonState(_not_to_explain(state, public)),
    }
    if state.asked:
        found = {
            name: ButtonState(one.reason or AT_WORK, visible=one.visible)
            for name, one in found.items()
        }
    finished = state.explained is not None and not (
        denied and has_reasons(public) and state.reasons is None
    )
    everything = ButtonState(AT_WORK if state.asked else "")
    if finished and not state.changed:
        everything = ButtonState("All steps are done. Change a value, or start over.")
    under_way = state.keys is not None and state.decision is None
    again = ButtonState(
        "" if state.keys is not None else "There is nothing to start over from yet.",
        question=LET_GO if under_way else "",
        yes="Start over",
    )
    # Before the first step, all steps at once are offered, then the next one.
    first = {ALL_STEPS: everything} if state.keys is None else {}
    last = {ALL_STEPS: everything, START_OVER: again}
    return {**with_one_primary({**first, **found, **last}), **_of_parties(state, public)}


def _of_parties(state: PageState, public: PublicModel) -> dict[str, ButtonState]:
    return {
        send_button(party.name): ButtonState(_not_to_send(state, party.name))
        for party in public.schema_.parties
    }


def _pending(state: PageState, public: PublicModel) -> list[str]:
    """Return the labels of the parties with a record that is not sent, or was changed since."""
    return [
        f"the {party.label.lower()}"
        for party in public.schema_.parties
        if party.name not in state.sent or party.name in state.changed
    ]


def _not_to_send(state: PageState, party: str) -> str:
    if state.keys is None:
        return KEYS_FIRST
    if state.asked:
        return AT_WORK
    if party in state.sent and party not in state.changed:
        return "This record is sent. Change a value to send it again."
    return ""


def _not_to_send_all(state: PageState, public: PublicModel) -> str:
    if state.keys is None:
        return KEYS_FIRST
    return "" if _pending(state, public) else "All records are sent."


def _not_to_run(state: PageState, public: PublicModel) -> str:
    if state.keys is None:
        return KEYS_FIRST
    pending = _pending(state, public)
    if pending:
        verb = "has" if len(pending) == 1 else "have"
        return f"{join_words(pending).capitalize()} {verb} to encrypt and send first (step 2)."
    return "" if state.run is None else "The model has run on these records."


def _not_to_open(state: PageState) -> str:
    if state.keys is None:
        return KEYS_FIRST
    if state.run is None:
        return "The model has to run first (step 3)."
    return "" if state.decision is None else "The decision is open."


def _not_after_decision(state: PageState, public: PublicModel) -> str:
    if state.keys is None:
        return KEYS_FIRST
    if state.decision is None:
        return "Open the decision first (step 3)."
    return _not_to_run(state, public) if _pending(state, public) else ""


def _not_to_explain(state: PageState, public: PublicModel) -> str:
    done = "The decision is explained." if state.explained is not None else ""
    return _not_after_decision(state, public) or done


def _not_to_state_reasons(state: PageState, public: PublicModel) -> str:
    early = _not_after_decision(state, public)
    if early:
        return early
    if state.decision is not None and state.decision.approved:
        return APPROVED
    return "The reasons are stated." if state.reasons is not None else ""
