"""The time that a run waited for its evaluation key to be loaded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    op.add_column("runs", sa.Column("loading_seconds", sa.Double()))


def downgrade() -> None:
    op.drop_column("runs", "loading_seconds")
