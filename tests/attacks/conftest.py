"""Fixtures: both halves of the levelled engine, and a group of protocols."""

from tests.privacy.conftest import bits, halves, table

__all__ = ["bits", "halves", "table"]
