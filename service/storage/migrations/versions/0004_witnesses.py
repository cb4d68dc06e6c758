"""Witnesses of applications, their statements, seeds of runs, and readers of explanations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    with op.batch_alter_table("applications") as table:
        table.add_column(sa.Column("witnesses", sa.JSON(), nullable=False, server_default="{}"))
        column = sa.Column("explanation_readers", sa.JSON(), nullable=False, server_default="[]")
        table.add_column(column)
    op.execute("UPDATE applications SET explanation_readers = readers")
    with op.batch_alter_table("applications") as table:
        table.alter_column("witnesses", existing_type=sa.JSON(), server_default=None)
        table.alter_column("explanation_readers", existing_type=sa.JSON(), server_default=None)
    with op.batch_alter_table("runs") as table:
        table.add_column(sa.Column("seed", sa.LargeBinary(), nullable=True))
    op.create_table(
        "statements",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("program", sa.String(40), nullable=False),
        sa.Column("witness", sa.String(64), nullable=False),
        sa.Column("signature", sa.LargeBinary(64)),
        sa.Column("refusal", sa.String(40)),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["applications.client_id"],
            name="fk_statements_client_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "program", "witness", name="pk_statements"),
    )


def downgrade() -> None:
    op.drop_table("statements")
    with op.batch_alter_table("runs") as table:
        table.drop_column("seed")
    with op.batch_alter_table("applications") as table:
        table.drop_column("witnesses")
        table.drop_column("explanation_readers")
