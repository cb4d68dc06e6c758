"""A lender's data for trainings: CSV files in its data folder, and data sets sent to the agent."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from features.encoding import Layout
from features.records import Records, parse_records, read_records
from utils.atomic_files import private_folder, write_atomic
from utils.errors import InvalidRequest, QuotaExceeded, TrainingDataInvalid, UnknownDataSet
from utils.strict_csv import CsvSource

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
LARGEST_DATA = 64 << 20
"""Most bytes of a data set that is sent; larger files belong in the data folder."""
MOST_DATA_SETS = 64
OWN = "own"
"""The address of the file that the agent was started with."""
_SUFFIX = ".csv"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """A data set in the agent's folder: its name, its bytes, and when it was stored."""

    name: str
    bytes: int
    at: float


class DataSets:
    """Data by address: the name of a stored data set, or a file's path in the data folder.

    A stored data set comes before a file of the same name. `folder` is the agent's own, `files` the
    lender's data folder, which is only read, and `own` the file at the address `own`.
    """

    def __init__(
        self,
        folder: Path,
        files: Path | None,
        layout: Layout,
        target: str | None = None,
        own: Path | None = None,
    ) -> None:
        self._folder, self._files, self._own = private_folder(folder), files, own
        self._layout, self._target = layout, target

    def read(self, address: str) -> Records:
        """Return the rows at an address.

        Raises InvalidRequest for an address outside the data folder, and TrainingDataInvalid.
        """
        notes: list[str] = []
        records = read_records(self._path(address), self._layout, self._target, notes)
        for note in notes:
            log.info("training data: %s", note)
        return records

    def store(self, name: str, content: bytes) -> int:
        """Store a CSV file under a name, instead of an older one; returns its number of rows.

        Raises TrainingDataInvalid if it cannot be used for a training, and QuotaExceeded.
        """
        source = CsvSource("The data set", TrainingDataInvalid)
        rows = len(parse_records(content, self._layout, self._target, source))
        path = self._stored(name)
        if not path.exists() and len(self.all()) >= MOST_DATA_SETS:
            raise QuotaExceeded(
                f"The agent keeps at most {MOST_DATA_SETS} data sets; remove one that is not used."
            )
        write_atomic(path, content)
        return rows

    def remove(self, name: str) -> None:
        """Remove a stored data set; raises UnknownDataSet."""
        try:
            self._stored(name).unlink()
        except FileNotFoundError as error:
            raise UnknownDataSet(f"There is no data set {name}; list them first.") from error

    def all(self) -> tuple[Stored, ...]:
        """Return the stored data sets, by name."""
        found = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if re.match(NAME, path.stem):
                facts = path.stat()
                found.append(Stored(path.stem, facts.st_size, facts.st_mtime))
        return tuple(found)

    def _stored(self, name: str) -> Path:
        if not re.fullmatch(NAME, name) or name == OWN:
            raise InvalidRequest(
                f"A data set's name has up to 64 lower-case letters, digits, - and _; {OWN} is the "
                "file that the agent was started with."
            )
        return self._folder / f"{name}{_SUFFIX}"

    def _path(self, address: str) -> Path:
        if address == OWN:
            if self._own is None:
                raise InvalidRequest("addr: name the data, since the agent has no --data file.")
            return self._own
        if re.fullmatch(NAME, address) and self._stored(address).exists():
            return self._stored(address)
        if self._files is None:
            raise InvalidRequest(
                "addr: the agent has no data set of this name. Send one with PUT /fl_data, or "
                "start the agent with --data-folder to use a file in that folder."
            )
        folder = self._files.resolve()
        try:
            path = (folder / address).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, or a character of no path
            path = Path("/")
        if folder not in path.parents or not address.isprintable():
            raise InvalidRequest(
                "addr: name a data set of the agent, or a file inside its data folder by its path "
                "from there."
            )
        return path
