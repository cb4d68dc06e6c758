"""Printing to terminals of any encoding."""

from __future__ import annotations

import io
import sys


def print_any_text() -> None:
    """Make stdout and stderr escape characters that they cannot encode, instead of raising.

    Schema labels and file names may contain any character, but a terminal in the POSIX locale
    accepts few. Every entry point calls this before it prints.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # tests and tools replace these streams
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Return text in which every character but line feed that is not printable is escaped.

    Texts from a file, as headers or categories, could otherwise move a terminal's cursor, change
    its title, or reverse the direction of a line.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
