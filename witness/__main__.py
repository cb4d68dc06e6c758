"""Entry point of `python -m witness`.

As an entry point it may import the shared handling of errors from the pages' folder.
"""

from __future__ import annotations

from utils.command_line import run_command

import sys
from collections.abc import Sequence

from ui.entry import run_entry
from witness.command import parse, run


def main(words: Sequence[str]) -> int:
    """Run the witness until it is stopped; return the exit code."""
    arguments = parse(words)
    return run_entry(lambda settings: run(arguments, settings))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
