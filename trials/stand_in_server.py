"""`python -m trials.stand_in_server`: a server with the stand-in engine."""

from __future__ import annotations

from utils.command_line import run_command

import sys

if __name__ == "__main__":  # the workers import this file too
    from server import main
    from trials.stand_in import load

    run_command(lambda: main(load, sys.argv[1:]))
