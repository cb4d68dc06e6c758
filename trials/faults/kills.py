"""`kill -9` of workers, servers, or both; and an orderly stop of a server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random

import psutil

from trials.faults.application import Application, Broken
from trials.faults.registry import fault
from trials.faults.world import World
from trials.processes import ended, has_words
from trials.servers import Server

END_SECONDS = 10.0
RUNNING_SECONDS = 30.0
CRASH = ("evaluation-failed", "malformed-message")
"""Errors that a killed worker explains: for a job after two, for a check after one."""
_SLEEP_SECONDS = (0.2, 0.5)


@fault("kill one worker", weight=60)
def kill_one(world: World, random: Random) -> str:
    """Kill any worker, while idle, checking or evaluating."""
    found = world.server(random).workers() + _elsewhere(world)
    if not found:
        return "there was none just then"
    with world.history.happening(*CRASH):
        _kill_all([random.choice(found)])
    return "killed"


@fault("kill all workers while one evaluates", weight=40, orders=True)
def kill_evaluating(world: World, random: Random) -> str:
    """Kill all workers during an evaluation: the job is retried and succeeds."""
    application = _sleeper(world, random)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(application.run, waiting=random.random() < 0.5)
        await_running(world, application)
        with world.history.happening(*CRASH):
            _kill_all([p for server in world.servers for p in server.workers()])
            _kill_all(_elsewhere(world))
        running.result()
    application.erase()
    return "answered"


@fault("kill the server", weight=30)
def kill_server(world: World, random: Random) -> str:
    """Kill a server at any time and restart it on the same data."""
    _kill(world, world.server(random), random)
    return "back"


@fault("kill the server while it evaluates", weight=20, orders=True)
def kill_server_evaluating(world: World, random: Random) -> str:
    """Kill a server during an evaluation: the job resumes after the restart and succeeds."""
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
    """Kill all processes of a server at the same time."""
    server = world.server(random)
    with world.history.happening(*CRASH):
        _kill_all(server.workers())
        _kill(world, server, random)
    return "back"


@fault("stop and start the server", weight=10)
def stop(world: World, random: Random) -> str:
    """Stop a server as an operator does, which requeues running jobs, and restart it."""
    server = world.server(random)
    children = server.children()
    code = server.try_stop()
    _require_ended(world, children)
    server.start()
    server.wait()
    if code is None:
        raise Broken(
            "no leak of processes", "a server did not stop on SIGTERM and had to be killed"
        )
    return "back"


def await_running(world: World, application: Application) -> bool:
    """Wait until the decision runs; returns False if it ended before that was seen."""

    def begun() -> bool:
        return application.look()["status"] not in ("idle", "queued")

    world.until(RUNNING_SECONDS, begun)
    return str(application.look()["status"]) == "running"


def _sleeper(world: World, random: Random) -> Application:
    order = f"sleep {random.uniform(*_SLEEP_SECONDS):.2f}"
    return Application.filled(world, world.contents.draw(random, order))


def _kill(world: World, server: Server, random: Random) -> None:
    with world.history.happening("engine-unavailable"):
        left = server.children()
        server.kill()
        time.sleep(random.random() * 0.2)
        server.start()
        _require_ended(world, left)
        server.wait()


def _require_ended(world: World, processes: list[psutil.Process]) -> None:
    """Check that the processes of a killed server end; Ray's belong to the cluster."""
    own = [p for p in processes if not has_words(p, ("ray",))]
    world.checked("no leak of processes")
    if left := ended(own, END_SECONDS):
        raise Broken("no leak of processes", f"{len(left)} outlived their server")


def _elsewhere(world: World) -> list[psutil.Process]:
    """Return the evaluating processes outside the servers: the actors of a cluster."""
    found = []
    for pid in world.evaluators():
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def _kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has just ended by itself
            process.kill()
