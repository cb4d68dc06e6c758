"""What the servers have stored, seen and damaged from outside: rows of the database, and blobs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import fsspec  # type: ignore[import-untyped]
from sqlalchemy import NullPool, create_engine, func, select, text, update
from sqlalchemy.orm import Session

from service.applications.rules import ACTIVE
from service.storage.tables import (
    ApplicationRecord,
    RunRecord,
    TokenRecord,
    TrafficRecord,
    UploadRecord,
)

BUSY_SECONDS = 30.0


@dataclass(frozen=True)
class Blob:
    """Where one lies, and what its name says that its content is."""

    store: str
    name: str
    path: str


class StoredRows:
    """The servers' database, by a connection of the trial's own; none is kept open."""

    def __init__(self, url: str) -> None:
        self._sqlite = url.startswith("sqlite")
        options = {"connect_args": {"timeout": BUSY_SECONDS}} if self._sqlite else {}
        self._engine = create_engine(url, poolclass=NullPool, **options)

    def named(self) -> set[tuple[str, str]]:
        """(store, name) of every blob that a row names."""
        with self._session() as session:
            uploads = session.execute(
                select(ApplicationRecord.store, UploadRecord.sha256).join(
                    UploadRecord, UploadRecord.client_id == ApplicationRecord.client_id
                )
            )
            found = {(row[0], row[1]) for row in uploads}
            runs = session.execute(
                select(ApplicationRecord.store, RunRecord.sha256)
                .join(RunRecord, RunRecord.client_id == ApplicationRecord.client_id)
                .where(RunRecord.sha256.is_not(None))
            )
            found |= {(row[0], row[1]) for row in runs if row[1] is not None}
            keys = session.execute(
                select(ApplicationRecord.store, ApplicationRecord.relay_key).where(
                    ApplicationRecord.relay_key.is_not(None)
                )
            )
            return found | {(row[0], row[1]) for row in keys if row[1] is not None}

    def owner(self, store: str) -> str | None:
        """The application whose store that is."""
        with self._session() as session:
            return session.scalar(
                select(ApplicationRecord.client_id).where(ApplicationRecord.store == store)
            )

    def store_of(self, client_id: str) -> str | None:
        """The store of an application."""
        with self._session() as session:
            return session.scalar(
                select(ApplicationRecord.store).where(ApplicationRecord.client_id == client_id)
            )

    def applications(self) -> set[str]:
        """The ids of all applications."""
        with self._session() as session:
            return set(session.scalars(select(ApplicationRecord.client_id)))

    def active(self) -> int:
        """How many runs wait or are under way."""
        with self._session() as session:
            query = select(func.count()).where(RunRecord.status.in_(ACTIVE))
            return session.scalar(query) or 0

    def rows(self) -> dict[str, int]:
        """How many rows the tables of the applications have."""
        tables = (ApplicationRecord, UploadRecord, RunRecord, TokenRecord, TrafficRecord)
        with self._session() as session:
            return {
                table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
                for table in tables
            }

    def end_tokens(self, client_id: str) -> None:
        """Let the time of an application's tokens be over."""
        with self._session() as session:
            session.execute(
                update(TokenRecord).where(TokenRecord.client_id == client_id).values(expires=1.0)
            )
            session.commit()

    def end_application(self, client_id: str) -> None:
        """Let the time of an application be over."""
        with self._session() as session:
            session.execute(
                update(ApplicationRecord)
                .where(ApplicationRecord.client_id == client_id)
                .values(expires=1.0)
            )
            session.commit()

    def fault(self) -> str:
        """What SQLite finds wrong with its own file; "" where nothing is, or it is no SQLite."""
        if not self._sqlite:
            return ""
        with self._session() as session:
            found = str(session.scalar(text("PRAGMA integrity_check")))
        return "" if found == "ok" else found

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._engine) as session:
            yield session


class StoredBlobs:
    """The servers' blobs, by fsspec and past the server's own code."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        options = {**options, "skip_instance_cache": True, "use_listings_cache": False}
        self._files, root = fsspec.core.url_to_fs(url, **options)
        self._root = str(root).rstrip("/")

    def blob(self, store: str, name: str) -> Blob:
        """The blob of that store and name, whether it is there or not."""
        return Blob(store, name, f"{self._root}/{store}/{name}")

    def all(self) -> list[Blob]:
        """All of them, in order."""
        found = []
        for path in self._files.find(self._root):
            store, _, name = str(path)[len(self._root) + 1 :].partition("/")
            if len(store) == 32 and len(name) == 64:
                found.append(Blob(store, name, str(path)))
        return sorted(found, key=lambda blob: blob.path)

    def damaged(self) -> set[tuple[str, str]]:
        """(store, name) of those whose content is not what their name says."""
        return {
            (blob.store, blob.name)
            for blob in self.all()
            if hashlib.sha256(self.read(blob) or b"").hexdigest() != blob.name
        }

    def read(self, blob: Blob) -> bytes | None:
        """Its content; None where it is gone."""
        try:
            return bytes(self._files.cat_file(blob.path))
        except FileNotFoundError:
            return None

    def write(self, blob: Blob, content: bytes) -> None:
        """Put another content under its name, unless its application is erased just then."""
        with suppress(FileNotFoundError):
            self._files.pipe_file(blob.path, content)

    def remove(self, blob: Blob) -> None:
        """Remove it."""
        try:
            self._files.rm_file(blob.path)
        except FileNotFoundError:
            return
