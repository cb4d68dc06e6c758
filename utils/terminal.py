"""What is printed reaches the terminal, whatever its encoding can express."""

from __future__ import annotations

import io
import sys


def print_any_text() -> None:
    """Have stdout and stderr escape what they cannot encode, instead of ending the process.

    Labels of a schema and file names may hold any character; a terminal of the POSIX locale, or
    one of an older encoding, has few. To be called by every entry point before it prints.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # tests and tools put others in their place
            stream.reconfigure(errors="backslashreplace")
