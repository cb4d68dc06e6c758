"""What parties send: whose slot it is, whether it is open, and what lies in it.

Nothing here knows of HTTP; the methods are synchronous and thread-safe, and check in the order that
service/applications/applications.py names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, update

from contract.http import Stage
from engines.interface import Slot, slot_of
from service.applications.activity_log import SERVER, note
from service.applications.base import ApplicationService
from service.applications.credentials import SEND, bearer_of
from service.applications.rules import require_model, require_open_slot, seen, stage_of, uploads_of
from service.applications.views import ApplicationView
from service.storage.storage import MEGABYTE
from service.storage.tables import ApplicationRecord, UploadRecord, table_of
from utils.errors import ForbiddenSlot, QuotaExceeded, StorageUnavailable, UnknownName


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole: where it lies, its bytes and their SHA-256."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Place:
    """Where an upload will lie: its slot, and the store of its application."""

    slot: Slot
    store: str


class Slots(ApplicationService):
    """The slots of all applications.

    `admit` and `fill` raise InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, and ApplicationExpired; `admit` raises NotAuthorised and ForbiddenScope.
    """

    def admit(self, client_id: str, token: str | None, party: str, file_name: str) -> Place:
        """The slot that this token may fill now, and the store its content goes to.

        Raises UnknownParty, ForbiddenSlot, UnknownName, AlreadyRunning, AlreadySent,
        QuotaExceeded, StorageFull, DiskFull, and ForeignMessage where the application belongs to
        another model.
        """
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            owner = bearer_of(application, token, SEND, now)
            self._public.schema_.party(party)
            if owner != party:
                raise ForbiddenSlot(f"This token is {owner}'s; it opens no slot of {party}.")
            slot = slot_of(self._public.slots, party, file_name)
            if slot is None:
                names = ", ".join(s.file_name for s in self._public.slots if s.party == party)
                raise UnknownName(
                    f"{party} has no slot {file_name[:40]!r}; it has: {names or 'none'}."
                )
            require_model(application, self._public)
            require_open_slot(application, slot)
            self._require_quota(application, 1)
            self._storage.require_room(session, 1)
            self._storage.require_disk(slot.maximum_bytes)
            return Place(slot, application.store)

    def keep(self, place: Place, upload: Upload) -> None:
        """Make an upload a blob, durably, which no row names yet; its file is gone afterwards."""
        self._storage.blobs.keep(upload.path, place.store, upload.sha256)

    def drop(self, client_id: str, place: Place, upload: Upload) -> None:
        """Remove what was kept, unless a slot has the same content."""
        self._storage.release(client_id, place.store, [upload.sha256])

    def fill(self, client_id: str, place: Place, upload: Upload) -> Stage:
        """Make a checked upload that is kept the slot's content, in place of an earlier one.

        Answers the new state; where this raises nothing of it is kept. Raises as `admit` does,
        since much may have changed meanwhile.
        """
        try:
            stage, replaced = self._fill(client_id, place, upload)
        except BaseException:
            self.drop(client_id, place, upload)
            raise
        if replaced is not None:
            self._storage.release(client_id, place.store, [replaced])
        return stage

    def _fill(self, client_id: str, place: Place, upload: Upload) -> tuple[Stage, str | None]:
        slot = place.slot
        with self._storage.write() as session:
            now = self._clock()  # its time may have ended while others wrote
            application = seen(session, client_id, now, lock=True)
            require_open_slot(application, slot)
            self._require_quota(application, upload.size)
            self._storage.require_room(session, upload.size)
            if not self._storage.blobs.exists(place.store, upload.sha256):
                # The same content was sent twice at once, and one of the two was replaced.
                raise StorageUnavailable("The file was replaced meanwhile; send it again.")
            earlier = uploads_of(application).get((slot.party, slot.file_name))
            place_of = {"client_id": client_id, "party": slot.party, "file_name": slot.file_name}
            content = {"sha256": upload.sha256, "size": upload.size}
            uploads, applications = table_of(UploadRecord), table_of(ApplicationRecord)
            if earlier is None:
                session.execute(insert(uploads), {**place_of, **content})
            else:
                session.execute(update(uploads).filter_by(**place_of).values(**content))
            received = application.received + upload.size
            this = applications.c.client_id == client_id
            session.execute(update(applications).where(this).values(received=received))
            note(session, client_id, now, (slot.party, SERVER), slot.file_name, upload.size)
            self._storage.announce(session, client_id)
            stage = stage_of(seen(session, client_id, now), self._public)  # as it is from now on
            return stage, None if earlier is None else earlier.sha256

    def _require_quota(self, application: ApplicationView, size: int) -> None:
        megabytes = self._settings.application_megabytes
        if application.received + size > megabytes * MEGABYTE:
            raise QuotaExceeded(
                f"This application has sent the {megabytes:g} MB that one may send "
                "(TRISEAL_APPLICATION_MEGABYTES); open a new one."
            )
