"""Trust files: the public identity keys that a party pins for the others.

    # a comment
    bank = 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c

One line for each party: its name and its key, 64 hexadecimal digits in lower case, as
`python -m parties identity` prints them. A file with any other line is refused as a whole, because
a party whose line was skipped would not be pinned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from parties.joint.identities import IdentityKey, shown
from utils.errors import TrustFileInvalid

LARGEST = 64 * 1024
"""Bytes of the largest trust file."""
_LINE = re.compile(r"([a-z][a-z0-9_]{0,31}) *= *([0-9a-f]{64})")
_EXAMPLE = "`party = key`, a party's name and 64 hexadecimal digits in lower case"


@dataclass(frozen=True)
class TrustFile:
    """A trust file: `pins` are raw public keys by party, `lines` the numbers of their lines."""

    name: str
    pins: dict[str, bytes]
    lines: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a trust file; raises TrustFileInvalid."""
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise TrustFileInvalid(
                f"The trust file {path} cannot be read: {error.strerror}. Correct --trust or "
                "TRISEAL_TRUST."
            ) from error
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, name: str) -> Self:
        """Parse the contents of the trust file `name`; raises TrustFileInvalid."""
        if len(data) > LARGEST:
            raise TrustFileInvalid(
                f"{name} is larger than {LARGEST} bytes. Correct --trust or TRISEAL_TRUST."
            )
        found = cls(name, {}, {})
        for number, line in enumerate(data.split(b"\n"), 1):
            text = line.decode("ascii", "replace").strip(" \t\r")
            if text and not text.startswith("#"):
                found._add(number, text)
        if not found.pins:
            raise TrustFileInvalid(
                f"{name} pins no party. Add a line {_EXAMPLE}, or leave out --trust and "
                "TRISEAL_TRUST."
            )
        return found

    def of_others(self, party: str) -> dict[str, bytes]:
        """Return the pins of the other parties."""
        return {name: key for name, key in self.pins.items() if name != party}

    def require_names(self, names: Iterable[str]) -> None:
        """Raise TrustFileInvalid if a line is for a party that is not among `names`."""
        known = list(names)
        for party, number in self.lines.items():
            if party not in known:
                raise self._invalid(
                    number,
                    f"the server's schema has no party {party}. Its parties are "
                    f"{', '.join(known)}: correct the name, or remove the line.",
                )

    def require_own(self, party: str, key: IdentityKey | None) -> None:
        """Raise TrustFileInvalid if `party` is pinned to a key other than its own."""
        number = self.lines.get(party)
        if number is not None and (key is None or key.public != self.pins[party]):
            own = "has no identity key" if key is None else f"has the key {shown(key.public)}"
            raise self._invalid(
                number,
                f"this is {party}, and its own folder {own} instead of "
                f"{shown(self.pins[party])}; the others would refuse it. Choose the folder with "
                "that key by --home, or correct the line.",
            )

    def _add(self, number: int, text: str) -> None:
        match = _LINE.fullmatch(text)
        if match is None:
            raise self._invalid(number, f"it must be {_EXAMPLE}. Correct or remove it.")
        party, key = match[1], bytes.fromhex(match[2])
        if party in self.pins:
            raise self._invalid(
                number, f"{party} is in line {self.lines[party]} already. Remove one of the two."
            )
        for other, pin in self.pins.items():
            if pin == key:
                raise self._invalid(
                    number,
                    f"{party} has the same key as {other} in line {self.lines[other]}. Ask both "
                    "parties for their keys, and correct the lines.",
                )
        self.pins[party], self.lines[party] = key, number

    def _invalid(self, number: int, problem: str) -> TrustFileInvalid:
        return TrustFileInvalid(f"{self.name}, line {number}: {problem}")


def line_of(party: str, public: bytes) -> str:
    """Return the line of a trust file that pins `party`."""
    return f"{party} = {public.hex()}"
