"""Readers of the reasons of an application; none for those opened before there were reasons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"


def upgrade() -> None:
    with op.batch_alter_table("applications") as table:
        column = sa.Column("reasons_readers", sa.JSON(), nullable=False, server_default="[]")
        table.add_column(column)
    with op.batch_alter_table("applications") as table:
        table.alter_column("reasons_readers", existing_type=sa.JSON(), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("applications") as table:
        table.drop_column("reasons_readers")
