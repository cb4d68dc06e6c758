"""A few faults of `python -m trials.uses`, and the detection of broken invariants.

All tests together need about 12 seconds of processor time.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from parties.governance.owner import Owner
from trials.servers import Setup
from trials.uses.__main__ import ROOM, main
from trials.uses.careless import COMMAND, UnbegunOwner, UnloggedOwner, UnmaskedOwner
from trials.uses.episode import Episode
from trials.uses.invariants import CAUSED, LOGGED, MASKED, ONCE, check
from trials.uses.registry import KINDS, Kind
from trials.uses.world import World

KINDS_HERE = (
    "a permit replayed",
    "a permit with an altered signature",
    "a permit for other fields",
    "a request altered after its approval",
    "a use raced by a revocation",
    "a use raced by one on another server",
    "two computations that differ by few rows",
    "the owner killed after the use is marked",
    "a relayed message altered",
    "a gateway's permit redeemed twice",
    "a consent revoked between permit and use",
    "the owner erased in the middle",
)


def test_faults_break_no_invariant(tmp_path: Path) -> None:
    path = tmp_path / "uses.json"
    only = [word for kind in KINDS_HERE for word in ("--only", kind)]
    code = main(["--faults", str(len(KINDS_HERE)), "--seed", "4", "--json", str(path), *only])
    found = json.loads(path.read_text())
    assert found["broken"] == []
    assert code == 0
    assert {kind: own["times"] for kind, own in found["faults"].items()} == dict.fromkeys(
        KINDS_HERE, 1
    )
    assert min(found["checks"].values()) > 0
    assert {ONCE, MASKED, LOGGED, CAUSED} <= set(found["checks"])


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Yield a world whose server marks a permit as often as it is asked to."""
    world = World(1, Setup(ROOM, COMMAND), 1, tmp_path_factory.mktemp("careless"))
    yield world
    world.stop()


def broken_by(world: World, kind: str, owner_class: type[Owner] = Owner) -> list[str]:
    """Do one fault, and return what the checks find."""
    world.step += 1
    world.broken.clear()
    episode = Episode(world, world.step, Random(world.step), owner_class=owner_class)
    try:
        KINDS[kind].act(episode, Random(world.step))
    except Exception as error:
        found = [str(error)]
    else:
        found = []
    check(episode)
    episode.end()
    return found + [what for _, _, what in world.broken]


def use_once(episode: Episode, _random: Random) -> str:
    episode.run_until_over(episode.approved())
    return "used"


def test_controls(careless: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each defence that is switched off is found by the invariant that it is for."""
    monkeypatch.setitem(KINDS, "a use", Kind("a use", use_once, 1, gateway=False))
    assert broken_by(careless, "a use") == [], "without a fault there is nothing to find"
    twice = broken_by(careless, "a use raced by one on another server")
    assert any(ONCE in what and "the log has 2 uses" in what for what in twice)
    assert any(LOGGED in what for what in broken_by(careless, "a use", UnloggedOwner))
    assert any(CAUSED in what for what in broken_by(careless, "a use", UnbegunOwner))
    assert any(MASKED in what for what in broken_by(careless, "a use", UnmaskedOwner))
