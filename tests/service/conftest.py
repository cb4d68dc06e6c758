"""Servers for the tests of the server: a shared one, and separate ones that tests may stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from service.storage import database
from service.storage.storage import Storage
from settings import Settings
from tests.replayed_upgrade import ReplayedUpgrade
from tests.service import driver
from tests.service.driver import Application, Server
from tests.service.played import Played
from tests.service.small_disk import make_disk
from tests.service.storages import DATABASES, database_settings, settings_of
from trials.ray_nodes import RayNodes

__all__ = ["make_disk"]


@pytest.fixture(scope="session", autouse=True)
def chosen_database(request: pytest.FixtureRequest) -> None:
    """Use PostgreSQL for every server if requested; each folder keeps its own database."""
    if os.environ.get(driver.ON_POSTGRESQL) == "1":
        new_database = request.getfixturevalue("postgres")
        driver.database_of = lru_cache(maxsize=None)(lambda folder: new_database())


@pytest.fixture(scope="session", autouse=True)
def replayed_upgrade() -> Iterator[None]:
    """Make the tables of databases in this process as the copied servers do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_upgrade", ReplayedUpgrade(database._upgrade))
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server with the stand-in engine for all tests, which open their own applications."""
    running = Server(tmp_path_factory.mktemp("shared") / "data")
    yield running.wait()
    running.stop()
    assert "Exception in ASGI application" not in running.log()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts servers on one data folder, which stop after the test."""
    running: list[Server] = []

    def begin(**settings: Any) -> Server:
        running.append(Server(tmp_path / "data", **settings))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture(scope="module")
def application(server: Server) -> Application:
    """Return an application with a filled first slot, for calls that are all rejected."""
    opened = server.joined()
    assert opened.send(opened.parties[0]).status_code == 200
    return opened


@pytest.fixture
def unchanged(application: Application) -> Iterator[None]:
    """Check that the test does not change the application or the server's files."""
    state, blobs = application.state(), application.server.blobs()
    yield
    assert application.state() == state
    assert application.server.blobs() == blobs


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayNodes]:
    """Yield a cluster with a head and one more node, which tests may kill."""
    pytest.importorskip("ray", reason="needs Ray: make setup-cluster")
    with RayNodes() as nodes:
        yield nodes


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    chosen = database_settings(request, request.param)
    return settings_of(tmp_path / "data", application_hours=1, maximum_applications=10, **chosen)


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    opened = Storage(settings)
    yield opened
    opened.close()


@pytest.fixture
def played(storage: Storage, settings: Settings) -> Played:
    return Played(storage, settings)
