"""The pairing of one database with one blob store.

A server removes blobs that no row in its database refers to. With the wrong database it would
delete another server's blobs, and with the wrong store it would find none of its own. Therefore the
store carries a mark with two random names, the database's and its own, and the database stores the
same two.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.storage.blob_backends import MARK
from service.storage.blobs import Blobs
from service.storage.database import Database
from service.storage.tables import ApplicationRecord, PairingRecord, UploadRecord, table_of
from utils.errors import DataFolderInUse, FolderNotOurs, StorageUnavailable

LOCK = 3
"""The number of the database lock for choosing a store; storage.py defines the others."""
_PAIRING = table_of(PairingRecord)
_ROW = select(_PAIRING.c.database, _PAIRING.c.store)
_NOTE = "Triseal keeps ciphertexts here and removes what its database does not name."


@dataclass(frozen=True)
class Pair:
    """The random names of a database and of the store that belongs to it."""

    database: str
    store: str

    def mark(self) -> bytes:
        """Return the content of the store's mark."""
        return json.dumps({"note": _NOTE, **asdict(self)}).encode()


def pair(database: Database, blobs: Blobs, *, own: bool) -> Pair:
    """Make sure that the store belongs to this database; mark it on first use.

    `own` means that the store is in the server's own folder, so that blobs unknown to the database
    were left by a crash. Raises DataFolderInUse for another database's store, FolderNotOurs if the
    store holds foreign files, and StorageUnavailable, also if the database's blobs are in another
    store.
    """
    with database.read() as session:
        name, store = session.execute(_ROW).one()
        needed = _stores_with_blobs(session)
    mark = blobs.mark()
    if mark is None:
        if not _may_be_marked(blobs, needed, own=own, chosen=store is not None and database.shared):
            raise _another_store()
        if not needed and not database.shared:
            store = None  # no other server uses it: a new store may replace an empty one
            _choose(database, name, None)
        mark = blobs.claim(Pair(name, store or secrets.token_hex(16)).mark())
    found = _read(mark)
    if found is None:
        raise FolderNotOurs(
            f"The store of ciphertexts has a file {MARK} that Triseal did not make; set "
            "TRISEAL_BLOB_URL to another place."
        )
    if found.database != name:
        raise DataFolderInUse(
            "The store of ciphertexts belongs to another database, and this server would remove "
            "that database's ciphertexts: set TRISEAL_BLOB_URL or TRISEAL_SERVER_DATA to a place "
            "of its own. If that database is gone for good, empty the store, including its mark."
        )
    if _choose(database, name, found.store) != found.store:
        raise _another_store()
    return found


def require_pair(expected: Pair, blobs: Blobs) -> None:
    """Raise StorageUnavailable if the store is no longer the one found at the start."""
    mark = blobs.mark()
    if mark is None or _read(mark) != expected:
        raise StorageUnavailable(
            "The store of ciphertexts does not belong to this database: another store may be "
            "mounted in its place, or its mark was removed."
        )


def _may_be_marked(blobs: Blobs, needed: set[str], *, own: bool, chosen: bool) -> bool:
    """Return True if a store without a mark may become the database's; raises FolderNotOurs.

    The store must either hold blobs of the database, its mark having been lost, or be empty while
    the database has neither chosen a store nor stored anything.
    """
    if foreign := blobs.foreign():
        raise FolderNotOurs(
            f"The store of ciphertexts holds files that Triseal may not have made, for example "
            f"{foreign[0][:60]!r}; nothing in it was changed. Set TRISEAL_BLOB_URL to a place of "
            "its own, for example a prefix that nothing else uses."
        )
    present = set(blobs.stores())
    if needed & present:
        return True
    if needed or chosen:
        return False
    if present and not own:
        raise FolderNotOurs(
            "The store holds ciphertexts of applications that are not in this database; nothing "
            "in it was changed. Set TRISEAL_BLOB_URL to an empty place, or remove them if they "
            "belong to no other server."
        )
    return True


def _choose(database: Database, name: str, store: str | None) -> str | None:
    """Set the database's store if it has none, or clear it if `store` is None; return it."""
    with database.write() as session:
        database.lock(session, LOCK)
        chosen = session.execute(_ROW).one().store
        if chosen is None or store is None:
            this = _PAIRING.c.database == name
            session.execute(update(_PAIRING).where(this).values(store=store))
            chosen = store
        return None if chosen is None else str(chosen)


def _stores_with_blobs(session: Session) -> set[str]:
    sent = select(UploadRecord.client_id)
    has_key = func.coalesce(ApplicationRecord.relay_key, "") != ""
    has_blobs = has_key | ApplicationRecord.client_id.in_(sent)
    return set(session.scalars(select(ApplicationRecord.store).where(has_blobs)))


def _read(mark: bytes) -> Pair | None:
    """Return the pair in a mark; None if the mark is not Triseal's."""
    try:
        found = json.loads(mark)
        return Pair(str(found["database"]), str(found["store"]))
    except (ValueError, TypeError, KeyError):
        return None


def _another_store() -> StorageUnavailable:
    return StorageUnavailable(
        "The ciphertexts of this database are in another store: all of its servers need the same "
        "TRISEAL_BLOB_URL. Put the store back where it was; if it is lost, begin with an empty "
        "database and an empty TRISEAL_SERVER_DATA."
    )
