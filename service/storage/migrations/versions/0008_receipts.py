"""The parties' consent receipts, for decision files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"


def upgrade() -> None:
    op.create_table(
        "receipts",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("party", sa.String(32), nullable=False),
        sa.Column("program", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["applications.client_id"],
            name="fk_receipts_client_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "party", "program", name="pk_receipts"),
    )


def downgrade() -> None:
    op.drop_table("receipts")
