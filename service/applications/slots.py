"""Slots for the files that parties send: their owners, their state and their content.

This module is independent of HTTP; its methods are synchronous and thread-safe, and check in the
order described in service/applications/applications.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import BindParameter, bindparam

from contract.http import Stage
from engines.interface import Slot, slot_of
from service.applications.activity_log import SERVER, note
from service.applications.base import ApplicationService
from service.applications.credentials import SEND, bearer_of
from service.applications.rules import require_model, require_open_slot, seen, stage_of, uploads_of
from service.applications.views import ApplicationView
from service.storage.prepared import Prepared
from service.storage.storage import MEGABYTE
from service.storage.tables import ApplicationRecord, UploadRecord, table_of
from utils.errors import ForbiddenSlot, QuotaExceeded, StorageUnavailable, UnknownName

_UPLOADS, _APPLICATIONS = table_of(UploadRecord), table_of(ApplicationRecord)
_CONTENT: dict[str, BindParameter[Any]] = {"sha256": bindparam("sha256"), "size": bindparam("size")}
_INSERT = Prepared(
    _UPLOADS.insert().values(
        client_id=bindparam("of_application"),
        party=bindparam("of_party"),
        file_name=bindparam("of_slot"),
        **_CONTENT,
    )
)
_REPLACE = Prepared(
    _UPLOADS.update()
    .where(
        _UPLOADS.c.client_id == bindparam("of_application"),
        _UPLOADS.c.party == bindparam("of_party"),
        _UPLOADS.c.file_name == bindparam("of_slot"),
    )
    .values(**_CONTENT)
)
_RECEIVED = Prepared(
    _APPLICATIONS.update()
    .where(_APPLICATIONS.c.client_id == bindparam("of_application"))
    .values(received=bindparam("received"))
)


@dataclass(frozen=True)
class Upload:
    """A completely received file: its path, its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Place:
    """The destination of an upload: its slot, and the store of its application."""

    slot: Slot
    store: str


class Slots(ApplicationService):
    """The slots of all applications.

    `admit` and `fill` raise InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, and ApplicationExpired; `admit` raises NotAuthorised and ForbiddenScope.
    """

    def admit(self, client_id: str, token: str | None, party: str | None, file_name: str) -> Place:
        """Return the slot that this token may fill now, and the store for its content.

        `party` must be the token's own; None stands for it. Raises UnknownParty, ForbiddenSlot,
        UnknownName, AlreadyRunning, AlreadySent, QuotaExceeded, StorageFull, DiskFull, and
        ForeignMessage if the application belongs to another model.
        """
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            owner = bearer_of(application, token, SEND, now)
            if party is not None:
                self._public.schema_.party(party)
                if owner != party:
                    raise ForbiddenSlot(
                        f"This token belongs to {owner}; it cannot fill {party}'s slots."
                    )
            slot = slot_of(self._public.slots, owner, file_name)
            if slot is None:
                names = ", ".join(s.file_name for s in self._public.slots if s.party == owner)
                raise UnknownName(
                    f"{owner} has no slot {file_name[:40]!r}; it has: {names or 'none'}."
                )
            require_model(application, self._public)
            require_open_slot(application, slot)
            self._require_quota(application, 1)
            self._storage.require_room(session, 1)
            self._storage.require_disk(slot.maximum_bytes)
            return Place(slot, application.store)

    def keep(self, place: Place, upload: Upload) -> None:
        """Move an upload durably into the blob store; no row refers to it yet."""
        self._storage.blobs.keep(upload.path, place.store, upload.sha256)

    def drop(self, client_id: str, place: Place, upload: Upload) -> None:
        """Remove a kept upload, unless a slot has the same content."""
        self._storage.release(client_id, place.store, [upload.sha256])

    def fill(self, client_id: str, place: Place, upload: Upload) -> Stage:
        """Make a checked, kept upload the slot's content, replacing an earlier one.

        Returns the application's new stage. On an error the upload's blob is removed. Raises as
        `admit` does, since the application may have changed in the meantime.
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
            now = self._clock()  # it may have expired while this call waited for the write lock
            application = seen(session, client_id, now, lock=True)
            require_open_slot(application, slot)
            self._require_quota(application, upload.size)
            self._storage.require_room(session, upload.size)
            if not self._storage.blobs.exists(place.store, upload.sha256):
                # Two concurrent uploads had the same content, and one of them was replaced.
                raise StorageUnavailable("The file was replaced in the meantime; send it again.")
            earlier = uploads_of(application).get((slot.party, slot.file_name))
            (_INSERT if earlier is None else _REPLACE).run(
                session,
                of_application=client_id,
                of_party=slot.party,
                of_slot=slot.file_name,
                sha256=upload.sha256,
                size=upload.size,
            )
            received = application.received + upload.size
            _RECEIVED.run(session, of_application=client_id, received=received)
            note(session, client_id, now, (slot.party, SERVER), slot.file_name, upload.size)
            self._storage.announce(session, client_id)
            stage = stage_of(seen(session, client_id, now), self._public)  # with the new upload
            return stage, None if earlier is None else earlier.sha256

    def _require_quota(self, application: ApplicationView, size: int) -> None:
        megabytes = self._settings.application_megabytes
        if application.received + size > megabytes * MEGABYTE:
            raise QuotaExceeded(
                f"This application has reached its limit of {megabytes:g} MB of uploads "
                "(TRISEAL_APPLICATION_MEGABYTES); open a new one."
            )
