"""Reviews of applications that were referred to a person, which have no statement at first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    with op.batch_alter_table("reviews") as table:
        table.add_column(
            sa.Column("referred", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        table.alter_column("statement", existing_type=sa.Text(), nullable=True)
    with op.batch_alter_table("reviews") as table:
        table.alter_column("referred", existing_type=sa.Boolean(), server_default=None)


def downgrade() -> None:
    op.execute(sa.text("UPDATE reviews SET statement = '' WHERE statement IS NULL"))
    with op.batch_alter_table("reviews") as table:
        table.alter_column("statement", existing_type=sa.Text(), nullable=False)
        table.drop_column("referred")
