"""The log, partners with their permits, consents, and receipts of the parties' permits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    with op.batch_alter_table("permits") as table:
        table.add_column(sa.Column("receipt_sha256", sa.String(64), nullable=True))
        table.add_column(sa.Column("request_sha256", sa.String(64), nullable=True))
    _log()
    _partners()


def downgrade() -> None:
    for table in (
        *("given_permits", "consents", "partners", "log_details", "log_people"),
        *("log_cosignatures", "log_checkpoints", "log_nodes", "log_entries"),
    ):
        op.drop_table(table)
    with op.batch_alter_table("permits") as permits:
        permits.drop_column("request_sha256")
        permits.drop_column("receipt_sha256")


def _log() -> None:
    op.create_table(
        "log_entries",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("requester", sa.String(64)),
        sa.PrimaryKeyConstraint("number", name="pk_log_entries"),
    )
    op.create_index("ix_log_entries_at", "log_entries", ["at"])
    op.create_index("ix_log_entries_kind_requester", "log_entries", ["kind", "requester"])
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name="pk_log_nodes"),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_log_checkpoints"),
    )
    op.create_table(
        "log_cosignatures",
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "size", name="pk_log_cosignatures"),
    )
    op.create_table(
        "log_people",
        sa.Column("person", sa.String(160), nullable=False),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("person", name="pk_log_people"),
    )
    op.create_table(
        "log_details",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("person", sa.String(160), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"], ["log_people.person"], name="fk_log_details_person", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_log_details"),
    )
    op.create_index("ix_log_details_person", "log_details", ["person"])


def _partners() -> None:
    op.create_table(
        "partners",
        sa.Column("partner_id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("partner_id", name="pk_partners"),
        sa.UniqueConstraint("token_digest", name="uq_partners_token_digest"),
    )
    op.create_table(
        "consents",
        sa.Column("user_id", sa.String(128), nullable=False),
        sa.Column("partner_id", sa.String(128), nullable=False),
        sa.Column("purpose", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "partner_id", "purpose", name="pk_consents"),
    )
    op.create_table(
        "given_permits",
        sa.Column("jti", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(128), nullable=False),
        sa.Column("partner_id", sa.String(128), nullable=False),
        sa.Column("purpose", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(32), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("spent", sa.Double()),
        sa.PrimaryKeyConstraint("jti", name="pk_given_permits"),
    )
    op.create_index("ix_given_permits_user_id", "given_permits", ["user_id"])
    op.create_index("ix_given_permits_expires", "given_permits", ["expires"])
