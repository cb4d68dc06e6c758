"""Trainings of several lenders, their members and messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    op.create_table(
        "trainings",
        _training(),
        sa.Column("coordinator_key", sa.String(64), nullable=False),
        sa.Column("call_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.Column("closed", sa.Double()),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("training_id", name="pk_trainings"),
        sa.UniqueConstraint("call_digest", name="uq_trainings_call_digest"),
    )
    for column in ("expires", "closed"):
        op.create_index(f"ix_trainings_{column}", "trainings", [column])
    op.create_table(
        "training_members",
        _training(),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(32)),
        sa.Column("token_digest", sa.LargeBinary(32)),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("room", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Double()),
        sa.Column("recent", sa.LargeBinary(), nullable=False),
        *_of_training("training_members", "name"),
    )
    op.create_table(
        "training_messages",
        _training(),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.String(64), nullable=False),
        sa.Column("receiver", sa.String(64)),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        *_of_training("training_messages", "id"),
    )


def downgrade() -> None:
    for table in ("training_messages", "training_members", "trainings"):
        op.drop_table(table)


def _training() -> sa.Column[str]:
    return sa.Column("training_id", sa.String(32), nullable=False)


def _of_training(table: str, key: str) -> tuple[sa.Constraint, ...]:
    return (
        sa.ForeignKeyConstraint(
            ["training_id"],
            ["trainings.training_id"],
            name=f"fk_{table}_training_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_id", key, name=f"pk_{table}"),
    )
