"""Handlers of one browser session run in turn."""

import copy
import threading
from dataclasses import dataclass, field

from ui.consent.handling import Turn, in_place


@dataclass
class Shown:
    turn: Turn = field(default_factory=Turn)
    serial: int = 7
    rendered: float = float("inf")
    told: dict = field(default_factory=dict)
    listed: dict = field(default_factory=dict)


def test_a_timer_renders_nothing_while_a_step_is_taken():
    begun, go_on, rendered = threading.Event(), threading.Event(), []
    shown = copy.deepcopy(Shown())

    def step(_shown):
        begun.set()
        assert go_on.wait(10)
        rendered.append("step")
        return {}

    def tick():
        with shown.turn:
            rendered.append("tick")

    pressed = threading.Thread(target=in_place("ask", step, lambda _shown: {}), args=(shown,))
    pressed.start()
    assert begun.wait(10)
    ticking = threading.Thread(target=tick)
    ticking.start()
    with copy.deepcopy(shown).turn:  # another browser session does not wait
        go_on.set()
    for each in (pressed, ticking):
        each.join(10)
    assert rendered == ["step", "tick"]
