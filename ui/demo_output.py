"""The output of the demonstration's processes: a log file for each, problems to the terminal.

Each process writes its standard output and error into pipes. Their lines go to a file that is
rotated at `FILE_BYTES` and that only this user can read. A line of standard error is also printed,
unless it is JSON of a level below warning (web/request_log.py).
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from utils.atomic_files import PRIVATE_FILE, private_folder
from utils.terminal import printable

FILE_BYTES = 2_000_000
"""Size at which a log file is closed and renamed."""
OLD_FILES = 2
"""Number of earlier files that are kept of each process."""
LONGEST_LINE = 16_384
"""Bytes after which a line is cut, so that a process cannot fill the memory of this one."""
_READ = 65_536
_PRINTED_LEVELS = ("warning", "error", "critical")
_FLUSH_SECONDS = 2.0


class _PrivateFile(RotatingFileHandler):
    """A rotated log file of mode 0600."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True
        )

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE
        )
        os.fchmod(descriptor, PRIVATE_FILE)
        return open(descriptor, "a", encoding=self.encoding, errors="backslashreplace")  # noqa: PTH123

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Do nothing: a log that cannot be written does not stop the demonstration."""


class ProcessOutput:
    """The output of one process of the demonstration, and of those that replace it."""

    def __init__(self, name: str, path: Path, say: Callable[[str], None]) -> None:
        """Log the process `name` to `path`; `say` prints a line."""
        private_folder(path.parent)
        self.path = path
        self._name, self._say, self._quiet = name, say, False
        self._file = _PrivateFile(path)
        self._threads: list[threading.Thread] = []

    @contextmanager
    def streams(self) -> Iterator[tuple[int, int]]:
        """Yield the descriptors for a new process's standard output and error.

        They are closed at the end of the context, when the process has its own copies.
        """
        (out_read, out), (err_read, err) = os.pipe(), os.pipe()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._copy, args=(out_read, err_read), daemon=True)
        thread.start()
        self._threads.append(thread)
        try:
            yield out, err
        finally:
            os.close(out)
            os.close(err)

    def note(self, text: str) -> None:
        """Write a line of the demonstration's own to the file."""
        self._file.handle(logging.makeLogRecord({"msg": text}))

    def silence(self) -> None:
        """Print nothing from now on; the file still gets everything."""
        self._quiet = True

    def close(self) -> None:
        """Wait for what the ended process has written, and close the file."""
        for thread in self._threads:
            thread.join(_FLUSH_SECONDS)
        self._file.close()

    def _copy(self, out: int, err: int) -> None:
        """Copy lines until both pipes are closed at their other ends."""
        rests = {out: b"", err: b""}
        with selectors.DefaultSelector() as ready:
            for descriptor in rests:
                ready.register(descriptor, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select():
                    data = os.read(key.fd, _READ)
                    *lines, rest = (rests[key.fd] + data).split(b"\n")
                    if not data or len(rest) > LONGEST_LINE:
                        lines, rest = [*lines, rest] if rest else lines, b""
                    rests[key.fd] = rest
                    for line in lines:
                        self._take(line[:LONGEST_LINE].decode(errors="replace"), key.fd == err)
                    if not data:
                        ready.unregister(key.fd)
                        os.close(key.fd)

    def _take(self, line: str, is_error: bool) -> None:
        self.note(line)
        printed = printed_words(line) if is_error and not self._quiet else ""
        if printed:
            with suppress(OSError):  # the terminal is gone; the process must still be read
                self._say(f"{self._name}: {printable(printed)}")


def printed_words(line: str) -> str:
    """Return the words to print for a line of standard error; empty if it is only for the file."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip()
    if not isinstance(found, dict) or "level" not in found:
        return line.rstrip()
    if found["level"] not in _PRINTED_LEVELS:
        return ""
    exception = str(found.get("exception", "")).strip().splitlines()
    words = " ".join(str(found.get("message", "")).split())
    return f"{found['level']}: {words}" + (f" ({exception[-1]})" if exception else "")
