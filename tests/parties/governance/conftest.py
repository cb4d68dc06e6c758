"""One server with partners for the tests of the agents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parties.governance.owner_cases import GovernedServer


@pytest.fixture(scope="session")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GovernedServer]:
    """Yield a server with the stand-in engine that knows an owner and three banks."""
    made = GovernedServer(tmp_path_factory.mktemp("governed"))
    yield made
    made.stop()
    assert "Exception in ASGI application" not in made.server.log()
