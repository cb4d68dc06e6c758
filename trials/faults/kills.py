"""`kill -9` of workers, of servers, and of both; and a server that is stopped as it should be."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import psutil

from trials.faults.application import Application, Broken
from trials.faults.registry import fault
from trials.faults.world import World
from trials.processes import ended
from trials.servers import Server

END_SECONDS = 10.0
RUNNING_SECONDS = 30.0
CRASH = ("evaluation-failed", "malformed-message")
"""What the death of a worker may come to: for a job only the second time, for a check at once."""
_WORKER_WORDS = ("spawn_main", "forkserver")
_SLEEP_SECONDS = (0.2, 0.5)


def workers(server: Server) -> list[psutil.Process]:
    """The processes in which a server has its engine; not those that Python keeps for itself."""
    return [process for process in server.children() if _words(process, _WORKER_WORDS)]


@fault("kill one worker", weight=60)
def kill_one(world: World, random: Random) -> str:
    """Any worker, whatever it is doing: it checks, or it evaluates."""
    found = workers(world.server(random)) + _elsewhere(world)
    if not found:
        return "there was none just then"
    with world.history.happening(*CRASH):
        _kill_all([random.choice(found)])
    return "killed"


@fault("kill all workers while one evaluates", weight=40, orders=True)
def kill_evaluating(world: World, random: Random) -> str:
    """Once is no fault of the input: the job is tried again, and nobody notices."""
    application = _sleeper(world, random)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(application.run, waiting=random.random() < 0.5)
        await_running(world, application)
        with world.history.happening(*CRASH):
            _kill_all([p for server in world.servers for p in workers(server)])
            _kill_all(_elsewhere(world))
        running.result()
    application.erase()
    return "answered"


@fault("kill the server", weight=30)
def kill_server(world: World, random: Random) -> str:
    """At any moment; it comes back on the same data."""
    _kill(world, world.server(random), random)
    return "back"


@fault("kill the server while it evaluates", weight=20, orders=True)
def kill_server_evaluating(world: World, random: Random) -> str:
    """The job goes on when it is back, and whoever asked for it gets the answer."""
    application = _sleeper(world, random)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(application.run, waiting=random.random() < 0.5)
        await_running(world, application)
        time.sleep(random.random() * _SLEEP_SECONDS[0])
        _kill(world, world.server(random), random)
        running.result()
    application.erase()
    return "answered"


@fault("kill server and workers at once", weight=15)
def kill_both(world: World, random: Random) -> str:
    """All processes of a server at the same moment."""
    server = world.server(random)
    with world.history.happening(*CRASH):
        _kill_all(workers(server))
        _kill(world, server, random)
    return "back"


@fault("stop and start the server", weight=10)
def stop(world: World, random: Random) -> str:
    """As an operator does it: what runs is given back."""
    server = world.server(random)
    children = server.children()
    code = server.stop()
    _require_ended(world, children)
    server.start()
    server.wait()
    if code is None:
        raise Broken("no leak of processes", "a server that was told to end had to be killed")
    return "back"


def await_running(world: World, application: Application) -> bool:
    """Whether its decision came to run before it ended."""

    def begun() -> bool:
        return application.look()["status"] not in ("idle", "queued")

    world.until(RUNNING_SECONDS, begun)
    return str(application.look()["status"]) == "running"


def _sleeper(world: World, random: Random) -> Application:
    order = f"sleep {random.uniform(*_SLEEP_SECONDS):.2f}"
    return Application.filled(world, world.contents.draw(random, order))


def _kill(world: World, server: Server, random: Random) -> None:
    with world.history.happening("engine-unavailable"):
        left = server.kill()
        time.sleep(random.random() * 0.2)
        server.start()
        _require_ended(world, left)
        server.wait()


def _require_ended(world: World, processes: list[psutil.Process]) -> None:
    """Those of a server that is gone must go too; Ray's belong to its cluster."""
    own = [p for p in processes if not _words(p, ("ray",))]
    world.checked("no leak of processes")
    if left := ended(own, END_SECONDS):
        raise Broken("no leak of processes", f"{len(left)} outlived their server")


def _elsewhere(world: World) -> list[psutil.Process]:
    """The processes that evaluate for the servers without being theirs: actors of a cluster."""
    found = []
    for pid in world.evaluators():
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()


def _words(process: psutil.Process, words: tuple[str, ...]) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(word in line for word in words)
