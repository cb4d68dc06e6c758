"""Fixtures: a server with the levelled engine, and both halves of the engine without one."""

from tests.parties.running import levelled_oracle, levelled_server
from tests.privacy.conftest import bits, halves, table

__all__ = ["bits", "halves", "levelled_oracle", "levelled_server", "table"]
