"""Join codes and tokens that are replayed, forged, foreign, revoked, expired or too narrow."""

from __future__ import annotations

import secrets
from random import Random

from trials.faults.application import Application, Broken, require
from trials.faults.calls import Answer, upload
from trials.faults.content import needed
from trials.faults.registry import fault
from trials.faults.world import World

DENIED, FORBIDDEN_SLOT, FORBIDDEN_SCOPE = "not-authorised", "forbidden-slot", "forbidden-scope"


@fault("replay a join code", weight=30)
def replay(world: World, random: Random) -> str:
    """Use a join code again: it is refused."""
    application = Application.open(world, world.contents.draw(random))
    application.join()
    party = random.choice(application.parties)
    body = {"party": party, "code": application.codes[party]}
    answer = world.caller.ask("POST", f"{application.path}/join", json=body)
    if answer.good:
        raise Broken("no access across parties", "a join code was accepted twice")
    application.erase()
    return world.expect(answer, 401, DENIED)


@fault("join as another party", weight=20)
def join_as_another(world: World, random: Random) -> str:
    """Use a party's join code for another party: it is refused."""
    application = Application.open(world, world.contents.draw(random))
    mine, other = random.sample(application.parties, 2)
    body = {"party": other, "code": application.codes[mine]}
    answer = world.caller.ask("POST", f"{application.path}/join", json=body)
    said = world.expect(answer, 401, DENIED)
    application.join()
    application.erase()
    return said


@fault("forge a token", weight=30)
def forge(world: World, random: Random) -> str:
    """Use tokens that are random, altered, of another application, or of another kind."""
    application = Application.open(world, world.contents.draw(random))
    other = Application.open(world, world.contents.draw(random))
    application.join()
    other.join()
    good = application.tokens[application.parties[0]]
    forged = [
        secrets.token_urlsafe(32),
        good[:-1],
        good[:-2] + ("AA" if not good.endswith("AA") else "BB"),
        good.swapcase(),
        None,
        other.tokens[other.parties[0]],
        next(iter(application.codes.values())),
    ]
    for token in forged:
        for answer in _every_call(world, application, token, random):
            world.expect(answer, 401, DENIED)
    for one in (application, other):
        one.erase()
    return f"401 {DENIED}"


@fault("fill another party's slot", weight=30)
def foreign_slot(world: World, random: Random) -> str:
    """Send to a slot with another party's token: it is refused."""
    application = Application.open(world, world.contents.draw(random))
    application.join()
    mine, other = random.sample(application.parties, 2)
    key = random.choice([k for k in needed(world.contents.public) if k[0] == other])
    form = upload(application.client_id, key, application.content.messages[key])
    answer = world.caller.ask("POST", "/send_file", application.tokens[mine], **form)
    application.erase()
    return world.expect(answer, 403, FORBIDDEN_SLOT)


@fault("act with the watching token", weight=15)
def watching(world: World, random: Random) -> str:
    """Use the watch token: it gives access to the state only."""
    application = Application.filled(world, world.contents.draw(random))
    require(world.caller.ask("GET", application.path, application.watch_token), 200)
    for answer in _every_call(world, application, application.watch_token, random)[1:]:
        world.expect(answer, 401, DENIED)
    application.run()
    application.erase()
    return f"401 {DENIED}"


@fault("use a revoked token", weight=25)
def revoked(world: World, random: Random) -> str:
    """Use a token revoked by its party or by the operator: it is refused."""
    application = Application.filled(world, world.contents.draw(random))
    party = random.choice(application.parties)
    if random.random() < 0.5:
        answer = world.caller.ask("DELETE", f"{application.path}/token", application.tokens[party])
    else:
        answer = world.operator("DELETE", f"/applications/{application.client_id}/tokens")
    require(answer, 204)
    for answer in _every_call(world, application, application.tokens[party], random):
        world.expect(answer, 401, DENIED)
    require(world.operator("DELETE", f"/applications/{application.client_id}"), 204)
    return f"401 {DENIED}"


@fault("renew a token", weight=20)
def renewed(world: World, random: Random) -> str:
    """Renew all tokens and continue with the new ones."""
    application = Application.filled(world, world.contents.draw(random))
    for party, old in dict(application.tokens).items():
        answer = world.caller.ask("POST", f"{application.path}/token", old)
        if not answer.good:
            raise Broken("no lost application", f"{answer} to a renewal")
        application.tokens[party] = answer.json()["token"]
        world.keep_secret(application.tokens[party])
    application.run()
    application.erase()
    return "answered"


@fault("use an expired token", weight=20)
def expired(world: World, random: Random) -> str:
    """Use a token whose row says that it has expired: it is refused."""
    application = Application.filled(world, world.contents.draw(random))
    world.rows.end_tokens(application.client_id)
    token = application.tokens[random.choice(application.parties)]
    for answer in _every_call(world, application, token, random):
        world.expect(answer, 401, DENIED)
    require(world.operator("DELETE", f"/applications/{application.client_id}"), 204)
    return f"401 {DENIED}"


@fault("do more than a token's scopes", weight=20)
def narrow(world: World, random: Random) -> str:
    """Use a token with fewer scopes: other calls are refused."""
    application = Application.open(world, world.contents.draw(random))
    first, *others = application.parties
    application.join(others)
    body = {"party": first, "code": application.codes[first], "scopes": ["read"]}
    answer = world.caller.ask("POST", f"{application.path}/join", json=body)
    if not answer.good:
        return str(answer) if answer.cut else world.expect(answer, 200)
    token = answer.json()["token"]
    world.keep_secret(token)
    for answer in _every_call(world, application, token, random)[1:]:
        if answer.code != "out-of-step":  # reading is allowed, but there is no result
            world.expect(answer, 403, FORBIDDEN_SCOPE)
    require(world.operator("DELETE", f"/applications/{application.client_id}"), 204)
    return f"403 {FORBIDDEN_SCOPE}"


@fault("forge the operator's token", weight=15)
def operator(world: World, random: Random) -> str:
    """Use random and parties' tokens for the operator's calls: they are refused."""
    application = Application.open(world, world.contents.draw(random))
    application.join()
    path = f"/operator/applications/{application.client_id}"
    for token in (None, secrets.token_urlsafe(32), application.tokens[application.parties[0]]):
        for method, where in (
            ("GET", "/operator/applications"),
            ("GET", "/operator/jobs"),
            ("GET", path),
            ("DELETE", path),
            ("DELETE", f"{path}/tokens"),
        ):
            world.expect(world.caller.ask(method, where, token), 401, DENIED)
    application.state()
    application.erase()
    return f"401 {DENIED}"


def _every_call(
    world: World, application: Application, token: str | None, random: Random
) -> list[Answer]:
    """Make each call of a party with this token, the state first; returns the responses."""
    caller, path = world.caller, application.path
    key = random.choice(needed(world.contents.public))
    form = {"client_id": application.client_id, "program": "decide"}
    message = {"step": "hello", "receiver": None, "body": "eA=="}
    file = upload(application.client_id, key, application.content.messages[key])
    return [
        caller.ask("GET", path, token),
        caller.ask("POST", "/get_output", token, data=form),
        caller.ask("POST", "/run_fhe", token, data=form),
        caller.ask("POST", f"{path}/messages", token, json=message),
        caller.ask("POST", "/send_file", token, **file),
        caller.ask("DELETE", path, token),
    ]
