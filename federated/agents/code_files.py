"""The files by which a coordinator hands each lender its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from utils.atomic_files import private_folder, write_atomic
from utils.errors import InvalidRequest
from utils.regular_files import read_regular

CODES = "codes"
"""Folder of the codes in the coordinator's folder, a file for each lender."""
_MOST_CODE = 4096


def write_codes(home: Path, codes: Mapping[str, str]) -> None:
    """Write each lender's code to a file of its name, in the coordinator's folder `home`."""
    folder = private_folder(home / CODES)
    for name, code in codes.items():
        write_atomic(folder / name, f"{code}\n".encode())


def read_code(path: Path) -> str:
    """Return the code in a file; raises InvalidRequest."""
    try:
        found = read_regular(path, _MOST_CODE)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    if found is None:
        raise InvalidRequest(f"{path} is not a file; it has the coordinator's code.")
    return found[0].decode("ascii", "replace").strip()
