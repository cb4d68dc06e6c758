"""A relay that alters, drops, repeats or reorders sealed messages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

from contract.sessions import SessionMessage, SessionMessages
from parties.governance.sealed_session import SealedSession
from trials.faults.application import Broken
from trials.uses.agents import Tamper, TamperingClient
from trials.uses.episode import Episode, outcome_of
from trials.uses.registry import fault
from trials.uses.world import until

_OVER_SECONDS = 20.0


@fault("a relayed message altered")
def altered(episode: Episode, random: Random) -> str:
    """Change one bit of a message: the session ends, on the side that received it."""

    def tamper(found: SessionMessages, _after: int) -> SessionMessages:
        items = list(found.items)
        if items:
            raw = bytearray(base64.b64decode(items[0].body))
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
            items[0] = SessionMessage(
                number=items[0].number, body=base64.b64encode(bytes(raw)).decode()
            )
        return found.model_copy(update={"items": items})

    return _must_end(episode, random, tamper)


@fault("a relayed message dropped")
def dropped(episode: Episode, random: Random) -> str:
    """Leave a message out, and deliver the next one under its own number or the missing one's."""
    renumbered = random.random() < 0.5
    held: list[int] = []

    def tamper(found: SessionMessages, after: int) -> SessionMessages:
        items = list(found.items)
        if items and not held:
            held.append(items[0].number)
        left = [each for each in items if each.number not in held]
        if renumbered:
            left = [
                SessionMessage(number=after + 1 + i, body=each.body) for i, each in enumerate(left)
            ]
        return found.model_copy(update={"items": left})

    return _must_end(episode, random, tamper, calls=2)


@fault("a relayed message repeated")
def repeated(episode: Episode, random: Random) -> str:
    """Deliver a message twice, with its own number or with the next one."""
    renumbered, seen = random.random() < 0.5, []

    def tamper(found: SessionMessages, after: int) -> SessionMessages:
        seen.extend(found.items)
        if not seen:
            return found
        again = seen[0]
        number = after + len(found.items) + 1 if renumbered else again.number
        items = [*found.items, SessionMessage(number=number, body=again.body)]
        return found.model_copy(update={"items": items})

    return _must_end(episode, random, tamper)


@fault("relayed messages reordered")
def reordered(episode: Episode, random: Random) -> str:
    """Hold a message until the next one is there, and deliver both in the wrong order."""
    renumbered = random.random() < 0.5

    def tamper(found: SessionMessages, after: int) -> SessionMessages:
        items = list(found.items)
        if len(items) < 2:
            return found.model_copy(update={"items": []})
        items[0], items[1] = items[1], items[0]
        if renumbered:
            items = [
                SessionMessage(number=after + 1 + i, body=each.body) for i, each in enumerate(items)
            ]
        return found.model_copy(update={"items": items})

    return _must_end(episode, random, tamper, calls=2)


@fault("a relayed message withheld for a while")
def withheld(episode: Episode, random: Random) -> str:
    """Deliver nothing for some calls, and then everything: nothing is lost or done twice."""
    left = [random.randrange(1, 4)]

    def tamper(found: SessionMessages, _after: int) -> SessionMessages:
        if found.items and left[0]:
            left[0] -= 1
            return found.model_copy(update={"items": []})
        return found

    request_id = episode.approved(random.random() < 0.5, count=2)
    _client(episode, random).tamper = tamper
    if not episode.run_until_over(request_id):
        raise Broken("nothing half-done", "a withheld message was lost")
    return "delivered"


def _must_end(episode: Episode, random: Random, tamper: Tamper, calls: int = 1) -> str:
    """Use a request under a tampering relay: the session must end with an error that says so."""
    release = random.random() < 0.5
    requests = [episode.approved(release, count=2) for _ in range(calls)]
    permits = [episode.permit(each) for each in requests]
    client = _client(episode, random)
    client.tamper = tamper

    def bring(number: int) -> Callable[[], object]:
        return lambda: episode.bring(permits[number])

    with ThreadPoolExecutor(calls) as pool:
        using = [pool.submit(outcome_of, bring(i)) for i in range(calls)]
        view = _sealed_by(episode, client)
        ended = until(lambda: view().over, _OVER_SECONDS)
        client.tamper = None
        found = sorted({each.result() for each in using})
    if not ended:
        raise Broken("nothing half-done", f"the session goes on under a bad relay: {found}")
    failure = view().failure
    if failure is None:
        raise Broken("errors are typed", "the session ended without saying why")
    # What was marked before the session ended is spent; its result was lost with the session.
    for stored in episode.owner._parts.book.requests():
        episode.withheld |= {use.entry for use in stored.uses if use.entry is not None}
    return f"{'bank' if client is episode.bank_client else 'owner'}: {failure.code}"


def _client(episode: Episode, random: Random) -> TamperingClient:
    return random.choice((episode.owner_client, episode.bank_client))


def _sealed_by(episode: Episode, client: TamperingClient) -> Callable[[], SealedSession]:
    """Return a function that returns one side of the session."""
    if client is episode.bank_client:
        return lambda: episode.bank._sessions[episode.session]
    return lambda: episode.owner._sessions[episode.session].sealed
