"""A few faults of `make faults`, and the detection of broken invariants."""

import json
import time
from pathlib import Path
from random import Random

import pytest

from trials.faults.__main__ import main, settings_for
from trials.faults.application import Application, Broken, Ended
from trials.faults.calls import Answer
from trials.faults.history import GRACE_SECONDS, History
from trials.faults.invariants import Invariants
from trials.faults.registry import KINDS, drawn
from trials.faults.world import Choice, World

FAULTS = 14


def test_random_faults_break_no_invariant(tmp_path):
    path = tmp_path / "faults.json"
    code = main(["--faults", str(FAULTS), "--seed", "4", "--check-every", "7", "--json", str(path)])
    found = json.loads(path.read_text())
    assert found["broken"] == []
    assert code == 0
    assert found["done"] == FAULTS
    assert sum(own["times"] for own in found["faults"].values()) == FAULTS
    assert found["applications"]["answered"] > 0
    assert all(times > 0 for times in found["checks"].values())
    assert {"no wrong answer", "no lost application", "no leak of files"} <= set(found["checks"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    choice = Choice(faults=0, seed=1, at_once=1, engine="stand-in", deployment=Path("deployment"))
    made = World(choice, settings_for("stand-in"), 1, tmp_path_factory.mktemp("faults"))
    yield made
    for server in made.servers:
        server.stop()


@pytest.fixture
def broken(world):
    """Return the invariants that the world recorded as broken during the test."""
    world.broken.clear()
    yield world.broken
    world.broken.clear()


def test_wrong_result_is_detected(world):
    application = Application.filled(world, world.contents.draw(Random(1)))
    application.run()
    application.content = world.contents.draw(Random(2))
    with pytest.raises(Broken, match="no wrong answer"):
        application.output()
    application.erase()


def test_an_error_needs_a_fault_that_explains_it(world):
    application = Application.filled(world, world.contents.draw(Random(3)))
    answer = Answer(500, "stored-data-damaged", b"")
    with pytest.raises(Broken, match="not explained"):
        application.give_up(answer)
    world.history.lasting("stored-data-damaged", client_id=application.client_id)
    with pytest.raises(Ended):
        application.give_up(answer)
    with pytest.raises(Broken, match="not explained"):
        application.give_up(Answer(404, "unknown-application", b""))
    application.erase()


def test_leaked_resources_are_detected(world, broken):
    invariants = Invariants(world)
    invariants.check(Random(1))
    assert broken == []
    stray = world.servers[0].data / "blobs" / ("0" * 32) / ("1" * 64)
    stray.parent.mkdir()
    stray.write_bytes(b"of no row")
    with world.servers[0].log_path.open("a") as log:
        log.write(f"token={world.operator_token}\n")
    invariants.settle_seconds = 0.2
    invariants.check(Random(1))
    assert {what.partition(":")[0] for _, _, what in broken} == {
        "no leak of files",
        "nothing secret in the logs",
    }
    stray.unlink()
    stray.parent.rmdir()


def test_untyped_errors_are_detected(world, broken):
    world.caller.once("GET", "/applications/x")
    assert broken == []
    world.note("GET /x", Answer(500, "protocol-error", b""))
    world.note("GET /x", Answer(404, "? something", b""))
    assert [what for _, _, what in broken] == [
        "errors are typed: 500 protocol-error to GET /x",
        "errors are typed: 404 ? something to GET /x",
    ]


def test_history_explains_matching_errors_for_a_limited_time():
    history, start = History(), time.monotonic()
    with history.happening("malformed-message"):
        assert history.explains("malformed-message", "a", start)
    assert not history.explains("malformed-message", "a", time.monotonic() + GRACE_SECONDS + 1)
    assert not history.explains("malformed-message", "a", start, least=2)
    assert not history.explains("evaluation-failed", "a", start)
    history.lasting("run-cancelled", client_id="a")
    assert history.explains("run-cancelled", "a", start + 1e6)
    assert not history.explains("run-cancelled", "b", start)


def test_the_same_seed_draws_the_same_faults():
    draws = [
        [drawn(random, True, set()).name for _ in range(50)] for random in (Random(7), Random(7))
    ]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 10
    assert all(not drawn(Random(i), False, set()).orders for i in range(50))
    assert len(KINDS) > 30


def test_unknown_fault_name_is_refused(capsys):
    assert main(["--only", "no such fault"]) == 2
    assert "kill the server" in capsys.readouterr().out
