"""What the server does to its storage on its own: recover at the start, erase what is over."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from service.records import IDLE, RUNNING, ApplicationRecord, RunRecord, TombstoneRecord
from service.rules import blobs_of
from service.storage import Storage

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
"""How long an expired id answers 410; afterwards it is as unknown as any other."""
ORPHAN_SECONDS = 3600.0
"""Age at which a blob without a row belongs to no upload or check still under way."""


def recover(storage: Storage) -> None:
    """At the start, when nothing runs yet: runs cut off become idle, leftover files go."""
    with storage.write() as session:
        session.execute(update(RunRecord).where(RunRecord.status == RUNNING).values(status=IDLE))
    storage.remove_orphans(older_than=0.0)


def sweep(storage: Storage, now: float) -> list[str]:
    """Erase the applications whose time is over at `now` (seconds since 1970); answers their ids.

    Of each a tombstone is left, for TOMBSTONE_SECONDS.
    """
    with storage.write() as session:
        over = session.scalars(
            select(ApplicationRecord).where(ApplicationRecord.expires <= now)
        ).all()
        ids = [application.client_id for application in over]
        blobs = [blob for application in over for blob in blobs_of(application)]
        session.execute(delete(ApplicationRecord).where(ApplicationRecord.client_id.in_(ids)))
        session.add_all(TombstoneRecord(client_id=client_id, expired=now) for client_id in ids)
        session.execute(
            delete(TombstoneRecord).where(TombstoneRecord.expired <= now - TOMBSTONE_SECONDS)
        )
    storage.remove_blobs(blobs)
    if ids:
        storage.scrub()
    storage.remove_orphans(older_than=ORPHAN_SECONDS)
    return ids
