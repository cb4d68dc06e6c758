"""Settings of servers for each supported database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.storage.storage import Storage
from settings import Settings

DATABASES = ("sqlite", "postgresql")


def database_settings(request: pytest.FixtureRequest, kind: str) -> dict[str, Any]:
    """Return settings for a new database of this kind; skip the test if none is available."""
    if kind == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres")()}


def settings_of(folder: Path, **change: Any) -> Settings:
    """Return settings of a server with its data in that folder, ignoring the environment."""
    settings = {"engine": "clear", "disk_reserve_megabytes": 1, **change}
    return Settings(_env_file=None, server_data=folder, **settings)


def open_storage(folder: Path, **change: Any) -> Storage:
    return Storage(settings_of(folder, **change))
