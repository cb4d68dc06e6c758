"""The steps that bring a database to the tables of service/storage/tables.py, by Alembic.

A server takes them when it starts (Database.prepare). After a change of the records, `python -m
service.storage.migrations "what changes"` writes the next step, which is to be read and, where rows
have to be carried over, completed.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection

FOLDER = Path(__file__).resolve().parent


def configuration(connection: Connection) -> Config:
    """What Alembic's commands need to work in the transaction of that connection."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config
