"""Write the next migration: `python -m service.storage.migrations "summary"`."""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from service.storage.migrations import configuration


def main() -> None:
    """Write the migration that the command line asks for."""
    parser = CommandParser(prog="service.storage.migrations", description=__doc__)
    parser.add_argument("message", help="a short summary of the change")
    message = parser.parse_args().message
    with create_engine("sqlite://").begin() as connection:
        config = configuration(connection)
        command.upgrade(config, "head")
        known = ScriptDirectory.from_config(config).get_current_head() or "0000"
        number = f"{int(known) + 1:04d}"
        command.revision(config, message, autogenerate=True, rev_id=number)


if __name__ == "__main__":
    run_command(main)
