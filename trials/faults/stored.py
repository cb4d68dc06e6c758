"""Access to the servers' stored data from outside: database rows and blobs."""

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
    """A blob: its store, its name (the digest of its content) and its path."""

    store: str
    name: str
    path: str


class StoredRows:
    """The servers' database, by separate connections that are not kept open."""

    def __init__(self, url: str) -> None:
        self._sqlite = url.startswith("sqlite")
        options = {"connect_args": {"timeout": BUSY_SECONDS}} if self._sqlite else {}
        self._engine = create_engine(url, poolclass=NullPool, **options)

    def named(self) -> set[tuple[str, str]]:
        """Return the (store, name) of every blob that a row refers to."""
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
        """Return the application that owns the store."""
        with self._session() as session:
            return session.scalar(
                select(ApplicationRecord.client_id).where(ApplicationRecord.store == store)
            )

    def store_of(self, client_id: str) -> str | None:
        """Return the store of an application."""
        with self._session() as session:
            return session.scalar(
                select(ApplicationRecord.store).where(ApplicationRecord.client_id == client_id)
            )

    def applications(self) -> set[str]:
        """Return the ids of all applications."""
        with self._session() as session:
            return set(session.scalars(select(ApplicationRecord.client_id)))

    def active(self) -> int:
        """Return the number of queued and running runs."""
        with self._session() as session:
            query = select(func.count()).where(RunRecord.status.in_(ACTIVE))
            return session.scalar(query) or 0

    def rows(self) -> dict[str, int]:
        """Return the number of rows in each table of the applications."""
        tables = (ApplicationRecord, UploadRecord, RunRecord, TokenRecord, TrafficRecord)
        with self._session() as session:
            return {
                table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
                for table in tables
            }

    def end_tokens(self, client_id: str) -> None:
        """Let an application's tokens expire."""
        with self._session() as session:
            session.execute(
                update(TokenRecord).where(TokenRecord.client_id == client_id).values(expires=1.0)
            )
            session.commit()

    def end_application(self, client_id: str) -> None:
        """Let an application expire."""
        with self._session() as session:
            session.execute(
                update(ApplicationRecord)
                .where(ApplicationRecord.client_id == client_id)
                .values(expires=1.0)
            )
            session.commit()

    def fault(self) -> str:
        """Return the result of SQLite's integrity check; "" if it is ok or not SQLite."""
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
    """The servers' blobs, by fsspec and without the server's code."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        options = {**options, "skip_instance_cache": True, "use_listings_cache": False}
        self._files, root = fsspec.core.url_to_fs(url, **options)
        self._root = str(root).rstrip("/")

    def blob(self, store: str, name: str) -> Blob:
        """Return the blob of that store and name, which need not exist."""
        return Blob(store, name, f"{self._root}/{store}/{name}")

    def all(self) -> list[Blob]:
        """Return all blobs, sorted by path."""
        found = []
        for path in self._files.find(self._root):
            store, _, name = str(path)[len(self._root) + 1 :].partition("/")
            if len(store) == 32 and len(name) == 64:
                found.append(Blob(store, name, str(path)))
        return sorted(found, key=lambda blob: blob.path)

    def damaged(self) -> set[tuple[str, str]]:
        """Return the (store, name) of blobs whose content does not match their name."""
        return {
            (blob.store, blob.name)
            for blob in self.all()
            if hashlib.sha256(self.read(blob) or b"").hexdigest() != blob.name
        }

    def read(self, blob: Blob) -> bytes | None:
        """Return the content of a blob, or None if it does not exist."""
        try:
            return bytes(self._files.cat_file(blob.path))
        except FileNotFoundError:
            return None

    def write(self, blob: Blob, content: bytes) -> None:
        """Overwrite a blob, unless its application is being erased."""
        with suppress(FileNotFoundError):
            self._files.pipe_file(blob.path, content)

    def remove(self, blob: Blob) -> None:
        """Remove a blob if it exists."""
        try:
            self._files.rm_file(blob.path)
        except FileNotFoundError:
            return
