"""The operator's token: from the settings, or drawn once and kept in the server's own folder."""

from __future__ import annotations

from pathlib import Path

from service.applications.credentials import new_secret
from settings import Settings
from utils.atomic_files import write_atomic
from utils.disk_errors import storage_fault

FILE = "operator_token"


def operator_token(settings: Settings) -> str:
    """The token that opens the operator's calls; made and kept where there is none yet.

    Raises StorageUnavailable where it cannot be read or kept.
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
            f"The server cannot keep its operator's token in {path}", error
        ) from error
    return kept


def read_token(path: Path) -> str | None:
    """The token in that file; None where there is no such file."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
