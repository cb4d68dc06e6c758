"""What Alembic runs for each of its commands; the connection comes from `configuration`."""

from __future__ import annotations

from alembic import context

from service.storage.tables import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
with context.begin_transaction():
    context.run_migrations()
