"""One schedule: a training, and the faults that are done to it."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from contract.trainings import COORDINATOR
from trials.faults.application import Broken
from trials.federated.case import drawn as drawn_case
from trials.federated.invariants import check
from trials.federated.registry import Kind, drawn
from trials.federated.training import Training
from trials.servers import Server

_AT_ONCE = 0.3
"""Share of the schedules with two faults at the same moment."""


@dataclass
class Outcome:
    """The outcome of a schedule: its faults (kind, outcome, seconds), checks and facts."""

    seed: int
    faults: list[tuple[str, str, float]] = field(default_factory=list)
    checks: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    broken: str = ""


def play(
    seed: int,
    folder: Path,
    server: Server,
    only: Collection[str] = (),
    doubles: dict[str, str] | None = None,
) -> Outcome:
    """Play the schedule of this number; the processes' own timing differs from run to run."""
    random, outcome = Random(seed), Outcome(seed)  # noqa: S311 - choices, not secrets
    kinds = [drawn(random, only) for _ in range(random.randint(1, 3))]
    case = drawn_case(random, seed, max(kind.lenders for kind in kinds))
    training = Training(case, folder, server, doubles)
    try:
        training.start(*training.everyone)
        _act(training, random, kinds, outcome)
        training.until(lambda: training.over or training.waits_for_gone(), "the coordinator ends")
        if not training.over:
            outcome.facts["gone lenders that a root could not do without"] += 1
            training.bring_back()
            training.until(lambda: training.over, "the coordinator ends")
        training.until(lambda: not any(map(training.runs, training.here)), "all lenders end")
        training.kill(*training.gone)
        check(training, outcome.checks)
        _note(training, outcome)
    except Broken as error:
        outcome.broken = str(error)
    except Exception as error:  # an error of the trial itself must be reported
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        places = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames)
        outcome.broken = f"the trial itself: {type(error).__name__}: {error} ({places})"
    finally:
        training.stop()
    return outcome


def _act(training: Training, random: Random, kinds: list[Kind], outcome: Outcome) -> None:
    """Do the faults at moments of the training; some at the same time."""
    kinds.sort(key=lambda kind: not kind.first)
    steps = training.case.plan.trees * training.case.plan.depth
    moments = sorted(random.randint(0, steps) for _ in kinds)
    if len(kinds) > 1 and random.random() < _AT_ONCE:
        moments[1] = moments[0]
    with ThreadPoolExecutor(len(kinds)) as pool:
        under_way: list[Future[tuple[str, str, float]]] = []
        for kind, moment, before in zip(kinds, moments, [-1, *moments], strict=False):
            if moment != before:
                outcome.faults += [one.result() for one in under_way]
                under_way.clear()
            if not kind.first:
                training.until_opened(moment)
            own = Random(random.random())  # noqa: S311
            under_way.append(pool.submit(_done, training, own, kind))
        outcome.faults += [one.result() for one in under_way]


def _done(training: Training, random: Random, kind: Kind) -> tuple[str, str, float]:
    start = time.monotonic()
    found = kind.act(training, random)
    return kind.name, found, time.monotonic() - start


def _note(training: Training, outcome: Outcome) -> None:
    """Count facts by which a reader sees that the faults have had effects."""
    events = training.setups[COORDINATOR].journal.events()
    outcome.facts["sums opened"] += len({event.step for event in events if event.step})
    again = {event.step for event in events if event.step and event.step.attempt}
    outcome.facts["roots opened at a later attempt"] += len(again)
    for name in training.names:
        own = training.setups[name].journal
        outcome.facts["shares revealed"] += own.count("share")
        outcome.facts["processes of lenders"] += own.count("started")
    outcome.facts["processes of coordinators"] += training.setups[COORDINATOR].journal.count(
        "started"
    )
