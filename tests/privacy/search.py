"""A search for secrets in files and in the memory of running processes.

A secret is searched for in every form in which it occurs: packed as in its file, as a polynomial of
each number type, folded as before a transform, transformed, in hexadecimal and in base64. The data
are cut into aligned blocks, and the hashes of the blocks are compared with those of all windows of
all forms, so that one pass finds any complete or partial copy at any address.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.levelled.keys import SecretShare
from engines.levelled.ring import forward

SHORT, MIDDLE, LONG = 8, 128, 1024
"""Block sizes in bytes: for keys, for data of high entropy, for small numbers in wide words."""
_TABLE_BITS = 22
_CHUNK = 32 << 20
_rng = np.random.default_rng(17)
_WEIGHTS = {w: _rng.integers(0, 2**63, w // 8, np.uint64) * 2 + 1 for w in (SHORT, MIDDLE, LONG)}


@dataclass(frozen=True)
class Form:
    """One representation of a secret in memory; a copy of 2·`window` bytes of it is found.

    A `SHORT` form is compared as a whole.
    """

    of: str
    name: str
    data: bytes
    window: int

    def __str__(self) -> str:
        return f"{self.name} of {self.of}"


def forms_of_secret(of: str, secret: SecretShare) -> list[Form]:
    """Return all forms of a party's share of the secret key."""
    s, packed = secret.polynomial, secret.to_bytes()
    half = len(s) // 2
    folded = np.ascontiguousarray(s[:half] + 1j * s[half:])
    return [
        Form(of, "smudge key", secret.smudge_key, SHORT),
        Form(of, "packed secret", packed[33:], MIDDLE),
        *(
            Form(of, f"packed secret in base64, {k}", text_of(base64.b64encode, packed[k:]), MIDDLE)
            for k in range(3)
        ),
        Form(of, "packed secret in hexadecimal", packed.hex().encode(), MIDDLE),
        Form(of, "polynomial as int8", s.astype(np.int8).tobytes(), MIDDLE),
        Form(of, "polynomial as unsigned bytes", (s + 1).astype(np.uint8).tobytes(), MIDDLE),
        Form(of, "polynomial as int32", s.astype(np.int32).tobytes(), LONG),
        Form(of, "polynomial as int64", s.tobytes(), LONG),
        Form(of, "polynomial as float64", s.astype(np.float64).tobytes(), LONG),
        Form(of, "folded polynomial", folded.tobytes(), LONG),
        Form(of, "transformed polynomial", forward(s).tobytes(), MIDDLE),
    ]


def forms_of_key(of: str, name: str, key: bytes) -> list[Form]:
    """Return the forms of a short key: raw and as text."""
    return [
        Form(of, name, key, SHORT),
        Form(of, f"{name} in hexadecimal", key.hex().encode(), SHORT),
        Form(of, f"{name} in base64", text_of(base64.b64encode, key), SHORT),
        Form(of, f"{name} in URL base64", text_of(base64.urlsafe_b64encode, key), SHORT),
    ]


def text_of(encode: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Return the part of the base64 text that does not depend on the bytes that follow."""
    return encode(data).rstrip(b"=")[:-1]  # the last character depends on the bytes that follow


class Search:
    """A search for any of the given forms."""

    def __init__(self, forms: Iterable[Form]) -> None:
        self.forms = list(forms)
        self._tables: dict[int, NDArray[np.bool_]] = {}
        self._known: dict[int, dict[int, list[tuple[int, int]]]] = {}
        for window in (SHORT, MIDDLE, LONG):
            own = [i for i, form in enumerate(self.forms) if form.window == window]
            table = np.zeros(1 << _TABLE_BITS, np.bool_)
            known: dict[int, list[tuple[int, int]]] = {}
            for i in own:
                last = 8 if window == SHORT else len(self.forms[i].data) - window + 1
                hashes = _hashes(self.forms[i].data, window, last)
                table[_slots(hashes)] = True
                for offset, found in enumerate(hashes.tolist()):
                    known.setdefault(found, []).append((i, offset))
            self._tables[window], self._known[window] = table, known

    def in_bytes(self, data: bytes) -> set[str]:
        """Return the names of the forms that occur in `data`."""
        found = set()
        for window, known in self._known.items():
            count = len(data) // window
            if not known or not count:
                continue
            words = np.frombuffer(data, "<u8", count * window // 8).reshape(count, -1)
            hashes = (words * _WEIGHTS[window]).sum(axis=1, dtype=np.uint64)
            for block in np.flatnonzero(self._tables[window][_slots(hashes)]).tolist():
                for i, offset in known.get(int(hashes[block]), ()):
                    form, start = self.forms[i], block * window
                    size = len(form.data) if window == SHORT else window
                    first = start - offset if window == SHORT else start
                    wanted = form.data if window == SHORT else form.data[offset : offset + window]
                    if first >= 0 and data[first : first + size] == wanted:
                        found.add(str(form))
        return found

    def in_folder(self, folder: Path) -> set[str]:
        """Return the forms found in all files below a folder, including the file names."""
        found = set()
        for path in sorted(folder.rglob("*")):
            found |= self.in_bytes(os.fsencode(path.name).ljust(256, b"\0"))
            if path.is_file():
                found |= self.in_bytes(path.read_bytes() + bytes(LONG))
        return found

    def in_process(self, pid: int) -> tuple[set[str], int]:
        """Return the forms found in the readable memory of a process, and its size in bytes.

        Raises PermissionError if the system does not permit reading the memory.
        """
        found, total = set(), 0
        for chunk in memory_of(pid):
            total += len(chunk)
            found |= self.in_bytes(chunk)
        return found, total


def _hashes(data: bytes, window: int, count: int) -> NDArray[np.uint64]:
    """Return the hash of the window at every offset below `count`, shape (count,)."""
    octets = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), window)[:count]
    words = np.ascontiguousarray(octets).view("<u8")
    return (words * _WEIGHTS[window]).sum(axis=1, dtype=np.uint64)


def _slots(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    mixed = hashes * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - _TABLE_BITS)).astype(np.intp)


def memory_of(pid: int) -> Iterator[bytes]:
    """Yield every readable mapping in overlapping parts, without the kernel's own pages."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)", line)
            if found is None or found[3] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            start, end = int(found[1], 16), int(found[2], 16)
            while start < end:
                try:
                    memory.seek(start)
                    chunk = memory.read(min(_CHUNK + 2 * LONG, end - start))
                except OSError:
                    break  # a mapping without memory behind it, for example of a truncated file
                if not chunk:
                    break
                yield chunk
                start += _CHUNK


def family(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in children.read_text().split())
    return found
