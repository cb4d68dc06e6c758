"""`python -m training.import`: make a model folder of a model that was trained elsewhere."""

# ruff: noqa: N999  (a keyword as the name of a module is fine for `-m`)

from __future__ import annotations

from utils.command_line import run_command

from training.imported.command import main

if __name__ == "__main__":
    run_command(main)
