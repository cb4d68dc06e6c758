"""The stage's three buttons: their labels, which one is the main one, and why one is disabled."""

from __future__ import annotations

from dataclasses import dataclass

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from ui.stage.playing import FINISHED, KEY, SEND, WAITING, Due, Play
from ui.units import escape

UNDER_WAY = (
    "An application is under way. This page would let go of it; the Back button of the browser "
    "leads back to it."
)
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
    """A button; it is disabled if `why_not` says why."""

    label: str
    primary: bool = False
    why_not: str = ""


@dataclass(frozen=True)
class Controls:
    """The buttons, and whether the example may be chosen; `chosen` says why not."""

    play: Control
    next: Control
    new: Control
    chooses: bool
    chosen: str

    @property
    def reasons(self) -> str:
        """The reasons of disabled buttons as HTML, which a script attaches to the buttons."""
        named = {"play": self.play, "next": self.next, "new": self.new}
        return "".join(
            f'<span id="why-{name}" data-why="{name}">{escape(control.why_not)}</span>'
            for name, control in named.items()
        )


def controls_of(step: Due, play: Play | None, plays: bool, public: PublicModel) -> Controls:
    """Return the controls at a step of an application; its name is empty without one.

    `plays` is True if this stage can play the application, or a new one if there is none.
    """
    new = Control("New application", primary=not plays)
    if not plays:
        return Controls(
            Control("Play it through", why_not=ELSEWHERE),
            Control(NEXT[FINISHED], why_not=ELSEWHERE),
            new,
            True,
            "",
        )
    running = play is not None and play.running
    finished = step.step == FINISHED
    label = "Play on" if step.step else "Play it through"
    if running:
        label = "Pause"
    elif finished:
        label = "Play again"
    why_not = ""
    if running:
        why_not = PLAYING
    elif finished:
        why_not = ENDED
    elif step.step and not step.parties:
        why_not = WAITING[step.step]
    sent = step.step in (DECIDE, EXPLAIN, REASONS) or (
        step.step == SEND and set(step.parties) != set(public.schema_.party_names)
    )
    locked = (running or sent) and not finished
    chosen = "The records are fixed once they are sent." if locked else ""
    return Controls(
        Control(label, primary=True),
        Control(NEXT[step.step], why_not=why_not),
        new,
        not locked,
        chosen,
    )
