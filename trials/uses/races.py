"""An approval, a use and a revocation at the same time; and two servers with one permit."""

from __future__ import annotations

import hashlib
import secrets
from random import Random

from parties.client import ServerClient
from trials.faults.application import Broken
from trials.uses.episode import (
    CLIENT_SECONDS,
    NOT_PERMITTED,
    RACE_SECONDS,
    Episode,
    at_once,
    later,
    refused,
)
from trials.uses.registry import fault
from utils.errors import ConsentMissing, PermitSpent, RequestClosed

_CLOSED = (ConsentMissing, RequestClosed)


@fault("an approval raced by a revocation")
def approval(episode: Episode, random: Random) -> str:
    """Approve and revoke at once: without an approval there is no permit."""
    request_id = episode.ask(release=random.random() < 0.5)
    owner = episode.owner
    revoke = later(random, lambda: owner.revoke(request_id), RACE_SECONDS)
    approve = later(random, lambda: owner.approve(request_id), RACE_SECONDS)
    found = at_once(approve, revoke)
    status = owner.request(request_id).status
    if status == "active":
        episode.until_status(request_id, "active")
        episode.run_until_over(request_id)
    else:
        refused(lambda: episode.permit(request_id), *_CLOSED)
    expected = "active" if found[1] != "done" else "revoked"
    if found[0] != "done" or status != expected:
        raise Broken("nothing half-done", f"{found}, and then the request is {status}")
    return f"then {status}"


@fault("a use raced by a revocation", weight=15)
def use(episode: Episode, random: Random) -> str:
    """Redeem and revoke at once: one of them is first, and both sides know which."""
    request_id = episode.approved(random.random() < 0.5)
    permit, owner = episode.permit(request_id), episode.owner
    revoke = later(random, lambda: owner.revoke(request_id), RACE_SECONDS)
    used, revoked = at_once(lambda: episode.bring(permit), revoke)
    uses = len(episode.stored(request_id).uses)
    # A request that was used up before the revocation arrived cannot be revoked any more.
    if uses != (used == "done") or (revoked != "done" and used != "done"):
        raise Broken("nothing half-done", f"used: {used}, revoked: {revoked}, and {uses} uses")
    refused(lambda: episode.bring(permit), PermitSpent, *_CLOSED)
    return f"used: {used}"


@fault("a use raced by one on another server", weight=15)
def other_server(episode: Episode, random: Random) -> str:
    """Have a copy of the owner's agent mark the same permit, on another server if there is one."""
    request_id = episode.approved(random.random() < 0.5)
    permit = episode.permit(request_id)
    stored, owner = episode.stored(request_id), episode.owner
    receipt = hashlib.sha256((stored.receipt or "").encode()).hexdigest()
    token, details = owner._token(episode.session), {"request_id": request_id}
    entries: list[int] = []
    with ServerClient(episode.world.servers[-1].url, CLIENT_SECONDS) as client:

        def mark() -> None:
            key = secrets.token_hex(16)
            entry = client.use_permit(episode.session, token, permit[0], receipt, details, key)
            entries.append(entry)
            episode.elsewhere.add(entry)

        used, marked = at_once(lambda: episode.bring(permit), later(random, mark, RACE_SECONDS))
    if sorted((used, marked)) != ["done", PermitSpent.code]:
        raise Broken("no permit twice", f"the owner: {used}, its copy: {marked}")
    if len(episode.stored(request_id).uses) != (used == "done"):
        raise Broken(NOT_PERMITTED, "the owner has counted a use of its copy")
    return "the owner was first" if used == "done" else "the copy was first"
