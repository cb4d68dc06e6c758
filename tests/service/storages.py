"""Settings of servers on each of the databases that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.storage.storage import Storage
from settings import Settings

DATABASES = ("sqlite", "postgresql")


def database_settings(request: pytest.FixtureRequest, kind: str) -> dict[str, Any]:
    """The settings that name a fresh database of this kind; it skips where there can be none."""
    if kind == "sqlite":
        return {}
    return {"database_url": request.getfixturevalue("postgres")()}


def settings_of(folder: Path, **change: Any) -> Settings:
    """Settings of a server whose data lie in that folder, whatever the environment says."""
    settings = {"engine": "clear", "disk_reserve_megabytes": 1, **change}
    return Settings(_env_file=None, server_data=folder, **settings)


def open_storage(folder: Path, **change: Any) -> Storage:
    return Storage(settings_of(folder, **change))
