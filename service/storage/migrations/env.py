"""The script that Alembic runs for each command; the connection comes from `configuration`."""

from __future__ import annotations

from alembic import context

from service.storage.tables import Record

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Record.metadata,
    render_as_batch=True,  # SQLite alters a table by recreating it
)
with context.begin_transaction():
    context.run_migrations()
