"""Automatic clean-up of the storage: erase expired applications and remove orphaned blobs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import delete, select

from service.applications.applications import remove_rows
from service.applications.logged import log_erasure
from service.applications.permits import remove_expired
from service.governance.gateway import remove_expired_permits
from service.sessions.sessions import remove_old_sessions
from service.storage.storage import Storage, named_by
from service.storage.tables import ApplicationRecord, TombstoneRecord
from service.trainings.trainings import remove_old_trainings
from utils.errors import DiskFull, StorageUnavailable

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
"""Time during which requests for an expired id get 410; afterwards they get 404."""
ORPHAN_SECONDS = 3600.0
"""Age from which a blob without a row cannot belong to an upload or run in progress."""
BATCH = 32
"""Applications erased in one transaction."""


@dataclass
class Swept:
    """The result of a sweep: the ids of expired applications, and all stores removed."""

    applications: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)


def recover(storage: Storage) -> None:
    """Remove unfinished uploads at the start, and orphans unless the storage is shared.

    In shared storage, a blob without a row may belong to an upload in progress on another server,
    so orphans are removed there by age only.
    """
    storage.incoming.clear()
    if not storage.shared:
        remove_orphans(storage, older_than=0.0)


def sweep(storage: Storage, now: float) -> Swept:
    """Erase the applications that have expired at `now` (seconds since 1970).

    Each leaves a tombstone for TOMBSTONE_SECONDS. On a full disk they are erased one by one, since
    erasing many at once needs as much free space as they occupy. Raises StorageUnavailable if none
    could be erased. Expired permits, and sessions and trainings that are over, are removed
    too.
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
            _make_room(storage, now)  # for the next sweep
            if swept.applications:
                break
            raise
        for store in batch.stores:
            with suppress(StorageUnavailable):  # already logged; they are removed as orphans
                storage.remove_store(store)
        if batch.stores:
            with suppress(StorageUnavailable):  # the next scrub empties the log
                storage.scrub()
        swept.applications += batch.applications
        swept.stores += batch.stores
        if len(batch.applications) < most:
            break
    with suppress(DiskFull):  # the next sweep tries again
        remove_expired(storage, now)
        remove_expired_permits(storage, now)
        remove_old_sessions(storage, now)
        remove_old_trainings(storage, now)
    return swept


def _erase_over(storage: Storage, now: float, most: int) -> Swept:
    """Erase the rows of at most `most` expired applications."""
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
        log_erasure(storage, session, batch.applications, now)
    return batch


def _make_room(storage: Storage, now: float) -> None:
    """Remove the blobs of expired applications whose rows could not be erased yet.

    The blobs can no longer be used, and removing files needs no free space.
    """
    with storage.read() as session:
        over = select(ApplicationRecord.store).where(ApplicationRecord.expires <= now)
        stores = list(session.scalars(over))
    for store in stores:
        with suppress(StorageUnavailable):
            storage.remove_store(store)


def remove_orphans(storage: Storage, older_than: float) -> list[str]:
    """Remove blobs that no row refers to and that are older than `older_than` seconds.

    Returns the removed stores, which belonged to applications whose erasure a crash interrupted.
    Raises StorageUnavailable if the blob store no longer belongs to this database.
    """
    storage.require_pair()
    oldest = time.time() - older_than
    gone = []
    # Blobs are listed before the rows are read, so one that gets its row in between is not removed.
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
