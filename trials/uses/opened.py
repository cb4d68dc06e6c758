"""An owner's folder opened with a wrong secret, or with altered files."""

from __future__ import annotations

from functools import partial
from random import Random

from governance.store_key import Secret
from parties.governance.owner import BOOK, DATA, SESSIONS, Owner
from trials.faults.application import Broken
from trials.uses.episode import Episode, outcome_of, refused
from trials.uses.registry import fault
from utils.errors import StoreDamaged, StoreLocked

PASSPHRASE, OTHER = "correct horse battery", "correct horse battery 2"


@fault("a store opened with a wrong secret", weight=8)
def wrong_secret(episode: Episode, random: Random) -> str:
    """Start the owner's agent with a wrong passphrase or key: nothing changes."""
    request_id = episode.approved(random.random() < 0.5)
    if random.random() < 0.3:  # scrypt takes half a second each time
        home = episode.folder / "by passphrase"
        Owner.start(
            home, episode.owner_client, "Eve", Secret("passphrase", PASSPHRASE.encode())
        ).close()
        wrong = Secret("passphrase", OTHER.encode())
        code = refused(lambda: Owner.start(home, episode.owner_client, "Eve", wrong), StoreLocked)
    else:
        wrong = Secret("key_file", random.randbytes(32))
        episode.owner.close()
        code = refused(
            lambda: Owner.start(episode.home, episode.owner_client, episode.name, wrong),
            StoreLocked,
        )
        episode.start_owner()
    if not episode.run_until_over(request_id):
        raise Broken("nothing half-done", "the request is lost after a wrong secret")
    return code


@fault("the owner's files altered", weight=8)
def altered(episode: Episode, random: Random) -> str:
    """Change one bit of a file of the owner's agent: it is noticed when the file is read."""
    requests = [episode.approved(release, count=2) for release in (False, True)]
    episode.owner.close()
    place = random.choice((BOOK, DATA, SESSIONS))
    files = sorted(
        path
        for path in (episode.home / place).rglob("*")
        if path.is_file() and path.stat().st_size > 64
    )
    chosen = random.choice(files)
    good = chosen.read_bytes()
    bad = bytearray(good)
    bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
    chosen.write_bytes(bytes(bad))
    try:
        found = _started_with(episode, requests)
    finally:
        chosen.write_bytes(good)
    episode.start_owner()
    if not all(episode.run_until_over(each) for each in requests):
        raise Broken("nothing half-done", "a request is lost after the repair")
    return f"{place}: {found}"


def _started_with(episode: Episode, requests: list[str]) -> str:
    """Start the agent on altered files, use both data sets, and say how it noticed."""
    try:
        episode.start_owner()
    except (StoreDamaged, StoreLocked) as error:
        return f"{error.code} at its start"
    try:
        sessions = {view.session_id for view in episode.owner.sessions()}
        if episode.session not in sessions:
            return "the session is given up"
        permits = [episode.permit(each) for each in requests]
        found = [outcome_of(partial(episode.bring, each)) for each in permits]
    finally:
        episode.owner.close()
    if sorted(found) != sorted(("done", StoreDamaged.code)):
        raise Broken("errors are typed", f"uses of two data sets, one of them altered: {found}")
    return f"{StoreDamaged.code} at its use"
