"""Stored blobs truncated, altered, swapped or removed: an error, never a wrong result."""

from __future__ import annotations

import hashlib
from random import Random

from engines.interface import DECIDE
from trials.faults.application import DAMAGED, Application, Broken
from trials.faults.content import needed
from trials.faults.registry import fault
from trials.faults.stored import Blob
from trials.faults.world import World


@fault("truncate a blob", weight=40)
def truncate(world: World, random: Random) -> str:
    """Truncate any blob of any application."""
    return _damage(world, random, lambda content: content[: random.randrange(len(content) or 1)])


@fault("alter a blob", weight=30)
def alter(world: World, random: Random) -> str:
    """Flip one bit of any blob."""

    def flip(content: bytes) -> bytes:
        changed = bytearray(content or b"x")
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        return bytes(changed)

    return _damage(world, random, flip)


@fault("remove a blob", weight=30)
def remove(world: World, random: Random) -> str:
    """Remove any blob, as if the disk had lost it."""
    found = _some(world, random, 1)
    for blob, client_id in found:
        world.history.lasting(DAMAGED, client_id=client_id)
        world.blobs.remove(blob)
    return "removed" if found else "there was none just then"


@fault("swap two blobs", weight=40)
def swap(world: World, random: Random) -> str:
    """Swap two blobs: each is an intact message, but not the one sent to its slot."""
    found = _some(world, random, 2)
    contents = [world.blobs.read(blob) for blob, _ in found]
    if len(found) < 2 or any(content is None for content in contents):
        return "there were none just then"
    for (blob, client_id), content in zip(found, reversed(contents), strict=True):
        world.history.lasting(DAMAGED, client_id=client_id)
        world.blobs.write(blob, content or b"")
    return "swapped"


@fault("damage an input, run, send it again", weight=40)
def input_again(world: World, random: Random) -> str:
    """Damage an input: the run reports it, and succeeds once the input is sent again."""
    application = Application.filled(world, world.contents.draw(random))
    key = random.choice(needed(world.contents.public))
    _ruin(world, application, application.content.messages[key], random)
    form = {"client_id": application.client_id, "program": DECIDE}
    token = application.tokens[application.parties[0]]
    answer = world.caller.ask("POST", "/run_fhe", token, data=form)
    if not answer.good and answer.code != DAMAGED and not answer.spent:
        raise Broken("no lost application", f"{answer} to a run on a damaged input")
    application.run()
    application.erase()
    return "answered"


@fault("damage a result", weight=30)
def result(world: World, random: Random) -> str:
    """Damage a result: fetching it is an error; the application can still be erased."""
    application = Application.filled(world, world.contents.draw(random))
    application.run()
    _ruin(world, application, application.answers[DECIDE], random)
    answer = application.output()
    if answer.good:
        raise Broken("no wrong answer", "a damaged result was returned")
    if answer.code != DAMAGED:
        raise Broken("errors are typed", f"{answer} to a damaged result")
    application.erase()
    return str(answer)


def _damage(world: World, random: Random, change: object) -> str:
    if not callable(change):
        raise TypeError("`change` must be a function of a blob's content.")
    for blob, client_id in _some(world, random, 1):
        content = world.blobs.read(blob)
        if content is not None:
            world.history.lasting(DAMAGED, client_id=client_id)
            world.blobs.write(blob, change(content))
            return "damaged"
    return "there was none just then"


def _some(world: World, random: Random, count: int) -> list[tuple[Blob, str]]:
    """Return blobs of existing applications, with their application ids."""
    every = world.blobs.all()
    found = []
    for blob in random.sample(every, min(len(every), 4 * count)):
        owner = world.rows.owner(blob.store)
        if owner is not None:
            found.append((blob, owner))
    return found[:count]


def _ruin(world: World, application: Application, content: bytes, random: Random) -> None:
    """Remove or alter the blob with this content."""
    store = world.rows.store_of(application.client_id)
    if store is None:
        raise Broken("no lost application", "an application has no row")
    blob = world.blobs.blob(store, hashlib.sha256(content).hexdigest())
    world.history.lasting(DAMAGED, client_id=application.client_id)
    if random.random() < 0.3:
        world.blobs.remove(blob)
    else:
        world.blobs.write(blob, content[: random.randrange(len(content))] + b"\0")
