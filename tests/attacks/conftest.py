"""Fixtures: a server with the levelled engine, and both halves of the engine without one."""

import pytest

from tests.parties.running import levelled_oracle, levelled_server
from tests.privacy.conftest import bits, halves, table
from tests.privacy.small import EngineHalves, small_deployment

__all__ = ["bits", "halves", "levelled_oracle", "levelled_server", "signs", "table"]


@pytest.fixture(scope="session")
def signs(tmp_path_factory):
    """Both halves of the engine for a small model that opens signs and checks inputs."""
    return EngineHalves.of(small_deployment(tmp_path_factory.mktemp("signs"), opens="sign"))
