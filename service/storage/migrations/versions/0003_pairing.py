"""A database has a name and records the blob store that belongs to it."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    pairing = op.create_table(
        "pairing",
        sa.Column("database", sa.String(32), nullable=False),
        sa.Column("store", sa.String(32)),
        sa.PrimaryKeyConstraint("database", name="pk_pairing"),
    )
    op.bulk_insert(pairing, [{"database": secrets.token_hex(16), "store": None}])


def downgrade() -> None:
    op.drop_table("pairing")
