"""The tables of the server's database; service/storage/migrations upgrades a database to them.

Times are in seconds since 1970. Join codes and tokens are stored as SHA-256 only. Uploads and
results are in the blob store (service/storage/blobs.py), each under the application's `store`, a
random name that is never disclosed, and the SHA-256 of its content.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

IDLE, QUEUED, RUNNING, DONE = "idle", "queued", "running", "done"
FAILED, CANCELLED = "failed", "cancelled"


class Record(DeclarativeBase):
    """Base of the tables. Every constraint has a name, so that later migrations can refer to it."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


def table_of(kind: type[Record]) -> Table:
    """Return a record's table, for statements without ORM records, which are much faster."""
    return Record.metadata.tables[kind.__tablename__]


def _owner() -> Mapped[str]:
    return mapped_column(ForeignKey("applications.client_id", ondelete="CASCADE"), primary_key=True)


class ApplicationRecord(Record):
    """One credit application, for the model with which it was opened."""

    __tablename__ = "applications"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    store: Mapped[str] = mapped_column(String(32), unique=True)
    relay_key: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the blob with the key for relayed messages; None before the first message. See
    service/storage/message_keys.py."""
    model_version: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    readers: Mapped[list[str]] = mapped_column(JSON)
    explanation_readers: Mapped[list[str]] = mapped_column(JSON, default=list)
    reasons_readers: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Empty if the model states no reasons."""
    witnesses: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Names of the witnesses by public key, in hexadecimal."""
    received: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of all files ever accepted, including replaced ones."""
    asked: Mapped[int] = mapped_column(default=0)
    """Number of runs that have been queued."""
    review: Mapped[str | None] = mapped_column(String(12))
    """The stage of the review of the decision, or None before one is asked for."""

    parties: Mapped[list[PartyRecord]] = relationship(passive_deletes=True)
    tokens: Mapped[list[TokenRecord]] = relationship(passive_deletes=True)
    uploads: Mapped[list[UploadRecord]] = relationship(passive_deletes=True)
    runs: Mapped[list[RunRecord]] = relationship(passive_deletes=True, order_by="RunRecord.program")
    statements: Mapped[list[StatementRecord]] = relationship(passive_deletes=True)


class PartyRecord(Record):
    """A party of an application: the digest of its join code, when it joined, and its key."""

    __tablename__ = "parties"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    code_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    joined: Mapped[float | None]
    permit_key: Mapped[str | None] = mapped_column(String(64))
    """The public key that signs the party's permits, in hexadecimal."""


class TokenRecord(Record):
    """A token: its digest, its party (None: the watch token), its scopes and when it expires.

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


class ReviewRecord(Record):
    """The review of a decision by a person; its texts are sealed from one party to the other."""

    __tablename__ = "reviews"

    client_id: Mapped[str] = _owner()
    state: Mapped[str] = mapped_column(String(12))
    asked: Mapped[float]
    due: Mapped[float]
    taken: Mapped[float | None]
    closed: Mapped[float | None]
    referred: Mapped[bool]
    """True if the program referred the application to a person, which opened the review."""
    statement: Mapped[str | None] = mapped_column(Text)
    words: Mapped[str | None] = mapped_column(Text)


class UploadRecord(Record):
    """The content of one slot; `sha256` names its blob."""

    __tablename__ = "uploads"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    file_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)


class RunRecord(Record):
    """One program of an application as a durable job.

    idle -> queued -> running -> done | failed | cancelled; the last two may be queued again.
    `owner` is the server that evaluates it, and `lease` the time at which its claim expires unless
    renewed. A server writes a result only while `owner` and `attempts` are still its own. `seed`,
    that of the re-randomisation, is kept, encrypted as messages are, while a witness needs it.
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
    loading_seconds: Mapped[float | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    seed: Mapped[bytes | None] = mapped_column(LargeBinary)
    error_code: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(Text)


class StatementRecord(Record):
    """A witness's statement on the result of a program: its signature, or why it refused."""

    __tablename__ = "statements"

    client_id: Mapped[str] = _owner()
    program: Mapped[str] = mapped_column(String(40), primary_key=True)
    witness: Mapped[str] = mapped_column(String(64), primary_key=True)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary(64))
    refusal: Mapped[str | None] = mapped_column(String(40))


