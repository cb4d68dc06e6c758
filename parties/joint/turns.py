"""Rules for the sender, receiver and order of messages."""

from __future__ import annotations

from engines.interface import DECIDE
from parties.joint.conversation import Conversation
from parties.joint.messages import (
    CONFIRM,
    FIRST_STEPS,
    PARTIAL,
    RECORD_COMMIT,
    agree_step,
    agreement_step,
    class_of,
    confirm_step,
    partial_step,
)
from utils.errors import MessageOutOfOrder, NotAuthentic


def require_place(talk: Conversation, sender: str, step: str, receiver: str | None) -> None:
    """Raise NotAuthentic if the protocol has no such message: sender, step and receiver."""
    name, colon, program = step.partition(":")
    if name in FIRST_STEPS:
        known, meant = not colon, receiver is None
    elif name == PARTIAL:
        to_all = talk.public.masked(program)
        known = program in talk.programs
        meant = receiver is None if to_all else talk.reads(program) and receiver == talk.party
    elif name == CONFIRM:
        known, meant = program in talk.programs, receiver is None
    else:
        known, meant = _is_step(name) and program in talk.agreed_programs, receiver is None
    if sender not in talk.names or not known or not meant:
        raise NotAuthentic(
            f"A message of {sender[:32]} for {step[:49]} has no place in this application."
        )


def require_turn(talk: Conversation, sender: str, step: str) -> None:
    """Raise MessageOutOfOrder unless all parties have sent the messages that precede this step."""
    name, _, program = step.partition(":")
    if name in FIRST_STEPS:
        before = FIRST_STEPS[: FIRST_STEPS.index(name)]
        due = not before or talk.all_said(before[-1])
    elif name == CONFIRM:
        due = talk.all_said(agreement_step(program))
    elif name == PARTIAL:
        due = talk.all_said(confirm_step(program))
    elif program == DECIDE:
        due = talk.all_said(RECORD_COMMIT)
    else:
        # The sender's share of the decision comes first; other parties' may still be on their way.
        final = partial_step(talk.public.final(DECIDE))
        answered = not talk.reads(DECIDE) or sender in talk.state.senders(final)
        due = answered and talk.all_said(agree_step(DECIDE))
    if not due:
        raise MessageOutOfOrder(
            f"{sender}'s {step} came too early: messages that precede it are missing."
        )


def _is_step(name: str) -> bool:
    try:
        class_of(name)
    except KeyError:
        return False
    return True
