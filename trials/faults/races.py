"""The same call several times concurrently: only one takes effect."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

from engines.interface import DECIDE
from trials.faults.application import Application, Broken
from trials.faults.calls import Answer, upload
from trials.faults.content import needed
from trials.faults.registry import fault
from trials.faults.world import World

AT_ONCE = 5


@fault("race to run", weight=40)
def run(world: World, random: Random) -> str:
    """Request the same run concurrently: one evaluation, one result."""
    application = Application.filled(world, world.contents.draw(random))
    path, token = application.path, application.tokens[application.parties[0]]
    form = {"client_id": application.client_id, "program": DECIDE}
    whole = [lambda: world.caller.ask("POST", "/run_fhe", token, data=form)] * AT_ONCE
    queued = [lambda: world.caller.ask("POST", f"{path}/runs/{DECIDE}", token)] * AT_ONCE
    answers = _at_once([*whole, *queued])
    waited = [answer for answer in answers[:AT_ONCE] if answer.good]
    if any(not answer.good for answer in answers):
        raise Broken("one run of many calls", f"{Counter(map(str, answers))}")
    world.checked("one run of many calls")
    if len({answer.body for answer in waited}) != 1:
        raise Broken("one run of many calls", "callers got results of several evaluations")
    application.run()
    application.erase()
    return "one result"


@fault("race to fill a slot", weight=30)
def send(world: World, random: Random) -> str:
    """Send several messages to a slot concurrently: one of them is stored, intact."""
    contents = [world.contents.draw(random) for _ in range(AT_ONCE)]
    application = Application.filled(world, contents[0])
    key = random.choice(needed(world.contents.public))
    token, many = application.tokens[key[0]], [content.messages[key] for content in contents]
    forms = [upload(application.client_id, key, message) for message in many]
    _at_once([lambda f=form: world.caller.ask("POST", "/send_file", token, **f) for form in forms])  # type: ignore[misc]
    slots = application.state()["slots"]
    lies = next(s["sha256"] for s in slots if (s["party"], s["file_name"]) == key)
    world.checked("one run of many calls")
    if lies not in {hashlib.sha256(message).hexdigest() for message in many}:
        raise Broken("no wrong answer", "a slot contains a message that was not sent")
    application.send(key)  # the original message again, so that the result can be compared
    application.run()
    application.erase()
    return "one of them"


@fault("race to join", weight=30)
def join(world: World, random: Random) -> str:
    """Use a join code concurrently: one call succeeds."""
    application = Application.open(world, world.contents.draw(random))
    party = random.choice(application.parties)
    body = {"party": party, "code": application.codes[party]}
    path = f"{application.path}/join"
    answers = _at_once([lambda: world.caller.ask("POST", path, json=body)] * AT_ONCE)
    seated = [answer for answer in answers if answer.good]
    world.checked("no access across parties")
    if len(seated) > 1:
        raise Broken("no access across parties", "a join code was accepted twice")
    for answer in answers:
        if not answer.good:
            world.expect(answer, 401, "not-authorised")
    if seated:
        application.tokens[party] = seated[0].json()["token"]
        world.keep_secret(application.tokens[party])
        application.join([other for other in application.parties if other != party])
        application.erase()
    return "one joined" if seated else "lost with the connection"


@fault("race to erase", weight=20)
def erase(world: World, random: Random) -> str:
    """Erase an application concurrently with runs and uploads of it."""
    application = Application.filled(world, world.contents.draw(random))
    client_id, token = application.client_id, application.tokens[application.parties[0]]
    world.history.lasting("unknown-application", client_id=client_id)
    form = {"client_id": client_id, "program": DECIDE}
    key = needed(world.contents.public)[0]
    file = upload(client_id, key, application.content.messages[key])
    answers = _at_once(
        [
            lambda: world.caller.ask("POST", "/run_fhe", token, data=form),
            lambda: world.caller.ask("POST", "/send_file", application.tokens[key[0]], **file),
            *[lambda: world.caller.ask("DELETE", application.path, token)] * AT_ONCE,
        ]
    )
    erased = Counter(str(answer) for answer in answers[2:])
    world.checked("one run of many calls")
    if set(erased) - {"204", "404 unknown-application"} or not erased["204"] == 1:
        raise Broken("one run of many calls", f"erased: {dict(erased)}")
    allowed = {"", "unknown-application", "already-running", "already-sent", "run-cancelled"}
    allowed |= {"consent-missing"}  # the message was replaced first, so the permits are void
    if {answer.code for answer in answers[:2]} - allowed:
        raise Broken("errors are typed", f"during an erasure: {[str(a) for a in answers[:2]]}")
    if world.rows.store_of(client_id) is not None:
        raise Broken("no leak of files", "an erased application still has rows")
    return "erased once"


def _at_once(calls: list[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]
