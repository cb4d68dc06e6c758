"""Permits of the server's gateway at the direct exchange, consents, and erasure of the owner."""

from __future__ import annotations

from random import Random

from service.sessions.session_log import owner_id
from trials.faults.application import Broken
from trials.uses.episode import (
    CHECKING,
    FIELDS,
    RACE_SECONDS,
    Episode,
    at_once,
    later,
    outcome_of,
    refused,
)
from trials.uses.registry import fault
from utils.errors import (
    ConsentMissing,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    TrisealError,
)


@fault("a gateway's permit redeemed twice", gateway=True)
def twice(episode: Episode, random: Random) -> str:
    """Redeem a permit of `POST /authorize` again, one after the other or at once."""
    permit = _authorized(episode)
    owner, signer = episode.owner, owner_key(episode)
    if random.random() < 0.5:
        episode.bank.exchange(owner, permit, signer)
        return refused(lambda: episode.bank.exchange(owner, permit, signer), PermitSpent)
    found = at_once(*[lambda: episode.bank.exchange(owner, permit, signer)] * 3)
    if sorted(found) != sorted(["done", PermitSpent.code, PermitSpent.code]):
        raise Broken("no permit twice", f"three exchanges at once: {found}")
    return f"{PermitSpent.code}, of three at once"


@fault("a gateway's permit of another partner", gateway=True)
def stolen(episode: Episode, random: Random) -> str:
    """Have another bank bring a permit of the gateway to the owner."""
    permit, other = _authorized(episode), episode.new_bank()
    owner, signer = episode.owner, owner_key(episode)
    code = refused(lambda: other.exchange(owner, permit, signer), PermitInvalid)
    episode.bank.exchange(owner, permit, signer)
    return code


@fault("a consent revoked between permit and use", weight=15, gateway=True)
def revoked(episode: Episode, random: Random) -> str:
    """Withdraw the consent after `POST /authorize`, before the exchange or at the same time."""
    permit = _authorized(episode)
    owner, signer, partner = episode.owner, owner_key(episode), episode.bank.partner_id

    def revoke() -> None:
        owner.consent(partner, CHECKING, False)

    if random.random() < 0.5:
        revoke()
        return refused(
            lambda: episode.bank.exchange(owner, permit, signer),
            ConsentMissing,
            PolicyDenied,
            PermitInvalid,
        )
    both = (
        lambda: episode.bank.exchange(owner, permit, signer),
        later(random, revoke, RACE_SECONDS),
    )
    used, said = at_once(*both)
    if said != "done":
        raise Broken("nothing half-done", f"the revocation failed: {said}")
    again = refused(lambda: episode.bank.exchange(owner, permit, signer), TrisealError)
    return f"at once: {used}, then {again}"


@fault("the owner erased in the middle", weight=15, gateway=True)
def erased(episode: Episode, random: Random) -> str:
    """Erase the owner at the server between permit and use, or at the same time."""
    by_gateway = random.random() < 0.5
    owner, client = episode.owner, episode.owner_client
    key = owner._identity.private

    def erase() -> None:
        client.erase_owner(key, episode.user or owner_id(owner.key))

    if by_gateway:
        permit, signer = _authorized(episode), owner_key(episode)

        def use() -> object:
            return episode.bank.exchange(owner, permit, signer)

    else:
        token = episode.permit(episode.approved(random.random() < 0.5))

        def use() -> object:
            return episode.bring(token)

    if random.random() < 0.5:
        erase()
        found = refused(use, TrisealError)
        how = "before"
    else:
        found, done = at_once(use, later(random, erase, RACE_SECONDS))
        if done != "done":
            raise Broken("nothing half-done", f"the erasure failed: {done}")
        how = "at once"
    if outcome_of(use) == "done":
        raise Broken("nothing runs without a permit", "a permit was used after the erasure")
    _forgotten(episode)
    return f"{'exchange' if by_gateway else 'session'}, {how}: {found}"


def owner_key(episode: Episode) -> str:
    """Return the server's key for permits."""
    return episode.owner_client.log_facts().permit_key


def _authorized(episode: Episode) -> str:
    """Have the owner consent, and return a permit of the gateway."""
    episode.owner.consent(episode.bank.partner_id, CHECKING, True)
    return episode.authorize(episode.bank, *FIELDS)


def _forgotten(episode: Episode) -> None:
    """The operator can read no details about the owner any more."""
    world = episode.world
    found = world.call(
        "GET", "/logs", params={"user_id": episode.name, "limit": 100}, headers=world.operator
    )
    readable = [line for line in found.json()["items"] if line["details"] is not None]
    if any(line["index"] >= episode.first and line["kind"] != "erasure" for line in readable):
        raise Broken("nothing half-done", "details of an erased owner can be read")
