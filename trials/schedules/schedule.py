"""One schedule: steps of all parties in random order, with faults between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from engines.interface import DECIDE, EXPLAIN, REASONS, JointPartyEngine
from trials.local_server import LocalServer
from trials.schedules.ledger import Violated
from trials.schedules.world import World

STEPS = 60
QUIET_ROUNDS = 30
FOR_GOOD = {
    "folder put back",
    "another result offered",
    "expiry at a party",
    "expiry at the server",
}
"""Faults after which the parties may rightly open nothing more."""


@dataclass
class Outcome:
    """How one schedule ended: the violated invariant, if any, and what happened."""

    seed: int
    violated: str | None = None
    faults: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    shares: int = 0
    """Number of (party, program) of which a share was sent."""
    opened: set[str] = field(default_factory=set)
    """The programs that any party has opened."""


def play(
    seed: int, server: LocalServer, engine: JointPartyEngine, folder: Path, steps: int = STEPS
) -> Outcome:
    """Play the schedule of this number; `engine` is the party's half of the server's."""
    draw, outcome = Random(seed), Outcome(seed)  # noqa: S311 - choices, not secrets
    world = World(server, engine, folder, draw)
    try:
        _play(world, draw, steps)
    except Violated as error:
        outcome.violated = str(error)
    finally:
        for member in world.parties.values():
            found = {DECIDE: member.decision, EXPLAIN: member.explanation, REASONS: member.reasons}
            outcome.opened |= {program for program, result in found.items() if result}
        world.close()
    outcome.faults.update(world.server.faults)
    outcome.refusals = world.refusals
    outcome.shares = len(world.ledger.sent)
    return outcome


def _play(world: World, draw: Random, steps: int) -> None:
    weak = draw.choice(world.names)  # whose folder is put back; the others keep theirs
    world.server.shuffles = draw.choice((0.0, 0.2))
    world.server.repeats = draw.choice((0.0, 0.3))
    rate = draw.choice((0.1, 0.3))
    for number in range(steps):
        world.goes_on(draw.choice(world.names))
        if draw.random() < 0.2:
            world.server.local.work()
        if draw.random() < 0.15:
            world.snapshot(weak)
        if draw.random() < rate:
            _fault(world, draw, weak, late=number > steps // 2)
    world.put_out_fuses()
    world.server.withheld.clear()
    world.server.shuffles = world.server.repeats = 0.0
    _quietly(world)
    _require_results(world)
    if draw.random() < 0.7:
        for _ in range(2):
            world.restore(weak)
            world.offer_another(draw.choice((None, weak)))
            _quietly(world)


def _require_results(world: World) -> None:
    """Raise Violated if a party has no results although nothing but passing faults happened."""
    if FOR_GOOD & set(world.server.faults):
        return
    for name in world.names:
        member = world.parties.get(name)
        done = member is not None and all(
            member.own.protocol.opened(member.public.final(program)) is not None
            for program in (DECIDE, EXPLAIN, REASONS)
            if program in member.public.programs
        )
        if not done:
            raise Violated(f"{name} cannot go on, although no fault forbids it")


def _quietly(world: World) -> None:
    """Go on without faults until nothing more is sent."""
    still = 0
    for _ in range(QUIET_ROUNDS):
        before = len(world.server.wire)
        for name in world.names:
            world.goes_on(name)
        world.server.local.work()
        still = still + 1 if len(world.server.wire) == before else 0
        if still == 2:
            return


def _fault(world: World, draw: Random, weak: str, late: bool) -> None:
    """Let something go wrong; expiry and a second result in the second half only."""
    one, other = draw.sample(world.names, 2)
    kinds = ["kill", "kill", "kill", "restart", "withhold", "deliver", "race", "cancel"]
    if late:
        kinds += ["restore", "another result", "another result for one"]
        kinds += ["expiry"] * (draw.random() < 0.2)
    match draw.choice(kinds):
        case "kill":
            world.light_fuse(one, draw.randint(1, 14))
        case "restart":
            if one in world.parties:
                world.restart(one)
        case "withhold":
            world.server.withheld.add((one, other))
            world.server.count("messages withheld")
        case "deliver":
            world.server.withheld.clear()
        case "race":
            world.race(one)
        case "cancel":
            _cancel(world, one)
        case "restore":
            world.restore(weak)
        case "another result":
            world.offer_another(None)
        case "another result for one":
            world.offer_another(one)
        case _:
            if draw.random() < 0.5:
                world.server.count("expiry at the server")
                world.end()
            else:
                world.expire(one)


def _cancel(world: World, name: str) -> None:
    """Cancel the run under way, if there is one, and request it again."""
    member = world.parties.get(name)
    state = None if member is None else member.state
    if state is None or state.under_way is None:
        return
    program = state.under_way[0]
    world.server.count("run cancelled and requested again")
    world.act(name, lambda member: member.cancel(program))
    world.act(name, lambda member: member.run_if_due())
