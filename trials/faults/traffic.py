"""Applications that run during the faults, one after another in several threads."""

from __future__ import annotations

import threading
import time
from collections import Counter
from random import Random

from engines.interface import DECIDE, EXPLAIN, EXPLANATION_INPUTS
from trials.faults.application import Application, Broken, Ended
from trials.faults.calls import Lost
from trials.faults.world import World

REST_SECONDS = 0.5
"""Mean pause between two applications of a thread, since the faults need the cores too."""
ERASED_SHARE = 0.7
QUIET_SECONDS = 180.0


class Traffic:
    """`at_once` threads; `outcomes` counts the outcomes of their applications."""

    def __init__(self, world: World, at_once: int, seed: int) -> None:
        self._world = world
        self._stop = threading.Event()
        self._busy = 0
        self._changed = threading.Condition()
        self.outcomes: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._make_all, args=(Random(f"{seed} {i}"),), daemon=True)  # noqa: S311
            for i in range(at_once)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Start no new applications and wait for running ones; raises Lost if one does not end."""
        self._world.gate.clear()
        with self._changed:
            if not self._changed.wait_for(lambda: self._busy == 0, QUIET_SECONDS):
                raise Lost(f"{self._busy} applications did not end in {QUIET_SECONDS:g} s")

    def resume(self) -> None:
        """Resume after `pause`."""
        self._world.gate.set()

    def stop(self) -> None:
        """Stop the threads after their current applications."""
        self._stop.set()
        self._world.gate.set()
        for thread in self._threads:
            thread.join(QUIET_SECONDS)

    def _make_all(self, random: Random) -> None:
        while not self._stop.is_set():
            self._world.gate.wait()
            with self._changed:
                if not self._world.gate.is_set():
                    continue
                self._busy += 1
            try:
                self.outcomes[self._make(random)] += 1
            finally:
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()
            time.sleep(random.uniform(0, 2 * REST_SECONDS))

    def _make(self, random: Random) -> str:
        world = self._world
        world.checked("no lost application")
        try:
            make(world, random)
        except Ended as ended:
            return f"ended: {ended}"
        except Broken as error:
            world.breaks(error, f"application during: {world.now_doing}")
            return "broken"
        except Lost as error:
            world.breaks(Broken("no lost application", str(error)))
            return "lost"
        except Exception as error:  # an error of the trial itself must be reported
            world.breaks(Broken("the trial itself", f"{type(error).__name__}: {error}"))
            return "broken"
        return "answered"


def make(world: World, random: Random) -> None:
    """Run one application from opening to results, with random variations."""
    order = f"sleep {random.uniform(0.01, 0.15):.2f}" if random.random() < 0.5 else ""
    application = Application.open(world, world.contents.draw(random, order))
    parties = random.sample(application.parties, len(application.parties))
    application.join(parties)
    if random.random() < 0.5:
        application.speak("hello", random)
    keys = list(application.content.messages)
    extra = [key for key in keys if key[1] == EXPLANATION_INPUTS]
    first = [key for key in keys if key not in extra]
    for key in random.sample(first, len(first)):
        application.send(key)
    if random.random() < 0.2:
        application.send(random.choice(first))
    application.run(DECIDE, waiting=random.random() < 0.5)
    for party in random.sample(parties, random.randrange(len(parties))):
        _fetch(application, DECIDE, party)
    if random.random() < 0.25:
        for key in extra:
            application.send(key)
        application.run(EXPLAIN, waiting=random.random() < 0.5)
    if random.random() < ERASED_SHARE:
        application.erase()
    else:
        world.keep(application)


def _fetch(application: Application, program: str, party: str) -> None:
    answer = application.output(program, party)
    if not answer.good:
        application.give_up(answer)
