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
