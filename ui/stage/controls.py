"""The stage's three buttons: their labels and states."""

from __future__ import annotations

from dataclasses import dataclass

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from ui.buttons import ButtonState, notes_html
from ui.stage.playing import FINISHED, KEY, SEND, WAITING, Due, Play

UNDER_WAY = (
    "An application is under way. A new one takes its place on this page; the Back button of the "
    "browser leads back to it."
)
LEAVE = "Leave it, open a new one"
NEXT = {
    "": "Next: make the key",
    KEY: "Next: make the key",
    SEND: "Next: encrypt and send",
    DECIDE: "Next: open the decision",
    EXPLAIN: "Next: explain it",
    REASONS: "Next: state the reasons",
    FINISHED: "Next step",
}
PLAYING = "The example is being played; pause it to take single steps."
ENDED = "The application is finished; play again, or open a new one."
ELSEWHERE = "This application was opened elsewhere; its parties act on their own pages."


@dataclass(frozen=True)
class Control:
    """A button."""

    label: str
    state: ButtonState


@dataclass(frozen=True)
class Controls:
    """The buttons, and whether the example may be chosen."""

    play: Control
    next: Control
    new: Control
    chooses: bool

    @property
    def notes(self) -> str:
        """The notes on the buttons (ui/buttons.py), as HTML."""
        named = {"play": self.play, "next": self.next, "new": self.new}
        return notes_html({name: control.state for name, control in named.items()})


def controls_of(
    step: Due, play: Play | None, plays: bool, public: PublicModel, under_way: bool = False
) -> Controls:
    """Return the controls at a step of an application; its name is empty without one.

    `plays` is True if this stage can play the application, or a new one if there is none. A new
    application is opened only after a question while this one is `under_way`.
    """
    question = UNDER_WAY if under_way else ""
    new = Control("New application", ButtonState(primary=not plays, question=question, yes=LEAVE))
    if not plays:
        elsewhere = ButtonState(ELSEWHERE)
        return Controls(
            Control("Play it through", elsewhere),
            Control(NEXT[FINISHED], elsewhere),
            new,
            True,
        )
    running = play is not None and play.running
    finished = step.step == FINISHED
    label = "Play on" if step.step else "Play it through"
    if running:
        label = "Pause"
    elif finished:
        label = "Play again"
    reason = ""
    if running:
        reason = PLAYING
    elif finished:
        reason = ENDED
    elif step.step and not step.parties:
        reason = WAITING[step.step]
    sent = step.step in (DECIDE, EXPLAIN, REASONS) or (
        step.step == SEND and set(step.parties) != set(public.schema_.party_names)
    )
    locked = (running or sent) and not finished
    return Controls(
        Control(label, ButtonState(primary=True)),
        Control(NEXT[step.step], ButtonState(reason)),
        new,
        not locked,
    )
