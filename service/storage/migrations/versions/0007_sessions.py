"""Sessions between data owners and institutions, their messages, uses and revocations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    _sessions()
    op.create_table(
        "session_messages",
        _session(),
        sa.Column("sender", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        *_of_session("session_messages", "session_id", "sender", "number"),
    )
    op.create_table(
        "session_entries",
        _session(),
        sa.Column("idempotency_key", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        *_of_session("session_entries", "session_id", "idempotency_key"),
    )
    op.create_table(
        "session_uses",
        sa.Column("owner_key", sa.String(64), nullable=False),
        sa.Column("jti", sa.String(32), nullable=False),
        _session(),
        sa.Column("idempotency_key", sa.String(32)),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner_key", "jti", name="pk_session_uses"),
    )
    op.create_index("ix_session_uses_expires", "session_uses", ["expires"])
    op.create_table(
        "session_revocations",
        sa.Column("owner_key", sa.String(64), nullable=False),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner_key", "request", name="pk_session_revocations"),
    )
    op.create_index("ix_session_revocations_expires", "session_revocations", ["expires"])


def downgrade() -> None:
    for table in (
        *("session_revocations", "session_uses", "session_entries", "session_messages"),
        "sessions",
    ):
        op.drop_table(table)


def _sessions() -> None:
    op.create_table(
        "sessions",
        _session(),
        sa.Column("owner_key", sa.String(64), nullable=False),
        sa.Column("owner_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("call_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(32)),
        sa.Column("institution_digest", sa.LargeBinary(32)),
        sa.Column("partner_id", sa.String(128)),
        sa.Column("partner_kind", sa.String(32)),
        sa.Column("partner_key", sa.String(64)),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("closed", sa.Double()),
        sa.Column("owner_number", sa.Integer(), nullable=False),
        sa.Column("institution_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
        sa.UniqueConstraint("call_digest", name="uq_sessions_call_digest"),
    )
    for column in ("owner_key", "expires", "closed"):
        op.create_index(f"ix_sessions_{column}", "sessions", [column])


def _session() -> sa.Column[str]:
    return sa.Column("session_id", sa.String(32), nullable=False)


def _of_session(table: str, *key: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.session_id"],
            name=f"fk_{table}_session_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
    )
