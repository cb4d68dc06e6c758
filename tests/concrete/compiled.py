"""Deployments compiled for Concrete, kept between runs of the tests, since each takes seconds.

They are in pytest's cache, under a digest of everything that they depend on: after any change of
the compiler's sources or libraries they are compiled again. `pytest --cache-clear` removes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engines.deployment import Deployment, library_versions
from utils.errors import DeploymentError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("engines", "features", "model", "training", "utils", "tests/concrete")
MORE = ("tests/conftest.py", "tests/training/test_own_data.py", "requirements/concrete.txt")
KEPT_SECONDS = 24 * 3600
"""Time after which deployments of other sources are removed; until then a run may use them."""


def digest_of_sources() -> str:
    """Return a digest of the sources and libraries on which compiled deployments depend."""
    total = hashlib.sha256(repr((sys.version_info[:3], library_versions())).encode())
    found = [p for f in SOURCES for p in (ROOT / f).rglob("*") if p.suffix in (".py", ".json")]
    for path in sorted([*found, *(ROOT / name for name in MORE)]):
        total.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:32]


def intact(folder: Path) -> bool:
    """Return True if the folder's files are those that were compiled."""
    try:
        Deployment.load(folder)
    except DeploymentError:
        return False
    return True


class Compiled:
    """The deployments in `folder`, one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._all = folder
        self._own = folder / digest_of_sources()

    def deployment(self, name: str, write: Callable[[Path], Path]) -> Path:
        """Return the deployment `name`, which `write` makes in an empty folder if it is not there.

        `write` returns the deployment's folder, in the one that it gets.
        """
        self._own.mkdir(parents=True, exist_ok=True)
        (self._own / "used").touch()
        self._remove_old()
        with (self._own / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place, done = self._own / name, self._own / f"{name}.done"
            if done.exists() and intact(place / done.read_text()):
                return place / done.read_text()
            done.unlink(missing_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            found = write(place)
            done.write_text(str(found.relative_to(place)))
            return found

    def _remove_old(self) -> None:
        for other in set(self._all.iterdir()) - {self._own}:
            with suppress(OSError):  # another process removes it
                if time.time() - (other / "used").stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(other)