class PermitRecord(Record):
    """A party's permit for one run of a program (governance/program_permits.py).

    `inputs_sha256` is the digest of the inputs that it names. `job` is the run that has spent it,
    or None. Spent permits are kept with the application, as a record of what was allowed; others
    are removed when they have expired.
    """

    __tablename__ = "permits"

    client_id: Mapped[str] = _owner()
    jti: Mapped[str] = mapped_column(String(32), primary_key=True)
    party: Mapped[str] = mapped_column(String(32))
    program: Mapped[str] = mapped_column(String(40))
    inputs_sha256: Mapped[str] = mapped_column(String(64))
    expires: Mapped[float] = mapped_column(index=True)
    job: Mapped[str | None] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    receipt_sha256: Mapped[str | None] = mapped_column(String(64))
    """Digest of the party's consent receipt; `request_sha256` is of the receipt's request."""
    request_sha256: Mapped[str | None] = mapped_column(String(64))


class ReceiptRecord(Record):
    """A party's consent receipt for one program, in canonical JSON (governance/receipts.py).

    `sha256` is its digest, and `request_sha256` that of the request that it names.
    """

    __tablename__ = "receipts"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    program: Mapped[str] = mapped_column(String(40), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    request_sha256: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(Text)


class TrafficRecord(Record):
    """One item of traffic, numbered from 1 in each application.

    `receiver` is None for all parties. Only messages between parties have a body: the server stores
    it as received, encrypted under the application's own key (service/storage/message_keys.py),
    which is erased with the application. Files sent to or by the server itself are in the blob
    store.
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
    """The remains of an expired application, so that requests for it get 410 instead of 404."""

    __tablename__ = "tombstones"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expired: Mapped[float]


class PairingRecord(Record):
    """The single row that names the blob store of this database (service/storage/pairing.py)."""

    __tablename__ = "pairing"

    database: Mapped[str] = mapped_column(String(32), primary_key=True)
    """A random name of this database, generated when its tables were created."""
    store: Mapped[str | None] = mapped_column(String(32))


class LogEntryRecord(Record):
    """One entry of the log, numbered from 0 (governance/log/entries.py).

    `data` is the entry. The other columns repeat parts of it, for searches; the audit compares
    them. `requester` is the first pseudonym of a requester.
    """

    __tablename__ = "log_entries"
    __table_args__ = (Index("ix_log_entries_kind_requester", "kind", "requester"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    kind: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[str | None] = mapped_column(String(16))
    requester: Mapped[str | None] = mapped_column(String(64))


class LogNodeRecord(Record):
    """The hash of a complete subtree of the log (governance/log/merkle.py); never changed."""

    __tablename__ = "log_nodes"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LogCheckpointRecord(Record):
    """The log's signed note for a size; older ones are kept if they are cosigned."""

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)


class LogCosignatureRecord(Record):
    """The line by which a cosigner signed the checkpoint of a size."""

    __tablename__ = "log_cosignatures"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    line: Mapped[str] = mapped_column(Text)


class LogPersonRecord(Record):
    """The key of the details about one person; its deletion makes them unreadable for good.

    `person` is `application <id>` or `user <id>`. `refused` counts the entries about refused
    permits, whose number is limited.
    """

    __tablename__ = "log_people"

    person: Mapped[str] = mapped_column(String(160), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    refused: Mapped[int] = mapped_column(default=0)


class LogDetailsRecord(Record):
    """The sealed details of the entry with this number (governance/log/personal_details.py)."""

    __tablename__ = "log_details"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    person: Mapped[str] = mapped_column(
        ForeignKey("log_people.person", ondelete="CASCADE"), index=True
    )
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class PartnerRecord(Record):
    """An institution that may ask for permits: its type in the policy, and how it is recognised.

    `token_digest` is that of its token, `key` its public key in hexadecimal, with which it redeems
    permits.
    """

    __tablename__ = "partners"

    partner_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    key: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]


class ConsentRecord(Record):
    """A user's latest decision on one partner and one purpose.

    `signed_at` is the time in the signed statement, in milliseconds since 1970; an earlier one is
    not accepted afterwards.
    """

    __tablename__ = "consents"

    user_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    partner_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    signed_at: Mapped[int] = mapped_column(BigInteger)


class GivenPermitRecord(Record):
    """A permit that the server gave a partner, until it expires; `spent` is when it was used."""

    __tablename__ = "given_permits"

    jti: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(128), index=True)
    partner_id: Mapped[str] = mapped_column(String(128))
    purpose: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(32))
    expires: Mapped[float] = mapped_column(index=True)
    spent: Mapped[float | None]


