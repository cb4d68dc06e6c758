"""What the server does to its storage on its own: erase what is over, remove what nobody names."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import delete, select

from service.applications import remove_rows
from service.records import ApplicationRecord, TombstoneRecord
from service.storage import Storage, named_by

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
"""How long an expired id answers 410; afterwards it is as unknown as any other."""
ORPHAN_SECONDS = 3600.0
"""Age at which a blob without a row belongs to no upload or run still under way."""


@dataclass
class Swept:
    """What a sweep erased: the ids of applications whose time was over, and all stores gone."""

    applications: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)


def recover(storage: Storage) -> None:
    """At the start: files that were arriving go, and orphans where no other server could own them.

    In a shared store another server's upload may be on its way to its row; there they go by age.
    """
    storage.incoming.clear()
    if not storage.shared:
        remove_orphans(storage, older_than=0.0)


def sweep(storage: Storage, now: float) -> Swept:
    """Erase the applications whose time is over at `now` (seconds since 1970).

    Of each a tombstone is left, for TOMBSTONE_SECONDS.
    """
    swept = Swept()
    with storage.write() as session:
        over = session.scalars(
            select(ApplicationRecord)
            .where(ApplicationRecord.expires <= now)
            .with_for_update(skip_locked=True)
        ).all()
        swept.applications = [application.client_id for application in over]
        swept.stores = [application.store for application in over]
        remove_rows(session, swept.applications)
        for client_id in swept.applications:
            session.add(TombstoneRecord(client_id=client_id, expired=now))
            storage.announce(session, client_id)
        session.execute(
            delete(TombstoneRecord).where(TombstoneRecord.expired <= now - TOMBSTONE_SECONDS)
        )
    for store in swept.stores:
        storage.remove_store(store)
    if swept.stores:
        storage.scrub()
    return swept


def remove_orphans(storage: Storage, older_than: float) -> list[str]:
    """Remove blobs that no row names and that are older than so many seconds.

    Answers the stores that are gone: those of applications that a crash cut off half erased.
    """
    oldest = time.time() - older_than
    gone = []
    # Listed before the rows are read: what gets its row in between is known.
    for store in list(storage.blobs.stores()):
        names = {name for name, _, modified in storage.blobs.blobs_of(store) if modified <= oldest}
        with storage.read() as session:
            owner = session.scalar(
                select(ApplicationRecord).where(ApplicationRecord.store == store)
            )
            client_id = None if owner is None else owner.client_id
            known = set() if owner is None else named_by(owner)
        if client_id is not None:
            if names - known:
                storage.release(client_id, store, names - known)
        elif len(names) == sum(1 for _ in storage.blobs.blobs_of(store)):
            storage.remove_store(store)
            gone.append(store)
    storage.incoming.clear(older_than)
    storage.blobs.remove_unfinished(older_than)
    return gone
