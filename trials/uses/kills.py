"""`kill -9` of the owner's agent, the bank's, and the server, in the middle of a use."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from parties.governance.calls import Redeem
from trials.faults.application import Broken
from trials.uses.children import (
    BankPoint,
    OwnerPoint,
    play_bank,
    play_owner,
    require_killed,
    started,
)
from trials.uses.episode import Episode, refused
from trials.uses.registry import fault
from trials.uses.world import until
from utils.errors import PermitSpent, TrisealError

_RESULT_SECONDS = 20.0


@fault("the owner killed before the use is marked", weight=8)
def before(episode: Episode, random: Random) -> str:
    """Kill the owner's agent when it is about to have the use marked."""
    return _kill_owner(episode, random, "before the mark")


@fault("the owner killed after the use is marked", weight=8)
def after(episode: Episode, random: Random) -> str:
    """Kill the owner's agent when the server has marked the use, and it does not know yet."""
    return _kill_owner(episode, random, "after the mark")


@fault("the owner killed before the delivery", weight=8)
def between(episode: Episode, random: Random) -> str:
    """Kill the owner's agent when it has stored that the use has begun, and sent nothing."""
    return _kill_owner(episode, random, "before the delivery")


@fault("the bank killed between permit and use", weight=12)
def bank(episode: Episode, random: Random) -> str:
    """Kill the bank's agent with a permit, or before the result arrives; then start it again."""
    request_id = episode.approved(random.random() < 0.5)
    point: BankPoint = random.choice(("before it redeems", "when it has redeemed"))
    episode.bank.close()
    url, token = episode.world.url, episode.bank.token()
    require_killed(started(play_bank, episode.bank.home, url, token, request_id, point))
    episode.start_bank()
    if not episode.run_until_over(request_id):
        raise Broken("nothing half-done", "there is no result after the restart")
    if len(episode.stored(request_id).uses) != 1:
        raise Broken("no permit twice", "the use was repeated after the restart")
    return point


@fault("the server killed in the middle of a use", weight=8)
def server(episode: Episode, random: Random) -> str:
    """Kill the server before it marks a use, after that, or at any time."""
    request_id = episode.approved(random.random() < 0.5)
    permit = episode.permit(request_id)
    point = random.choice(("before the mark", "after the mark", "at any time"))
    owner, reached, back = episode.owner, threading.Event(), threading.Event()
    mark = owner.use_permit

    def use_permit(*given: Any) -> int:
        if point == "before the mark":
            reached.set()
            back.wait(60)
        entry = mark(*given)
        if point == "after the mark" and not reached.is_set():
            reached.set()
            back.wait(60)
            return mark(*given)  # as if the response had been lost
        return entry

    if point != "at any time":
        owner.use_permit = use_permit  # type: ignore[assignment, method-assign]
    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(lambda: episode.bring(permit))
        if point == "at any time":
            time.sleep(random.random() * 0.2)
        elif not reached.wait(30):
            raise Broken("the trial itself", "the use did not begin")
        with episode.server_down():
            pass
        back.set()
        try:
            using.result()
            found = "done"
        except TrisealError as error:
            found = error.code
    owner.use_permit = mark  # type: ignore[method-assign]
    _bring_until_spent(episode, permit)
    if not until(lambda: episode.bank.outcomes, _RESULT_SECONDS):
        raise Broken("nothing half-done", f"there is no result after the restart ({found})")
    return f"{point}: {found}"


def _kill_owner(episode: Episode, random: Random, point: OwnerPoint) -> str:
    request_id = episode.approved(random.random() < 0.5)
    token, jti = episode.permit(request_id)
    episode.owner.close()
    process = started(
        play_owner,
        episode.home,
        episode.world.url,
        episode.name,
        episode.secret.value,
        point,
    )
    call = Redeem(call=1, permit=token, signature=episode.bank.proof(episode.session, token, jti))
    number = _send(episode, call, jti, request_id)
    require_killed(process)
    # Read before the restart: a started agent goes on with the use at once.
    if episode.stored_uses(request_id) and point != "before the delivery":
        raise Broken("nothing half-done", "the killed agent had counted the use already")
    episode.start_owner()
    if not until(lambda: episode.bank.outcomes, _RESULT_SECONDS):
        raise Broken("nothing half-done", "the owner's agent did not send the result when back")
    if episode.bank.outcomes[0].call != number:
        raise Broken("nothing half-done", "the result came for another call")
    return refused(lambda: episode.bring((token, jti)), PermitSpent)


def _send(episode: Episode, call: Redeem, jti: str, request_id: str) -> int:
    """Send a call without waiting for its reply."""
    with episode.bank._changed:
        episode.bank._put(request_id, lambda each: each.redeemed_by(call.call, jti))
        session = episode.bank._sessions[episode.session]
    session.send(call)
    return call.call


def _bring_until_spent(episode: Episode, permit: tuple[str, str]) -> None:
    """Bring a permit until the owner says that it was used, or the result is there."""
    for _ in range(8):
        try:
            episode.bring(permit)
        except PermitSpent:
            return
        except TrisealError:
            time.sleep(0.5)
    raise Broken("nothing half-done", "a permit can be brought again and again")
