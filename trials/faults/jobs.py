"""Jobs that are cancelled, crash, fill the queue, or lose their application."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

from engines.interface import DECIDE, ENCRYPTED_INPUTS
from trials.faults.application import Application, Broken, require
from trials.faults.calls import upload
from trials.faults.content import needed
from trials.faults.kills import await_running
from trials.faults.registry import fault
from trials.faults.world import World

GONE_SECONDS = 15.0
_LONG = "sleep 3"


@fault("cancel a run", weight=40, orders=True)
def cancel(world: World, random: Random) -> str:
    """Cancel a run: waiting callers are told at once, and a new run succeeds."""
    application = Application.filled(world, world.contents.draw(random, _LONG))
    form = {"client_id": application.client_id, "program": DECIDE}
    token = application.tokens[application.parties[0]]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.caller.ask, "POST", "/run_fhe", token, data=form)
        if random.random() < 0.7:
            await_running(world, application)
        else:
            world.until(GONE_SECONDS, lambda: application.look()["status"] != "idle")
        if random.random() < 0.7:
            ended = application.cancel()
        else:
            world.history.lasting("run-cancelled", client_id=application.client_id)
            path = f"/applications/{application.client_id}/runs/{DECIDE}"
            ended = world.operator("DELETE", path)
        answer = waiting.result()
    told = answer.code == "run-cancelled" or answer.spent
    if require(ended, 200).json()["status"] != "cancelled" or not told:
        raise Broken("no lost application", f"{answer} to a caller waiting for a cancelled run")
    _quicken(world, application, random)
    application.run()
    application.erase()
    return "answered"


@fault("poison an evaluation", weight=30, orders=True)
def poison(world: World, random: Random) -> str:
    """Send an input that crashes its worker: the job fails after two crashes, then succeeds."""
    application = Application.filled(world, world.contents.draw(random, "abort"))
    form = {"client_id": application.client_id, "program": DECIDE}
    token = application.tokens[application.parties[0]]
    answer = world.caller.ask("POST", "/run_fhe", token, data=form)
    if answer.code != "evaluation-failed" and not answer.spent:
        raise Broken("errors are typed", f"{answer} to a poisoned input")
    _quicken(world, application, random)
    application.run()
    application.erase()
    return "failed, then answered"


@fault("poison a check", weight=20, orders=True)
def poison_check(world: World, random: Random) -> str:
    """Send a message that crashes the worker that checks it: it is refused."""
    application = Application.filled(world, world.contents.draw(random))
    key = (application.parties[0], ENCRYPTED_INPUTS)
    poisoned = world.contents.draw(random, "check abort").messages[key]
    form = upload(application.client_id, key, poisoned)
    answer = world.caller.ask("POST", "/send_file", application.tokens[key[0]], **form)
    if answer.code != "malformed-message":
        raise Broken("errors are typed", f"{answer} to a message that crashes its check")
    application.run()
    application.erase()
    return "refused, then answered"


@fault("send garbage", weight=30)
def garbage(world: World, random: Random) -> str:
    """Send invalid messages: they are refused and do not change the slot."""
    application = Application.filled(world, world.contents.draw(random))
    for _ in range(3):
        key = random.choice(needed(world.contents.public))
        bad = world.contents.garbage(random, key)
        form = upload(application.client_id, key, bad)
        answer = world.caller.ask("POST", "/send_file", application.tokens[key[0]], **form)
        if answer.code not in ("malformed-message", "foreign-message"):
            raise Broken("errors are typed", f"{answer} to garbage")
    application.run()
    application.erase()
    return "refused, then answered"


@fault("erase while it runs", weight=30, orders=True)
def erase(world: World, random: Random) -> str:
    """Erase an application during a run: callers are told, and nothing is left."""
    return _vanish(world, random, by="a party")


@fault("expire while it runs", weight=15, orders=True)
def expire(world: World, random: Random) -> str:
    """Let an application expire during a run; the next sweep erases it."""
    return _vanish(world, random, by="time")


@fault("erase one under way, by the operator", weight=20)
def erase_any(world: World, random: Random) -> str:
    """Erase any application as the operator, even while it is in use."""
    ids = sorted(world.rows.applications())
    if not ids:
        return "there was none just then"
    client_id = random.choice(ids)
    world.history.lasting("unknown-application", client_id=client_id)
    answer = world.operator("DELETE", f"/applications/{client_id}")
    if answer.status not in (204, 404, 410):
        raise Broken("errors are typed", f"{answer} to the operator")
    return str(answer)


@fault("crowd the queue", weight=8, orders=True)
def crowd(world: World, random: Random) -> str:
    """Request more runs than the queue allows: 429, and finally all succeed."""
    places = int(world.setup.settings["maximum_queued"])
    every = [
        Application.filled(world, world.contents.draw(random, "sleep 0.1"))
        for _ in range(places + 4)
    ]
    with ThreadPoolExecutor(len(every)) as pool:
        for done in [pool.submit(application.run) for application in every]:
            done.result()
        list(pool.map(lambda application: application.erase(), every))
    return "all answered"


def _vanish(world: World, random: Random, by: str) -> str:
    application = Application.filled(world, world.contents.draw(random, _LONG))
    client_id, token = application.client_id, application.tokens[application.parties[0]]
    form = {"client_id": client_id, "program": DECIDE}
    store = world.rows.store_of(client_id)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(world.caller.ask, "POST", "/run_fhe", token, data=form)
        await_running(world, application)
        if by == "time":
            world.rows.end_application(client_id)
        else:
            application.erase()
        answer = waiting.result()
    if answer.code not in ("unknown-application", "application-expired"):
        raise Broken("errors are typed", f"{answer} to a run whose application is gone")
    if by == "time":
        return str(answer)
    world.checked("no leak of files")

    def gone() -> bool:
        rows = world.rows.store_of(client_id)
        return rows is None and all(blob.store != store for blob in world.blobs.all())

    if not world.until(GONE_SECONDS, gone):
        raise Broken("no leak of files", "an erased application still has rows or blobs")
    return str(answer)


def _quicken(world: World, application: Application, random: Random) -> None:
    """Replace the application's messages by ones that are evaluated without delay."""
    application.content = world.contents.draw(random)
    for key in needed(world.contents.public):
        application.send(key)
