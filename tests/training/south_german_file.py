"""The file of the South German Credit data, which is not part of the project.

Tests that need it take `TRISEAL_SOUTH_GERMAN`, or the file in the folder `shared` beside the
project; without either they are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from settings import ROOT


def south_german_file() -> Path:
    """Return the path of the file; skips the test if there is none."""
    named = os.environ.get("TRISEAL_SOUTH_GERMAN")
    path = Path(named) if named else ROOT.parent / "shared" / "data" / "south_german_credit.csv"
    if not path.is_file():
        pytest.skip(f"{path} is absent: name the table of UCI data set 573 in TRISEAL_SOUTH_GERMAN")
    return path
