"""The faults of a schedule. Each leaves all agents running, other than those that never come back.

A lender that stays away is away for longer than the coordinator waits for it.
"""

from __future__ import annotations

import time
from random import Random

from contract.trainings import COORDINATOR
from trials.federated.agents import START_SECONDS, STEP_SECONDS
from trials.federated.points import COORDINATOR_POINTS, LENDER_POINTS, RETURN_POINTS
from trials.federated.registry import fault
from trials.federated.training import Training, until

_POINT_SECONDS = 8.0
"""Longest wait for an agent to reach a point, which its training may never come to again."""


def _pause(random: Random, longest: float) -> None:
    time.sleep(random.random() * longest)


def _absence(random: Random) -> float:
    """Draw how long an agent is away: not at all, or beyond the coordinator's patience."""
    return random.choice((0.0, 1.5, 2.5)) * STEP_SECONDS


def _away(training: Training, random: Random, *names: str) -> str:
    """Start agents that were killed again, after a while."""
    seconds = _absence(random)
    time.sleep(seconds)
    training.start(*names)
    return "back at once" if not seconds else "back later"


def _at_point(training: Training, random: Random, name: str, point: str) -> str:
    """Kill an agent at a point, and start it again."""
    training.arm(name, point)
    until(lambda: not training.runs(name), _POINT_SECONDS)
    if not training.disarm(name):
        return "over before" if training.over or not training.runs(name) else "not reached"
    return _away(training, random, name)


def _lender_points() -> None:
    for point in LENDER_POINTS:

        def act(training: Training, random: Random, point: str = point) -> str:
            return _at_point(training, random, random.choice(training.here), point)

        fault(f"lender killed: {point}", 6)(act)


def _coordinator_points() -> None:
    for point in COORDINATOR_POINTS:

        def act(training: Training, random: Random, point: str = point) -> str:
            return _at_point(training, random, COORDINATOR, point)

        fault(f"coordinator killed: {point}", 3)(act)


_lender_points()
_coordinator_points()


@fault("lender killed at any time", 15)
def _lender(training: Training, random: Random) -> str:
    name = random.choice(training.here)
    _pause(random, 0.3)
    training.kill(name)
    return _away(training, random, name)


@fault("lender killed again and again", 8)
def _repeatedly(training: Training, random: Random) -> str:
    name = random.choice(training.here)
    for _ in range(random.randint(2, 4)):
        _pause(random, 0.4)
        training.kill(name)
        training.start(name)
    return "back"


@fault("lender killed as it returns", 8)
def _returning(training: Training, random: Random) -> str:
    name, point = random.choice(training.here), random.choice(RETURN_POINTS)
    _pause(random, 0.3)
    training.kill(name)
    training.arm(name, point)
    training.start(name)
    until(lambda: not training.runs(name), _POINT_SECONDS)
    if not training.disarm(name):
        return "not reached"
    training.start(name)
    return f"{point}, and again"


@fault("lender stopped beyond the patience", 15)
def _late(training: Training, random: Random) -> str:
    """Its messages come late, when the others have gone on."""
    name = random.choice(training.here)
    _pause(random, 0.3)
    training.halt(name)
    time.sleep((1.2 + random.random()) * STEP_SECONDS)
    training.go_on(name)
    return "continued"


@fault("lenders never come back", 12, lenders=4)
def _never(training: Training, random: Random) -> str:
    """A third of the lenders at most, so that the others can go on."""
    most = min(len(training.names) // 3, len(training.names) - 3) - len(training.gone)
    if most < 1:
        return "enough are gone"
    names = random.sample(training.here, random.randint(1, most))
    _pause(random, 0.3)
    training.gone.update(names)
    if random.random() < 0.5:
        training.kill(*names)
    else:
        training.halt(*names)
    return f"{len(names)} gone"


@fault("too many lenders lost, and back", 12)
def _too_many(training: Training, random: Random) -> str:
    """More than a third, so that the training has to wait for them."""
    count = random.randint(len(training.names) // 3 + 1, len(training.names))
    names = random.sample(training.here, min(count, len(training.here)))
    stops = random.random() < 0.5
    _pause(random, 0.3)
    (training.halt if stops else training.kill)(*names)
    time.sleep(random.choice((1.5, 2.5)) * STEP_SECONDS)
    random.shuffle(names)
    for name in names:
        (training.go_on if stops else training.start)(name)
        _pause(random, 0.5)
    return "stopped" if stops else "killed"


@fault("coordinator killed at any time", 15)
def _coordinator(training: Training, random: Random) -> str:
    _pause(random, 0.3)
    training.kill(COORDINATOR)
    return _away(training, random, COORDINATOR)


@fault("coordinator stopped for a while", 5)
def _slow_coordinator(training: Training, random: Random) -> str:
    _pause(random, 0.3)
    training.halt(COORDINATOR)
    time.sleep((1.2 + random.random()) * STEP_SECONDS)
    training.go_on(COORDINATOR)
    return "continued"


@fault("server killed and started again", 6)
def _server(training: Training, random: Random) -> str:
    _pause(random, 0.3)
    training.restart_server()
    return "back"


@fault("server killed with a lender or the coordinator", 4)
def _server_and(training: Training, random: Random) -> str:
    name = random.choice((COORDINATOR, *training.here))
    _pause(random, 0.3)
    training.restart_server(name)
    return "coordinator" if name == COORDINATOR else "lender"


@fault("two lenders killed at once", 8)
def _two(training: Training, random: Random) -> str:
    names = random.sample(training.here, 2)
    _pause(random, 0.3)
    training.kill(*names)
    return _away(training, random, *names)


@fault("coordinator and a lender killed at once", 8)
def _both(training: Training, random: Random) -> str:
    name = random.choice(training.here)
    _pause(random, 0.3)
    training.kill(COORDINATOR, name)
    training.start(COORDINATOR)
    return _away(training, random, name)


@fault("everyone killed", 4)
def _everyone(training: Training, random: Random) -> str:
    _pause(random, 0.3)
    training.kill(*training.everyone)
    names = list(training.everyone)
    random.shuffle(names)
    training.start(*names)
    return "back"


@fault("lender killed while it joins", 5, lenders=4, first=True)
def _joining(training: Training, random: Random) -> str:
    """Its code may be used up then, so that the others begin without it."""
    name = random.choice(training.here)
    _pause(random, 0.3)
    training.kill(name)
    training.start(name)
    training.refused.add(name)
    return "started again"


@fault("lender joins when the training has begun", 2, lenders=4, first=True)
def _too_late(training: Training, random: Random) -> str:
    name = random.choice(training.here)
    training.kill(name)
    training.until_opened(1)
    training.start(name)
    training.refused.add(name)
    return f"after {START_SECONDS:g} s"
