"""Warnings about columns and rows that make a model look better than it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data_warnings import data_warnings, shared_rows

N = 400


def usual(seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": draw.normal(40_000, 9_000, N).round(),
            "age": draw.integers(18, 80, N).astype(float),
            "job": draw.choice(["office", "trade", None], N),
        }
    )
    score = frame["income"] / 9_000 + draw.normal(0, 1, N)
    return frame, (score > score.median()).to_numpy(np.int8)


def test_usual_data_has_no_warning() -> None:
    assert data_warnings(*usual()) == []


def leak(y: np.ndarray) -> np.ndarray:
    almost = y.copy()
    almost[np.flatnonzero(y)[0]] = 0
    return almost


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (lambda frame, y: y == 1, "extra almost determines the outcome by itself (AUC 1.000)"),
        (lambda frame, y: -leak(y) * 1.5, "extra almost determines the outcome"),
        (lambda frame, y: np.where(y == 1, "a", "b"), "extra almost determines the outcome"),
        (lambda frame, y: np.arange(N) + 100.0, "extra has another whole number in every row"),
        (lambda frame, y: np.random.default_rng(1).permutation(N) * 1.0, "another whole number"),
        (
            lambda frame, y: np.random.default_rng(1).permutation(9 * N)[:N] * 1.0,
            "extra has another",
        ),
        (lambda frame, y: np.full(N, 7.0), "extra: the same value in every row"),
        (lambda frame, y: np.full(N, np.nan), "extra: no value in every row"),
        (lambda frame, y: frame["age"] * 12, "extra says the same as age in every row"),
    ],
)
def test_column_that_should_be_left_out_is_named(column, text) -> None:
    frame, y = usual()
    frame["extra"] = column(frame, y)
    (warning,) = data_warnings(frame, y)
    assert text in warning


def test_repeated_rows_and_rare_outcomes_are_counted() -> None:
    frame, y = usual()
    twice = pd.concat([frame, frame[:100]], ignore_index=True)
    (warning,) = data_warnings(twice, np.concatenate([y, y[:100]]))
    assert warning.startswith("20.0% of the rows repeat an earlier row")
    few = frame[["age", "job"]]  # of few values, so that equal rows are to be expected
    assert data_warnings(pd.concat([few, few], ignore_index=True), np.tile(y, 2)) == []
    rare = np.ones(N, np.int8)
    rare[:12] = 0
    assert any("Only 12 of 400 rows are denied" in each for each in data_warnings(frame, rare))


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(ROWS, ROWS)
def test_shared_rows_are_those_of_the_common_multiset(rows, others) -> None:
    shared = shared_rows(np.array(rows, np.uint8), np.array(others, np.uint8))
    for row in {*rows, *others}:
        marked = sum(mark for own, mark in zip(rows, shared, strict=True) if own == row)
        assert marked == min(rows.count(row), others.count(row))
