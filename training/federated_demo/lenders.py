"""The lenders of the demonstration and their synthetic rows: unequal, and of different regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from settings import ROOT
from training import synthetic_german
from training.datasets import write_synthetic_german

SCHEMA = ROOT / "features" / "german_credit.json"
ROWS: Mapping[str, int] = {
    "north": 12_000,
    "west": 8_000,
    "south": 5_000,
    "east": 3_000,
    "coast": 2_000,
}
"""Rows of each lender; its place in this list is its region (training/synthetic_german.py)."""
TEST_ROWS = 12_000


@dataclass(frozen=True)
class Drawn:
    """A CSV file of each lender, and rows of all regions that no lender has."""

    files: Mapping[str, Path]
    test: pd.DataFrame


def draw(folder: Path, rows: Mapping[str, int], seed: int, test_rows: int = TEST_ROWS) -> Drawn:
    """Draw the lenders' rows into `folder`, and test rows in the same proportions."""
    files = {name: folder / f"{name}.csv" for name in rows}
    for region, (name, count) in enumerate(rows.items()):
        write_synthetic_german(files[name], count, seed, region)
    return Drawn(files, _test(list(rows.values()), seed + 1, test_rows))


def _test(rows: Sequence[int], seed: int, count: int) -> pd.DataFrame:
    shares = [max(1, round(count * own / sum(rows))) for own in rows]
    parts = [synthetic_german.draw(own, seed, region) for region, own in enumerate(shares)]
    return pd.concat(parts, ignore_index=True)
