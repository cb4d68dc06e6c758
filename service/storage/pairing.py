"""One database and one store of blobs belong together, and neither serves another.

What no row names is removed from a store, so a server with another database would remove what it
does not know; and a server with another store would find nothing of what the rows name. Therefore
the store carries a mark with a random name of its database and one of its own, and the database
has the same two.
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
"""The database's lock for choosing its store; storage.py has the others."""
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
    """Make sure that the store belongs to this database, the first time by marking it.

    `own` is whether the store lies in the server's own folder, so that blobs which the database
    does not know are what a crash left. Raises DataFolderInUse for another database's store,
    FolderNotOurs where it holds what is not ours, and StorageUnavailable, also where the
    database's blobs are in another store.
    """
    with database.read() as session:
        name, store = session.execute(_ROW).one()
        needed = _stores_with_blobs(session)
    mark = blobs.mark()
    if mark is None:
        if not _may_be_marked(blobs, needed, own=own, chosen=store is not None and database.shared):
            raise _another_store()
        if not needed and not database.shared:
            store = None  # nobody else uses it: a new store may take the place of an empty one
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
            "The store of ciphertexts belongs to another database, whose servers would lose what "
            "this one does not know: set TRISEAL_BLOB_URL or TRISEAL_SERVER_DATA to a place of its "
            "own. If that database is gone for good, empty the store, its mark included."
        )
    if _choose(database, name, found.store) != found.store:
        raise _another_store()
    return found


def require_pair(expected: Pair, blobs: Blobs) -> None:
    """Raise StorageUnavailable where the store is no longer the one that was found at the start."""
    mark = blobs.mark()
    if mark is None or _read(mark) != expected:
        raise StorageUnavailable(
            "The store of ciphertexts is not the one that belongs to this database: another may be "
            "mounted in its place, or its mark was removed."
        )


def _may_be_marked(blobs: Blobs, needed: set[str], *, own: bool, chosen: bool) -> bool:
    """Whether a store without a mark may become the database's; raises FolderNotOurs.

    It is one that has the database's blobs already, made by a version that marked none, or that is
    empty where nothing has been chosen or stored yet.
    """
    if foreign := blobs.foreign():
        raise FolderNotOurs(
            f"The store of ciphertexts holds what Triseal may not have made, such as "
            f"{foreign[0][:60]!r}; nothing in it was changed. Set TRISEAL_BLOB_URL to a place of "
            "its own, such as a prefix that nothing else uses."
        )
    present = set(blobs.stores())
    if needed & present:
        return True
    if needed or chosen:
        return False
    if present and not own:
        raise FolderNotOurs(
            "The store of ciphertexts holds those of applications that this database does not "
            "know; nothing in it was changed. Set TRISEAL_BLOB_URL to an empty place, or, if they "
            "belong to no other server, remove them."
        )
    return True


def _choose(database: Database, name: str, store: str | None) -> str | None:
    """Have the database's store be this one if it has none (None: have it have none); return it."""
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
    """Return what a mark says; None where it is none of ours."""
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