class SessionRecord(Record):
    """A session between a data owner and an institution, which relays sealed messages.

    Tokens and the code are stored as SHA-256. The digest of the code is None once somebody has
    connected with it. `call_digest` is that of the signed call that made the session, which counts
    once. The numbers are those of each side's last message.
    """

    __tablename__ = "sessions"

    session_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner_key: Mapped[str] = mapped_column(String(64), index=True)
    owner_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    call_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    code_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    institution_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    partner_id: Mapped[str | None] = mapped_column(String(128))
    partner_kind: Mapped[str | None] = mapped_column(String(32))
    partner_key: Mapped[str | None] = mapped_column(String(64))
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    closed: Mapped[float | None] = mapped_column(index=True)
    owner_number: Mapped[int] = mapped_column(default=0)
    institution_number: Mapped[int] = mapped_column(default=0)


def _session() -> Mapped[str]:
    return mapped_column(ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True)


class SessionMessageRecord(Record):
    """A sealed message of one side of a session; no body once the other side has fetched it."""

    __tablename__ = "session_messages"

    session_id: Mapped[str] = _session()
    sender: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    size: Mapped[int]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class SessionEntryRecord(Record):
    """An entry of the log that a session's owner asked for; `sha256` is that of the event."""

    __tablename__ = "session_entries"

    session_id: Mapped[str] = _session()
    idempotency_key: Mapped[str] = mapped_column(String(32), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    entry: Mapped[int] = mapped_column(BigInteger)


class SessionUseRecord(Record):
    """An owner's permit that was used, until it has expired, so that it counts once."""

    __tablename__ = "session_uses"

    owner_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    jti: Mapped[str] = mapped_column(String(32), primary_key=True)
    session_id: Mapped[str] = mapped_column(String(32))
    idempotency_key: Mapped[str | None] = mapped_column(String(32))
    entry: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[float] = mapped_column(index=True)


class SessionRevocationRecord(Record):
    """A request, by its digest, whose owner has revoked it, so that no permit for it is used."""

    __tablename__ = "session_revocations"

    owner_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    request: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires: Mapped[float] = mapped_column(index=True)


class TrainingRecord(Record):
    """A training of several lenders, which relays the sealed messages of its members.

    `call_digest` is that of the signed call that made it, which counts once. `last_id` is that of
    its last message. Whoever changes anything of a training locks its row first.
    """

    __tablename__ = "trainings"

    training_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    coordinator_key: Mapped[str] = mapped_column(String(64))
    call_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    closed: Mapped[float | None] = mapped_column(index=True)
    last_id: Mapped[int] = mapped_column(BigInteger, default=0)


def _training() -> Mapped[str]:
    return mapped_column(ForeignKey("trainings.training_id", ondelete="CASCADE"), primary_key=True)


class TrainingMemberRecord(Record):
    """A member of a training; the coordinator is one too, at position 0.

    The code and the token are stored as SHA-256; the code counts until the member has posted.
    Messages up to the id `cursor` have arrived or were dropped; those up to `dropped` were dropped.
    All messages up to `room` fit into the member's limit for sure (service/trainings/limits.py).
    `recent` has the digests of its last messages (service/trainings/recent.py).
    """

    __tablename__ = "training_members"

    training_id: Mapped[str] = _training()
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int]
    code_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    token_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    cursor: Mapped[int] = mapped_column(BigInteger, default=0)
    room: Mapped[int] = mapped_column(BigInteger, default=0)
    dropped: Mapped[int] = mapped_column(BigInteger, default=0)
    last_number: Mapped[int] = mapped_column(default=0)
    seen: Mapped[float | None]
    recent: Mapped[bytes] = mapped_column(LargeBinary, default=b"")


class TrainingMessageRecord(Record):
    """A sealed message of a member of a training, until all its receivers have confirmed it.

    `receiver` is None for a message to all others. Ids rise in the order of commits.
    """

    __tablename__ = "training_messages"

    training_id: Mapped[str] = _training()
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sender: Mapped[str] = mapped_column(String(64))
    receiver: Mapped[str | None] = mapped_column(String(64))
    number: Mapped[int]
    size: Mapped[int]
    body: Mapped[bytes] = mapped_column(LargeBinary)
