"""The key for relayed messages is created with an application's first message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    with op.batch_alter_table("applications") as table:
        table.alter_column("relay_key", existing_type=sa.String(64), nullable=True)


def downgrade() -> None:
    # The previous version creates no key later, so these applications cannot relay messages there.
    op.execute("UPDATE applications SET relay_key = '' WHERE relay_key IS NULL")
    with op.batch_alter_table("applications") as table:
        table.alter_column("relay_key", existing_type=sa.String(64), nullable=False)
