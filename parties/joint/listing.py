"""The applications in a party's folder, each with the last step that the party has taken in it.

Read from the files alone, so that applications that no process plays are listed as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from parties.expiry import read_expiry
from parties.joint.files import MemberFiles, MemberRecord
from parties.joint.messages import RECORD_COMMIT, SHARE_OPEN
from parties.store import PartyStore
from utils.errors import MalformedMessage

MOST = 50
"""Largest number of applications in a list, the newest ones."""

Stage = Literal["joined", "key", "sent", "agreed", "answered", "decided", "ended", "damaged"]


@dataclass(frozen=True)
class ListedApplication:
    """An application; `joined` is in UTC, None if its file is lost.

    `stage` is the last step: it `joined`, sent its share of the `key`, `sent` its record, `agreed`
    to open the decision, `answered` with its decryption share, or `decided`: the decision is open
    to it. `approved` is None before that. An application that has `ended` has its reason in `why`.
    """

    client_id: str
    joined: datetime | None
    stage: Stage
    approved: bool | None = None
    explained: bool = False
    reasoned: bool = False
    why: str = ""

    @property
    def over(self) -> bool:
        """True if nothing more can happen before the next request of a person."""
        return self.stage in ("answered", "decided", "ended", "damaged")


def listed_applications(
    store: PartyStore, public: PublicModel, party: str
) -> list[ListedApplication]:
    """Return the party's applications in `store`, newest first, at most MOST."""
    return [_listed(store, public, party, each) for each in store.applications(party)[:MOST]]


def _listed(
    store: PartyStore, public: PublicModel, party: str, client_id: str
) -> ListedApplication:
    expiry = read_expiry(store, client_id, party)
    joined = None if expiry is None else datetime.fromtimestamp(expiry.joined, UTC)
    try:
        member = MemberFiles(store, client_id, party).member()
    except MalformedMessage:
        return ListedApplication(client_id, joined, "damaged")
    decided = member.scores.get(public.final(DECIDE))
    opened = {
        program: program in public.programs and public.final(program) in member.scores
        for program in (EXPLAIN, REASONS)
    }
    return ListedApplication(
        client_id,
        joined,
        _stage(member, public, party),
        None if decided is None else decided[0] >= 0,
        opened[EXPLAIN],
        opened[REASONS],
        "" if member.ended is None else member.ended.message,
    )


def _stage(member: MemberRecord, public: PublicModel, party: str) -> Stage:
    final = public.final(DECIDE)
    if final in member.scores:
        return "decided"
    if member.ended is not None:
        return "ended"
    taken = {event.what for event in member.events if event.sender == party}
    steps: list[tuple[str, Stage]] = [
        (f"partial:{final}", "answered"),
        (f"agree:{DECIDE}", "agreed"),
        (RECORD_COMMIT, "sent"),
        (SHARE_OPEN, "key"),
    ]
    return next((stage for what, stage in steps if what in taken), "joined")
