"""The split of the rows into training, validation and test, at random or by time.

By time, the newest 20 % of the rows are for testing and the 20 % before them for validation, so
that the test says how a model trained today does tomorrow. Rows of one moment stay together.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from training.data import Outcomes, Part, Splits, split
from utils.errors import TrainingDataInvalid

SHARE = 0.2
"""Share of the rows in the test part, and in the validation part."""
LEAST = 5
"""Fewest rows of each outcome in each part."""
_FORMATS = ("ISO8601", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")


def split_rows(frame: pd.DataFrame, y: Outcomes, seed: int, by: str | None) -> Splits:
    """Split the rows by the column `by` of the frame, or at random by `seed` without one.

    Raises TrainingDataInvalid.
    """
    return split(frame, y, seed) if by is None else _by_time(frame, y, by)


def _by_time(frame: pd.DataFrame, y: Outcomes, by: str) -> Splits:
    moments = _moments(frame[by], by)
    newest = _start_of_newest(moments, np.ones(len(y), bool), by)
    before = _start_of_newest(moments, moments < newest, by)
    inside = {
        "training": moments < before,
        "validation": (before <= moments) & (moments < newest),
        "test": newest <= moments,
    }
    for name, own in inside.items():
        fewest = int(np.bincount(y[own], minlength=2).min())
        if fewest < LEAST:
            raise TrainingDataInvalid(
                f"Split by {by}, the {name} part of {int(own.sum())} rows has only {fewest} of the "
                f"rarer outcome, and at least {LEAST} are needed. Give more rows, or split at "
                "random (without --split-by)."
            )
    return Splits(*(Part(frame[own].reset_index(drop=True), y[own]) for own in inside.values()))


def _start_of_newest(moments: np.ndarray, among: np.ndarray, by: str) -> np.int64 | np.float64:
    """Return the moment from which on about SHARE of all rows, out of those `among`, are."""
    values, counts = np.unique(moments[among], return_counts=True)
    if len(values) < 2:
        raise TrainingDataInvalid(
            f"Column {by} has too few different values to split the rows by time. Choose a column "
            "with the date of each row."
        )
    newer = np.cumsum(counts[::-1])[::-1][1:]  # rows from values[1] on, from values[2] on, ...
    return values[1 + int(np.argmin(np.abs(newer - SHARE * len(moments))))]


def _moments(texts: pd.Series, by: str) -> np.ndarray:
    """Return numbers that rise with time: of numbers, or of dates in one format."""
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().all() and np.isfinite(numbers).all():
        return numbers.to_numpy(np.float64)
    written = texts.astype(str).str.strip()
    readings = [pd.to_datetime(written, format=f, errors="coerce", utc=True) for f in _FORMATS]
    fits = [reading for reading in readings if reading.notna().all()]
    if len(fits) == 1:
        return fits[0].astype("int64").to_numpy()
    if fits:
        raise TrainingDataInvalid(
            f"The dates in column {by} can be read as day/month and as month/day. Write them as "
            "2026-11-20."
        )
    best = max(readings, key=lambda reading: int(reading.notna().sum()))
    row = int(np.argmax(best.isna())) + 1
    raise TrainingDataInvalid(
        f"Column {by} cannot order the rows: row {row} has no date, or one of another form. Give "
        "every row a date such as 2026-11-20, or a number that rises with time."
    )
