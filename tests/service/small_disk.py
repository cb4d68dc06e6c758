"""A real file system of a few megabytes, which a test may fill to its last block or inode."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOT_PERMITTED = (
    "mounting a file system is not permitted here: run the tests as root, in a container with "
    "CAP_SYS_ADMIN"
)


class SmallDisk:
    """A file system in memory, mounted on a folder."""

    def __init__(self, folder: Path, options: str = "size=64m") -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir()
        command = ("mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "triseal-test")
        done = subprocess.run((*command, str(folder)), check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"{NOT_PERMITTED} ({done.stderr.strip()})")

    def fill(self) -> None:
        """Allocate all free blocks, as another program would."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        assert self.free() == 0

    def fill_inodes(self) -> None:
        """Allocate all free inodes."""
        self._filler.mkdir()
        try:
            for number in range(1_000_000):
                (self._filler / str(number)).touch()
        except OSError:
            assert os.statvfs(self.folder).f_favail == 0

    def clear(self) -> None:
        """Release the space that `fill` or `fill_inodes` allocated."""
        if self._filler.is_dir():
            for path in self._filler.iterdir():
                path.unlink()
            self._filler.rmdir()
        else:
            self._filler.unlink()

    def free(self) -> int:
        usage = os.statvfs(self.folder)
        return usage.f_bavail * usage.f_frsize

    def read_only(self) -> None:
        subprocess.run(("mount", "-o", "remount,ro", str(self.folder)), check=True)

    def unmount(self) -> None:
        subprocess.run(("umount", "--lazy", str(self.folder)), check=False)


MakeDisk = Callable[..., SmallDisk]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Creates small disks that are removed after the test."""
    made: list[SmallDisk] = []

    def make(**options: str) -> SmallDisk:
        made.append(SmallDisk(tmp_path / f"disk{len(made)}", **options))
        return made[-1]

    yield make
    for disk in made:
        disk.unmount()
