"""The tables of the server's database; service/migrations brings a database to them.

Times are seconds since 1970. Join codes and tokens are kept as SHA-256 only. What a party sent and
what was evaluated lie in the store of blobs (service/storage/blobs.py), each under the
application's `store`, a random name that is never shown, and the SHA-256 of its content.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import JSON, BigInteger, ForeignKey, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

IDLE, QUEUED, RUNNING, DONE = "idle", "queued", "running", "done"
FAILED, CANCELLED = "failed", "cancelled"


class Record(DeclarativeBase):
    """Base of the tables. Every constraint has a name, by which a later migration finds it."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


def table_of(kind: type[Record]) -> Table:
    """The table of a kind of record, for statements that make no records: they cost a fraction."""
    return cast("Table", kind.__table__)


def _owner() -> Mapped[str]:
    return mapped_column(ForeignKey("applications.client_id", ondelete="CASCADE"), primary_key=True)


class ApplicationRecord(Record):
    """One credit application, for the model it was opened with."""

    __tablename__ = "applications"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    store: Mapped[str] = mapped_column(String(32), unique=True)
    relay_key: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 that names the blob of the key for relayed messages, once there are any; see
    service/storage/message_keys.py."""
    model_version: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    readers: Mapped[list[str]] = mapped_column(JSON)
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of all files ever accepted, replaced ones too."""
    asked: Mapped[int] = mapped_column(default=0)
    """How often a run was asked for and begun."""

    parties: Mapped[list[PartyRecord]] = relationship(passive_deletes=True)
    tokens: Mapped[list[TokenRecord]] = relationship(passive_deletes=True)
    uploads: Mapped[list[UploadRecord]] = relationship(passive_deletes=True)
    runs: Mapped[list[RunRecord]] = relationship(passive_deletes=True, order_by="RunRecord.program")


class PartyRecord(Record):
    """A party's seat: its join code as a digest, and when that was used."""

    __tablename__ = "parties"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    code_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    joined: Mapped[float | None]


class TokenRecord(Record):
    """A token as its digest: whose it is (None: the opener's), what it may do, and until when.

    A revoked token has no row.
    """

    __tablename__ = "tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    client_id: Mapped[str] = mapped_column(
        ForeignKey("applications.client_id", ondelete="CASCADE"), index=True
    )
    party: Mapped[str | None] = mapped_column(String(32))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created: Mapped[float]
    expires: Mapped[float]


class UploadRecord(Record):
    """What lies in one slot; `sha256` names its blob."""

    __tablename__ = "uploads"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    file_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)


class RunRecord(Record):
    """One program of an application as a durable job.

    idle -> queued -> running -> done | failed | cancelled; the last two may be queued again.
    `owner` is the server that evaluates it and `lease` how long it does so unheard; a server
    writes a result only while the row still has its `owner` and its number of `attempts`.
    """

    __tablename__ = "runs"

    client_id: Mapped[str] = _owner()
    program: Mapped[str] = mapped_column(String(40), primary_key=True)
    job: Mapped[str | None] = mapped_column(String(32), unique=True)
    status: Mapped[str] = mapped_column(String(9), default=IDLE, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    queued: Mapped[float | None]
    deadline: Mapped[float | None]
    started: Mapped[float | None]
    ended: Mapped[float | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    owner: Mapped[str | None] = mapped_column(String(32))
    lease: Mapped[float | None]
    seconds: Mapped[float | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    error_code: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(Text)


class TrafficRecord(Record):
    """One thing that travelled, numbered from 1 in each application.

    `receiver` is None for all parties. Only what a party gave for another has a body: the server
    keeps it as it came, under the application's own key (service/storage/message_keys.py), which is
    erased with it. What went to or came from the server itself lies elsewhere.
    """

    __tablename__ = "traffic"

    client_id: Mapped[str] = _owner()
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    sender: Mapped[str] = mapped_column(String(32))
    receiver: Mapped[str | None] = mapped_column(String(32))
    what: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class TombstoneRecord(Record):
    """All that is left of an application whose time was over, so that it answers 410, not 404."""

    __tablename__ = "tombstones"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expired: Mapped[float]


class PairingRecord(Record):
    """The one row that says which store of blobs belongs to this database
    (service/storage/pairing.py)."""

    __tablename__ = "pairing"

    database: Mapped[str] = mapped_column(String(32), primary_key=True)
    """A random name of this database, drawn when its tables were made."""
    store: Mapped[str | None] = mapped_column(String(32))
