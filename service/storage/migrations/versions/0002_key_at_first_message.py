"""An application's key for relayed messages is made with its first message, not before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    with op.batch_alter_table("applications") as table:
        table.alter_column("relay_key", existing_type=sa.String(64), nullable=True)


def downgrade() -> None:
    # The version before makes no key later: to those applications nobody can say anything there.
    op.execute("UPDATE applications SET relay_key = '' WHERE relay_key IS NULL")
    with op.batch_alter_table("applications") as table:
        table.alter_column("relay_key", existing_type=sa.String(64), nullable=False)
