"""The initial tables, with durable jobs, scoped tokens and blobs named by content."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("store", sa.String(32), nullable=False),
        sa.Column("relay_key", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("readers", sa.JSON(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_applications"),
        sa.UniqueConstraint("store", name="uq_applications_store"),
    )
    op.create_index("ix_applications_expires", "applications", ["expires"])
    op.create_table(
        "parties",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("party", sa.String(32), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("joined", sa.Double()),
        _of_an_application("parties"),
        sa.PrimaryKeyConstraint("client_id", "party", name="pk_parties"),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("party", sa.String(32)),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        _of_an_application("tokens"),
        sa.PrimaryKeyConstraint("digest", name="pk_tokens"),
    )
    op.create_index("ix_tokens_client_id", "tokens", ["client_id"])
    op.create_table(
        "uploads",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("party", sa.String(32), nullable=False),
        sa.Column("file_name", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        _of_an_application("uploads"),
        sa.PrimaryKeyConstraint("client_id", "party", "file_name", name="pk_uploads"),
    )
    op.create_table(
        "runs",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("program", sa.String(40), nullable=False),
        sa.Column("job", sa.String(32)),
        sa.Column("status", sa.String(9), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Double()),
        sa.Column("deadline", sa.Double()),
        sa.Column("started", sa.Double()),
        sa.Column("ended", sa.Double()),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("lease", sa.Double()),
        sa.Column("seconds", sa.Double()),
        sa.Column("sha256", sa.String(64)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error", sa.Text()),
        _of_an_application("runs"),
        sa.PrimaryKeyConstraint("client_id", "program", name="pk_runs"),
        sa.UniqueConstraint("job", name="uq_runs_job"),
    )
    op.create_index("ix_runs_status", "runs", ["status"])
    op.create_table(
        "traffic",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("sender", sa.String(32), nullable=False),
        sa.Column("receiver", sa.String(32)),
        sa.Column("what", sa.String(64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        _of_an_application("traffic"),
        sa.PrimaryKeyConstraint("client_id", "number", name="pk_traffic"),
    )
    op.create_table(
        "tombstones",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("expired", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name="pk_tombstones"),
    )


def downgrade() -> None:
    for table in ("tombstones", "traffic", "runs", "uploads", "tokens", "parties", "applications"):
        op.drop_table(table)


def _of_an_application(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["client_id"],
        ["applications.client_id"],
        name=f"fk_{table}_client_id",
        ondelete="CASCADE",
    )
