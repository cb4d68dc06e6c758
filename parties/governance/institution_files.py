"""The files of an institution's agent, sealed under the key file of their folder.

    <folder>/key            the key file, of mode 0600 (governance/store_key.py)
    <folder>/sessions/      the state of each session
    <folder>/requests/      each request, with its receipt and results
    <folder>/journal/       the activity
    <folder>/.lock          held by the one process that uses the folder

The key protects copies of the other files, for example in a backup without it.
"""

from __future__ import annotations

from pathlib import Path

from governance.store_key import key_file, make_key_file
from parties.governance.sealed_files import SealedFiles
from parties.governance.sealed_session import LARGEST_STATE
from utils.atomic_files import private_folder
from utils.errors import StoreLocked
from utils.file_lock import hold_lock

KEY, LOCK = "key", ".lock"
LARGEST_REQUEST_FILE = 12 * 1024 * 1024
LARGEST_JOURNAL = 4 * 1024 * 1024


class InstitutionFiles:
    """The open folder, which one process at a time can have."""

    def __init__(self, folder: Path) -> None:
        """Open or create the folder.

        Raises DataFolderInUse, StoreLocked if the key file is missing or others can read it, and
        OSError.
        """
        private_folder(folder)
        self._lock = hold_lock(
            folder / LOCK, f"Another process is using {folder}; stop it, or choose another folder."
        )
        try:
            key = _key(folder)
            self.sessions = SealedFiles(folder / "sessions", key, "the sessions", LARGEST_STATE)
            self.requests = SealedFiles(
                folder / "requests", key, "the requests", LARGEST_REQUEST_FILE
            )
            self.journal = SealedFiles(folder / "journal", key, "the activity", LARGEST_JOURNAL)
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another process open the folder."""
        self._lock.close()


def _key(folder: Path) -> bytes:
    path = folder / KEY
    if not path.exists():
        if any(each.name != LOCK for each in folder.iterdir()):
            raise StoreLocked(f"{path} is missing; restore it from its backup.")
        make_key_file(path)
    return key_file(path).value
