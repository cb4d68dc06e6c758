"""The secret that opens an owner's data store, for `python -m parties owner`.

It is never an argument, which other users of the machine could see.
"""

from __future__ import annotations

import getpass
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from governance.data_store import MASTER
from governance.store_key import LONGEST_PASSPHRASE, Secret, key_file, make_key_file, passphrase
from utils.atomic_files import private_folder
from utils.errors import StoreLocked
from utils.regular_files import read_regular

KEY_FILE = "store_key"
"""Name of the key file in the agent's folder, if no other secret is chosen."""
_OF_OTHERS = 0o077
_MOST_BYTES = 4 * LONGEST_PASSPHRASE + 2


def store_secret(
    home: Path,
    *,
    exists: bool,
    passphrase_file: Path | None,
    own_key_file: Path | None,
    setting: str | None,
    say: Callable[[str], None],
) -> Secret:
    """Return the secret of the data store in `home`, which may not exist yet.

    It is a passphrase from a file or from the setting, a key file, or a passphrase that is asked
    for on the terminal. Without a terminal, a new store gets a key file in `home`. Raises
    StoreLocked and OSError.
    """
    if passphrase_file is not None:
        return passphrase(_read_passphrase(passphrase_file))
    if own_key_file is not None:
        return key_file(own_key_file)
    if setting is not None:
        return passphrase(setting)
    path = home / KEY_FILE
    if path.exists():
        return key_file(path)
    if sys.stdin.isatty():
        return _ask(new=not exists)
    if exists:
        raise StoreLocked(
            f"The data store in {home} needs its passphrase or key file: pass --passphrase-file or "
            "--key-file, or set TRISEAL_STORE_PASSPHRASE."
        )
    private_folder(home)
    make_key_file(path)
    say(
        f"The key of the data store is in {path}. Without it, nothing in the store can be read: "
        "make a backup, or use a passphrase (--passphrase-file) in a new folder."
    )
    return key_file(path)


def has_store(home: Path) -> bool:
    """Return True if there is a data store in the agent's folder."""
    return any(home.glob(f"*/{MASTER}")) or (home / MASTER).exists()


def _read_passphrase(path: Path) -> str:
    """Return the file's content without its last line end; raises StoreLocked."""
    try:
        found = read_regular(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise StoreLocked(f"There is no passphrase file {path}.") from error
    if found is None:
        raise StoreLocked(f"{path} is not a file. Put the passphrase there.")
    data, mode = found
    if stat.S_IMODE(mode) & _OF_OTHERS:
        raise StoreLocked(f"Other users have access to {path}. Run `chmod 600 {path}`.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise StoreLocked(f"{path} is not text in UTF-8.") from error
    return text.removesuffix("\n").removesuffix("\r")


def _ask(new: bool) -> Secret:
    given = getpass.getpass("Passphrase of the data store: ")
    if new and given != getpass.getpass("The same again: "):
        raise StoreLocked("The two passphrases differ; start again.")
    return passphrase(given)
