"""Jobs that are cancelled, poisoned, crowded, and whose applications vanish under them."""

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
    """Whoever waits for it hears so at once; asked for again, it comes to its answer."""
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
    if require(ended, 200).json()["status"] != "cancelled" or answer.code != "run-cancelled":
        raise Broken("no lost application", f"{answer} to one who waited for a cancelled run")
    _quicken(world, application, random)
    application.run()
    application.erase()
    return "answered"


@fault("poison an evaluation", weight=30, orders=True)
def poison(world: World, random: Random) -> str:
    """It brings down its worker twice, then fails; sent without poison, it is answered."""
    application = Application.filled(world, world.contents.draw(random, "abort"))
    form = {"client_id": application.client_id, "program": DECIDE}
    token = application.tokens[application.parties[0]]
    answer = world.caller.ask("POST", "/run_fhe", token, data=form)
    if answer.code != "evaluation-failed":
        raise Broken("errors are typed", f"{answer} to a poisoned input")
    _quicken(world, application, random)
    application.run()
    application.erase()
    return "failed, then answered"


@fault("poison a check", weight=20, orders=True)
def poison_check(world: World, random: Random) -> str:
    """A message that brings down the worker which looks at it is refused."""
    application = Application.filled(world, world.contents.draw(random))
    key = (application.parties[0], ENCRYPTED_INPUTS)
    poisoned = world.contents.draw(random, "check abort").messages[key]
    form = upload(application.client_id, key, poisoned)
    answer = world.caller.ask("POST", "/send_file", application.tokens[key[0]], **form)
    if answer.code != "malformed-message":
        raise Broken("errors are typed", f"{answer} to a message that ends its check")
    application.run()
    application.erase()
    return "refused, then answered"


@fault("send garbage", weight=30)
def garbage(world: World, random: Random) -> str:
    """What a slot must refuse changes nothing of what lies there."""
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
    """Whoever waits hears that it is gone, and nothing is left."""
    return _vanish(world, random, by="a party")


@fault("expire while it runs", weight=15, orders=True)
def expire(world: World, random: Random) -> str:
    """The same when its time is over; the next sweep finds it."""
    return _vanish(world, random, by="time")


@fault("erase one under way, by the operator", weight=20)
def erase_any(world: World, random: Random) -> str:
    """Any application, whoever is at work on it."""
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
    """More runs than may wait: 429, and in the end all are answered."""
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
        raise Broken("no leak of files", "an application that is gone still has rows or blobs")
    return str(answer)


def _quicken(world: World, application: Application, random: Random) -> None:
    """Replace what it sends by what is evaluated without delay."""
    application.content = world.contents.draw(random)
    for key in needed(world.contents.public):
        application.send(key)
