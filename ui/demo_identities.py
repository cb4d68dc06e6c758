"""Identity keys of the demonstration: made at the first start and pinned at every party.

Between real institutions each makes its own key and gives the public half to the others over a
channel that they trust. Here one process does it for all, in the folders of all parties.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from parties.identity_file import make_identity, read_identity
from parties.store import PartyStore
from parties.trust_file import line_of
from utils.atomic_files import write_atomic

APPLICANT = "applicant"
"""The party that is a person, not an institution: it makes a key for each application."""
TRUST_FILE = "trust"


def cosigners_of(folder: Path, names: Sequence[str]) -> str:
    """Return the institutions of `names` with their keys, as in TRISEAL_COSIGNERS."""
    keys = {name: read_identity(folder / name) for name in names}
    return ", ".join(
        f"{name.replace('_', ' ').capitalize()}={key.public.hex()}"
        for name, key in keys.items()
        if key is not None
    )


def make_and_pin(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Make the institutions' missing keys; return the trust file of each party of `names`.

    `folder` is that of all parties' own folders. Raises FolderNotOurs, IdentityKeyInvalid and
    OSError.
    """
    keys = {name: make_identity(folder / name) for name in names if name != APPLICANT}
    lines = "".join(f"{line_of(name, key.public)}\n" for name, key in keys.items())
    files = {name: folder / name / TRUST_FILE for name in names}
    for path in files.values():
        PartyStore(path.parent).claim()
        write_atomic(path, lines.encode())
    return files
