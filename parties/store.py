"""A party's own files: its token, its secret key, its record and its last sealed messages.

    <root>/<client_id>/<party>/<name>       folders 0700, files 0600, each written atomically

One folder stands for one party's machine. The demonstration plays every party on one machine, so
the folders are next to each other; a party on a machine of its own has one folder. Only `hand_over`
copies from one party's folder to another's. The server never receives these files.

A party's folder of one application has a lock, held by the process that plays the party: two
processes acting for the same party would contradict each other.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from utils.atomic_files import private_folder, write_atomic
from utils.errors import InvalidRequest, UnknownApplication, UnknownParty
from utils.file_lock import HeldLock, hold_lock
from utils.marked_folder import claim_folder, is_marked

TOKEN = "token"  # noqa: S105 - the name of a file, not a token
SECRET_KEY = "secret_key"  # noqa: S105
PERMIT_KEY = "permit_key"
RECORD = "record.json"
EXPIRY = "expiry.json"
REVIEW_KEY = "review_key"
LOCK = ".lock"
_PURPOSE = "the parties' files"

_CLIENT_ID = re.compile(r"[0-9a-f]{32}")
_PARTY = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}(\.[a-z]{1,10})?")


class PartyStore:
    """The files of the parties that this process plays, under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def claim(self) -> None:
        """Create and mark the folder, or accept one of this project's; raises FolderNotOurs.

        Expired applications are deleted from it, so it must not contain anything else.
        """
        claim_folder(
            self.root,
            _PURPOSE,
            setting="--home or TRISEAL_PARTY_DATA",
            made_earlier=_holds_agents,
        )

    def folder(self, client_id: str, party: str) -> Path:
        """Return the party's folder of one application; it may not exist.

        Raises InvalidRequest or UnknownParty if `client_id` or `party` is not valid as a name.
        """
        if not _PARTY.fullmatch(party):
            raise UnknownParty(f"{party[:40]!r} cannot be the name of a party.")
        return self._application(client_id) / party

    def application_folder(self, client_id: str) -> Path:
        """Return the absolute path of the application's folder; it may not exist.

        Raises InvalidRequest if `client_id` is not a valid id.
        """
        return self._application(client_id).absolute()

    def path(self, client_id: str, party: str, name: str) -> Path:
        """Return the path of the party's file `name`, which may not exist.

        Raises InvalidRequest or UnknownParty if an argument is not valid as a name.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name[:40]!r} cannot be the name of a party's file.")
        return self.folder(client_id, party) / name

    def write(self, client_id: str, party: str, name: str, data: bytes) -> None:
        """Write `data` as the party's file `name`, replacing any earlier contents."""
        path = self.path(client_id, party, name)
        self._make_folder(client_id, party)
        write_atomic(path, data)

    def hold(self, client_id: str, party: str, seconds: float = 0.0) -> HeldLock:
        """Lock the party's folder of the application while the returned file is open.

        Waits at most `seconds`. Raises DataFolderInUse if another process, or another part of this
        one, plays the party there, and UnknownApplication if there is no such folder.
        """
        folder = self.folder(client_id, party)
        try:
            return hold_lock(
                folder / LOCK,
                f"Another process plays {party} in application {client_id[:8]} with the files in "
                f"{self.root}. Stop it, or wait until it has finished its step, then try again.",
                seconds,
            )
        except FileNotFoundError as error:
            raise self._unknown(client_id) from error

    def make_and_hold(self, client_id: str, party: str) -> HeldLock:
        """Create the party's folder of the application and lock it; raises DataFolderInUse."""
        self._make_folder(client_id, party)
        return self.hold(client_id, party)

    def read(self, client_id: str, party: str, name: str) -> bytes | None:
        """Return the contents of the party's file `name`, or None if there is no such file."""
        try:
            return self.path(client_id, party, name).read_bytes()
        except FileNotFoundError:
            return None

    def has(self, client_id: str, party: str, name: str) -> bool:
        """Return True if the party has a file `name`."""
        return self.path(client_id, party, name).is_file()

    def remove(self, client_id: str, party: str, name: str) -> None:
        """Remove the party's file `name` if it is there."""
        self.path(client_id, party, name).unlink(missing_ok=True)

    def parties(self, client_id: str) -> list[str]:
        """Return the parties played here in an application: those with a token, sorted.

        Raises UnknownApplication if there is none.
        """
        folder = self._application(client_id)
        found = sorted(path.parent.name for path in folder.glob(f"*/{TOKEN}"))
        if not found:
            raise self._unknown(client_id)
        return found

    def hand_over(self, client_id: str, name: str, giver: str, takers: Iterable[str]) -> None:
        """Copy `giver`'s file to the folders of other parties of the same application.

        This is for engines with one key holder, which has to share the secret key so that the
        other parties can encrypt and decrypt. Between machines the key has to be sent by a
        separate channel, never by the server.
        """
        data = self.path(client_id, giver, name).read_bytes()
        for taker in takers:
            if taker != giver:
                self.write(client_id, taker, name, data)

    def carry_over(self, old: str, new: str, party: str, names: Iterable[str]) -> None:
        """Copy those of a party's files that exist from one application to another."""
        for name in names:
            data = self.read(old, party, name)
            if data is not None:
                self.write(new, party, name, data)

    def erase(self, client_id: str) -> None:
        """Remove all files of an application from this machine."""
        _remove(self._application(client_id))

    def erase_party(self, client_id: str, party: str) -> None:
        """Remove one party's files of an application from this machine."""
        _remove(self.folder(client_id, party))
        with suppress(OSError):  # other parties' folders may be in it
            self._application(client_id).rmdir()

    def erase_but(self, client_id: str, party: str, kept: Collection[str]) -> None:
        """Remove one party's files of an application, except those of these names and its lock."""
        with suppress(FileNotFoundError):
            for path in self.folder(client_id, party).iterdir():
                if path.name not in kept and path.name != LOCK:
                    path.unlink(missing_ok=True)

    def applications(self, party: str) -> list[str]:
        """Return the ids of the applications that this machine joined as `party`, newest first."""
        # The folder's time is when a party's folder was created; tokens are rewritten later.
        found = [path for path in self._folders() if self.has(path.name, party, TOKEN)]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return [path.name for path in found]

    def folders(self) -> list[tuple[str, str]]:
        """Return (client_id, party) of every party's folder on this machine, joined or not."""
        return [
            (path.parent.name, path.name)
            for application in self._folders()
            for path in application.glob("*/")
            if _PARTY.fullmatch(path.name)
        ]

    def _folders(self) -> list[Path]:
        return [path for path in self.root.glob("*/") if _CLIENT_ID.fullmatch(path.name)]

    def _make_folder(self, client_id: str, party: str) -> None:
        folder = self.folder(client_id, party)
        self.claim()
        for path in (folder.parent, folder):
            private_folder(path)

    @staticmethod
    def _unknown(client_id: str) -> UnknownApplication:
        return UnknownApplication(
            f"This machine has no files of application {client_id}. Start by making the keys."
        )

    def _application(self, client_id: str) -> Path:
        if not _CLIENT_ID.fullmatch(client_id):
            raise InvalidRequest(
                f"{client_id[:40]!r} is not an application id: enter the 32 hexadecimal digits "
                "that you received when the keys were made."
            )
        return self.root / client_id


def _remove(folder: Path) -> None:
    for _ in range(3):  # a process that waits for the lock may have created its file again
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def _holds_agents(root: Path) -> bool:
    """Return True if the folder holds nothing but marked folders of parties' agents."""
    return all(
        bool(_PARTY.fullmatch(path.name)) and not path.is_symlink() and is_marked(path, _PURPOSE)
        for path in root.iterdir()
    )
