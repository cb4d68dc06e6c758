"""What the server does to its storage on its own: erase what is over, remove what nobody names."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import delete, select

from service.applications.applications import remove_rows
from service.storage.storage import Storage, named_by
from service.storage.tables import ApplicationRecord, TombstoneRecord
from utils.errors import DiskFull, StorageUnavailable

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
"""How long an expired id answers 410; afterwards it is as unknown as any other."""
ORPHAN_SECONDS = 3600.0
"""Age at which a blob without a row belongs to no upload or run still under way."""
BATCH = 32
"""Applications that are erased in one transaction."""


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

    Of each a tombstone is left, for TOMBSTONE_SECONDS. Where the disk is full they are erased one
    by one, since erasing many at once takes as much room as they do. Raises StorageUnavailable
    where none could be erased.
    """
    swept = Swept()
    most = BATCH
    while True:
        try:
            batch = storage.erasing(partial(_erase_over, storage, now, most))
        except DiskFull:
            if most > 1:
                most = 1
                continue
            _make_room(storage, now)  # for the next time
            if swept.applications:
                break
            raise
        for store in batch.stores:
            with suppress(StorageUnavailable):  # it has been noted, and they go as orphans
                storage.remove_store(store)
        if batch.stores:
            with suppress(StorageUnavailable):  # the log is emptied with the next one
                storage.scrub()
        swept.applications += batch.applications
        swept.stores += batch.stores
        if len(batch.applications) < most:
            break
    return swept


def _erase_over(storage: Storage, now: float, most: int) -> Swept:
    """Erase the rows of at most so many applications whose time is over."""
    with storage.write() as session:
        over = session.scalars(
            select(ApplicationRecord)
            .where(ApplicationRecord.expires <= now)
            .limit(most)
            .with_for_update(skip_locked=True)
        ).all()
        batch = Swept([a.client_id for a in over], [a.store for a in over])
        remove_rows(session, batch.applications)
        for client_id in batch.applications:
            session.add(TombstoneRecord(client_id=client_id, expired=now))
            storage.announce(session, client_id)
        session.execute(
            delete(TombstoneRecord).where(TombstoneRecord.expired <= now - TOMBSTONE_SECONDS)
        )
    return batch


def _make_room(storage: Storage, now: float) -> None:
    """Remove the blobs of applications whose time is over, though their rows are still there.

    Nobody can use them any more, and removing files takes no room.
    """
    with storage.read() as session:
        over = select(ApplicationRecord.store).where(ApplicationRecord.expires <= now)
        stores = list(session.scalars(over))
    for store in stores:
        with suppress(StorageUnavailable):
            storage.remove_store(store)


def remove_orphans(storage: Storage, older_than: float) -> list[str]:
    """Remove blobs that no row names and that are older than so many seconds.

    Answers the stores that are gone: those of applications that a crash cut off half erased.
    Raises StorageUnavailable where the store of blobs has become another database's.
    """
    storage.require_pair()
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
