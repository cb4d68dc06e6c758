"""Permits of the parties for runs, and the keys that sign them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    with op.batch_alter_table("parties") as table:
        table.add_column(sa.Column("permit_key", sa.String(64), nullable=True))
    op.create_table(
        "permits",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("jti", sa.String(32), nullable=False),
        sa.Column("party", sa.String(32), nullable=False),
        sa.Column("program", sa.String(40), nullable=False),
        sa.Column("inputs_sha256", sa.String(64), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("job", sa.String(32)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["applications.client_id"],
            name="fk_permits_client_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "jti", name="pk_permits"),
    )
    op.create_index("ix_permits_expires", "permits", ["expires"])


def downgrade() -> None:
    op.drop_table("permits")
    with op.batch_alter_table("parties") as table:
        table.drop_column("permit_key")
