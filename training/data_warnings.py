"""Warnings about training data: repeated rows, leaking and useless columns, rare outcomes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from features.cells import plain_name
from features.contradictions import as_counted, rule_notes
from features.schema import Schema
from utils.strict_csv import listed

LEAKING_AUC = 0.99
RARE_ROWS = 50
"""Rows of an outcome below which a measured AUC says little: a fifth of them is tested."""
DUPLICATE_SHARE = 0.01
_PAIRS = 5
_IDENTIFIER = re.compile(r"(?:^|_)(?:id|key|no|nr|number|nummer)$|^id_")
_LEAST_ROWS = 20
"""Rows below which columns are not judged: many are distinct or equal by chance."""


def data_warnings(frame: pd.DataFrame, y: NDArray[np.int8]) -> list[str]:
    """Return sentences about the columns (rows, columns) and outcomes `y` (rows,) of training data.

    They name columns and shares, and no value of a row.
    """
    found = [*_rare_outcomes(y)]
    if len(frame) < _LEAST_ROWS:
        return found
    found += _duplicate_rows(frame, y)
    codes = {name: _codes(frame[name]) for name in frame.columns}
    empty = [name for name in frame.columns if frame[name].isna().all()]
    constant = [name for name, own in codes.items() if name not in empty and not own.any()]
    useful = [name for name in frame.columns if name not in {*empty, *constant}]
    for names, what in ((empty, "no value"), (constant, "the same value")):
        if names:
            found.append(f"{listed(names, 10)}: {what} in every row, which no model can use.")
    found += _equal_columns({str(name): codes[name] for name in useful})
    for name in useful:
        auc = column_auc(frame[name], codes[name], y)
        if auc > LEAKING_AUC:
            found.append(
                f"{name} almost determines the outcome by itself (AUC {auc:.3f}): it may have been "
                "recorded after the decision, so leave it out unless it is known before."
            )
        elif _is_identifier(str(name), frame[name]):
            found.append(
                f"{name} has another whole number in every row, as a row number or an identifier "
                "has: leave it out, since it says nothing of a new applicant."
            )
    return found


def rule_warnings(schema: Schema, frame: pd.DataFrame) -> list[str]:
    """Return a sentence for each rule of the schema that some rows break; none is left out."""
    counted = {}
    for name in {name for rule in schema.rules for name in rule.columns}:
        positions, values = pd.factorize(frame[name], use_na_sentinel=False)
        counted[name] = as_counted(schema.column(name), values)[positions]
    return rule_notes(schema, counted)


def column_auc(values: pd.Series, codes: NDArray[np.int64], y: NDArray[np.int8]) -> float:
    """Return the AUC of a column alone, in the better of both directions, between 0.5 and 1.

    Numbers are ranked by size, with missing ones first; categories by their share of approvals,
    which flatters those of few rows, so that such a column is not judged by a category of one row.
    """
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        score = values.fillna(-np.inf).to_numpy(float)
    else:
        rows = np.bincount(codes)
        if len(rows) > len(y) / 10:
            return 0.5
        score = (np.bincount(codes, weights=y) / rows)[codes]
    approved = y == 1
    n, m = int(approved.sum()), int((~approved).sum())
    if not n or not m:
        return 0.5
    ranks = rankdata(score)
    auc = (ranks[approved].sum() - n * (n + 1) / 2) / (n * m)
    return float(max(auc, 1 - auc))


def shared_rows(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return, for each of `rows` (rows, columns), whether `others` (rows, columns) has it as well.

    Both are multisets: of equal rows, at most as many are marked as the others have.
    """
    left = Counter(row.tobytes() for row in np.ascontiguousarray(others))
    shared = np.zeros(len(rows), bool)
    for i, row in enumerate(np.ascontiguousarray(rows)):
        key = row.tobytes()
        if left[key]:
            left[key] -= 1
            shared[i] = True
    return shared


def _rare_outcomes(y: NDArray[np.int8]) -> list[str]:
    counts = np.bincount(y, minlength=2)
    return [
        f"Only {counts[outcome]} of {len(y)} rows are {word}: choices and measurements of the "
        f"model are uncertain below {RARE_ROWS} rows."
        for outcome, word in ((0, "denied"), (1, "approved"))
        if counts[outcome] < RARE_ROWS
    ]


def _duplicate_rows(frame: pd.DataFrame, y: NDArray[np.int8]) -> list[str]:
    # Of few possible values, equal rows of different people are to be expected.
    if not any(frame[name].nunique() > len(frame) / 10 for name in frame.columns):
        return []
    share = float(frame.assign(**{"outcome\n": y}).duplicated().mean())
    if share < DUPLICATE_SHARE:
        return []
    return [
        f"{share:.1%} of the rows repeat an earlier row: remove them, since one can count as "
        "held out although the model was trained on them."
    ]


def _codes(values: pd.Series) -> NDArray[np.int64]:
    return pd.factorize(values, use_na_sentinel=False)[0]


def _equal_columns(codes: dict[str, NDArray[np.int64]]) -> list[str]:
    # Values are numbered by first appearance, so that equal codes are one column renamed.
    first: dict[bytes, str] = {}
    found = []
    for name, own in codes.items():
        key = own.tobytes()
        if key in first:
            found.append(f"{name} says the same as {first[key]} in every row: leave one out.")
        first.setdefault(key, name)
    return found


def _is_identifier(name: str, values: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    if values.isna().any() or not values.is_unique:
        return False
    numbers = values.to_numpy(float)
    if (numbers % 1).any():
        return False
    # Amounts can be distinct as well, but not in order, and of n values drawn from a range r about
    # n^2 / 2r pairs are equal (the birthday problem).
    expected_pairs = len(numbers) ** 2 / (2 * max(np.ptp(numbers), 1))
    counted_up = bool((np.diff(numbers) > 0).all())
    return counted_up or expected_pairs > _PAIRS or bool(_IDENTIFIER.search(plain_name(name)))
