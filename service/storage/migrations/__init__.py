"""Alembic migrations that upgrade a database to the tables of service/storage/tables.py.

A server runs them when it starts (Database.prepare). After a change to the records, `python -m
service.storage.migrations "summary"` writes the next migration; review it, and complete it if
existing rows must be converted.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection

FOLDER = Path(__file__).resolve().parent


def configuration(connection: Connection) -> Config:
    """Return the configuration for Alembic's commands to run in the connection's transaction."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
