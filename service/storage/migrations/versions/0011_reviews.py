"""Reviews of decisions by a person."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    op.add_column("applications", sa.Column("review", sa.String(12)))
    op.create_table(
        "reviews",
        sa.Column("client_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("asked", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("taken", sa.Double()),
        sa.Column("closed", sa.Double()),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("words", sa.Text()),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["applications.client_id"],
            name="fk_reviews_client_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", name="pk_reviews"),
    )


def downgrade() -> None:
    op.drop_table("reviews")
    op.drop_column("applications", "review")
