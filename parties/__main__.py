"""Entry point of `python -m parties`, one party's agent; see parties/command.py."""

from __future__ import annotations

import sys

from parties.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
