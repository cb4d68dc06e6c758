"""Small zip archives in memory, for an engine's client files.

Dates are fixed, so that equal content gives equal bytes; all sizes are bounded when reading.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping

from utils.errors import MalformedMessage

MAXIMUM_FILES = 32
MAXIMUM_UNPACKED = 64 << 20
_DATE = (1980, 1, 1, 0, 0, 0)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of `files`, a mapping of names to content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _DATE), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive; raises MalformedMessage if it is invalid or too large."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if len(entries) > MAXIMUM_FILES or sum(e.file_size for e in entries) > MAXIMUM_UNPACKED:
                raise MalformedMessage("The client files are too large.")
            return {entry.filename: opened.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise MalformedMessage("The client files are damaged; load them again.") from error


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


EMPTY_ZIP = pack({})
