"""A process that makes several applications concurrently."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engines.interface import DECIDE, EXPLAIN
from trials.load.parties import parties_of
from trials.load.prepared import Preparation, PreparedParties
from trials.load.timing import Call
from trials.load.work import Application, Opened, Work, WrongAnswer
from trials.processes import give_way
from utils.errors import TrisealError

_Maker = Callable[[int, Application], Opened]


@dataclass(frozen=True)
class Outcome:
    """The outcome of an application; `wrong` or `lost` is the reason, both None if it is right."""

    number: int
    seconds: float
    wrong: str | None = None
    lost: str | None = None


@dataclass(frozen=True)
class Source:
    """The parameters from which every process draws the same applications."""

    deployment: Path
    engine: str
    count: int
    share: float
    seed: int

    def draw(self) -> Work:
        """Draw the applications; raises DeploymentError."""
        return Work.drawn(self.deployment, self.engine, self.count, self.share, self.seed)


class Generator:
    """Makes `threads` applications concurrently; for use in training.measure.remote.Remote."""

    def __init__(
        self,
        urls: Sequence[str],
        source: Source,
        home: Path,
        threads: int,
        prepared: Sequence[int] = (),
        niceness: int = 0,
    ) -> None:
        """Connect; if `prepared` is not empty, encrypt those applications and send only them.

        Prepared applications omit the messages between parties, for as many evaluations as
        possible.
        """
        give_way(niceness)
        self._urls, self._threads = urls, threads
        self._work = source.draw()
        self._calls: list[Call] = []
        self._makers: queue.SimpleQueue[_Maker] = queue.SimpleQueue()
        preparation = Preparation(urls[0], self._work, prepared) if prepared else None
        for number in range(threads):
            self._makers.put(self._maker(preparation, home / str(number + 1)))

    def run(self, numbers: Sequence[int], until: float) -> tuple[list[Outcome], list[Call]]:
        """Make these applications, as far as they start before `until` (seconds since 1970).

        Returns the outcome of each started application, and all calls.
        """
        self._calls = []
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(lambda number: self._one(number, until), numbers))
        return [outcome for outcome in found if outcome is not None], self._calls

    def _one(self, number: int, until: float) -> Outcome | None:
        if time.time() >= until:
            return None
        application = self._work.applications[number % len(self._work.applications)]
        maker, start = self._makers.get(), time.perf_counter()
        wrong = lost = None
        try:
            opened = maker(number, application)
            for program in (DECIDE, EXPLAIN)[: 2 if application.explained else 1]:
                self._work.require(application, program, opened.get(program, ()))
        except WrongAnswer as error:
            wrong = str(error)
        except TrisealError as error:
            lost = f"{error.code}: {error.message}"
        except Exception as error:  # reported, while other applications continue
            lost = f"{type(error).__name__}: {error}"
        finally:
            self._makers.put(maker)
        return Outcome(number, time.perf_counter() - start, wrong, lost)

    def _maker(self, preparation: Preparation | None, home: Path) -> _Maker:
        if preparation is None:
            return parties_of(self._urls, home, self._note).make
        return PreparedParties(self._urls, preparation, self._note, talk=False).make

    def _note(self, call: Call) -> None:
        self._calls.append(call)
