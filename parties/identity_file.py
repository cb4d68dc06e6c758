"""The file of an institution's identity key, in its own folder: mode 0600, never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from parties.joint.identities import IdentityKey
from parties.store import PartyStore
from utils.atomic_files import write_new
from utils.errors import IdentityKeyInvalid

IDENTITY_KEY = "identity_key"
_LARGEST = 4096
_OF_OTHERS = 0o077


def make_identity(home: Path) -> IdentityKey:
    """Return the identity key in the folder `home`; create both if they are missing.

    Raises FolderNotOurs, IdentityKeyInvalid and OSError.
    """
    found = read_identity(home)
    if found is not None:
        return found
    PartyStore(home).claim()
    write_new(home / IDENTITY_KEY, IdentityKey.fresh().to_pem())
    made = read_identity(home)  # another process may have been faster
    if made is None:
        raise IdentityKeyInvalid(f"{home / IDENTITY_KEY} was removed while it was made; try again.")
    return made


def read_identity(home: Path) -> IdentityKey | None:
    """Return the identity key in the folder `home`, or None if there is none.

    Raises IdentityKeyInvalid if the file is damaged or other users have access to it, and OSError.
    """
    path = home / IDENTITY_KEY
    try:
        # Without blocking, in case it is a named pipe.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise IdentityKeyInvalid(f"{path} is not a file. Put the identity key there.")
        if stat.S_IMODE(mode) & _OF_OTHERS:
            raise IdentityKeyInvalid(
                f"Other users have access to {path}. Run `chmod 600 {path}`; if others may have "
                "read it, remove it, make a new key, and have the other parties pin that."
            )
        data = file.read(_LARGEST)
    try:
        return IdentityKey.from_pem(data)
    except IdentityKeyInvalid as error:
        raise IdentityKeyInvalid(
            f"{path} is damaged. {error.message} Restore it from a backup, or remove it, make a "
            "new key, and have the other parties pin that."
        ) from error
