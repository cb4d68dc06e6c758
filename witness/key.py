"""A witness's long-lived signing key (Ed25519, RFC 8032), in its own folder.

The folder has mode 0700 and the key file 0600. Whoever has the file can sign for the witness.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from utils.atomic_files import write_new
from utils.errors import MalformedMessage
from utils.file_lock import HeldLock, hold_lock
from utils.fingerprints import grouped
from utils.marked_folder import claim_folder

KEY_FILE = "signing_key"
KEY_BYTES = 32
_LOCK = ".lock"


def claim_home(home: Path) -> Path:
    """Create and mark the witness's folder, mode 0700; raises FolderNotOurs."""
    return claim_folder(home, "a witness's key", setting="--home or TRISEAL_WITNESS_DATA")


def hold_home(home: Path, seconds: float = 0.0) -> HeldLock:
    """Lock the folder while the returned file is open; raises DataFolderInUse."""
    return hold_lock(
        home / _LOCK,
        f"Another witness uses {home}; stop it, or choose another folder with --home.",
        seconds,
    )


def load_key(home: Path) -> Ed25519PrivateKey:
    """Return the key in a claimed folder, made with the operating system's randomness if missing.

    Raises MalformedMessage if the file is damaged.
    """
    path = home / KEY_FILE
    if not path.exists():
        # Another process may be faster: a second key would be published and lost.
        write_new(path, Ed25519PrivateKey.generate().private_bytes_raw())
    data = path.read_bytes()
    if len(data) != KEY_BYTES:
        raise MalformedMessage(
            f"The key file {path} is damaged. Restore it, or remove it to make a new key, which "
            "every server and party has to be told."
        )
    return Ed25519PrivateKey.from_private_bytes(data)


def public_hex(key: Ed25519PrivateKey) -> str:
    """Return the public key as 64 hexadecimal digits, as in TRISEAL_WITNESSES."""
    return key.public_key().public_bytes_raw().hex()


def fingerprint(public: str) -> str:
    """Return the first 20 hexadecimal digits of a public key, in groups of 4."""
    return grouped(public, 20)
