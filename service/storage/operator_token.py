"""The operator's token: from the settings, or generated once and kept in the server's folder."""

from __future__ import annotations

from pathlib import Path

from settings import Settings
from utils.atomic_files import write_atomic
from utils.disk_errors import storage_fault
from utils.tokens import new_secret

FILE = "operator_token"


def operator_token(settings: Settings) -> str:
    """Return the token for the operator's calls; generate and store it if there is none yet.

    Raises StorageUnavailable if it cannot be read or stored.
    """
    if settings.operator_token is not None:
        return settings.operator_token.get_secret_value()
    path = settings.server_data / FILE
    try:
        kept = read_token(path)
        if kept is None:
            kept = new_secret()
            write_atomic(path, kept.encode())
    except OSError as error:
        raise storage_fault(
            f"The server cannot read or store its operator's token in {path}", error
        ) from error
    return kept


def read_token(path: Path) -> str | None:
    """Return the token in the file; None if the file is missing or empty."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
