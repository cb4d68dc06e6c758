"""Loading what is trained on: synthetic data, the public credit data set's two files, or any CSV.

All three end as one frame with the schema's columns and an array `y` (1 approved, 0 denied).
Whether the values lie in the schema's domains is checked by features.encoding, later.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from features.schema import BooleanColumn, CategoricalColumn, OrdinalColumn, Schema
from training import synthetic
from training.csv_rows import LINE, listed, read_columns, read_header, require_columns
from utils.errors import TrainingDataInvalid

Outcomes = NDArray[np.int8]

TRUE_WORDS = frozenset({"1", "1.0", "true", "t", "yes", "y"})
FALSE_WORDS = frozenset({"0", "0.0", "false", "f", "no", "n"})
SMALLEST_CLASS = 10
"""Fewest rows of each outcome that can still be split into three parts with both outcomes."""

CREDIT_COLUMNS = {"ID", "MONTHS_BALANCE", "STATUS"}
APPLICATION_TEXTS = {
    "Income_type": "NAME_INCOME_TYPE",
    "Education_type": "NAME_EDUCATION_TYPE",
    "Family_status": "NAME_FAMILY_STATUS",
    "Occupation_type": "OCCUPATION_TYPE",
    "Housing_type": "NAME_HOUSING_TYPE",
}
APPLICATION_BOOLEANS = {
    "Own_car": "FLAG_OWN_CAR",
    "Own_property": "FLAG_OWN_REALTY",
    "Mobile_phone": "FLAG_MOBIL",
}
APPLICATION_NUMBERS = {
    "Num_children": "CNT_CHILDREN",
    "Household_size": "CNT_FAM_MEMBERS",
    "Total_income": "AMT_INCOME_TOTAL",
    "Age": "DAYS_BIRTH",
    "Years_employed": "DAYS_EMPLOYED",
}
APPLICATION_COLUMNS = {
    "ID",
    *APPLICATION_TEXTS.values(),
    *APPLICATION_BOOLEANS.values(),
    *APPLICATION_NUMBERS.values(),
}
DAYS_PER_YEAR = 365.25
STATUSES = ("0", "1", "2", "3", "4", "5", "C", "X")
LATE_STATUSES = ("2", "3", "4", "5")  # 60 days late or more


class Part(NamedTuple):
    """Some rows: their columns, and whether they were approved (1) or denied (0)."""

    frame: pd.DataFrame
    y: Outcomes


@dataclass(frozen=True)
class Splits:
    """60 % to fit on, 20 % to choose the shape of the model with, 20 % to report on."""

    train: Part
    validation: Part
    test: Part


def as_boolean(series: pd.Series) -> pd.Series:
    """Yes or no in its usual spellings, as bool; what is missing stays None.

    Accepted in any case: true/false, t/f, yes/no, y/n, 1/0. Raises TrainingDataInvalid.
    """
    missing = series.isna()
    words = series.map(lambda value: str(value).strip().lower())
    unknown = ~missing & ~words.isin(TRUE_WORDS | FALSE_WORDS)
    if unknown.any():
        raise TrainingDataInvalid(
            f"{series.name} must say yes or no (also true/false, 1/0), but holds "
            f"{listed(sorted(set(words[unknown])), 5)}{_first_line(series, unknown)}."
        )
    values = words.isin(TRUE_WORDS)
    return values.astype(object).mask(missing, None) if missing.any() else values


def load_csv(
    path: Path, columns: Sequence[str], target: str, text: Collection[str] = ()
) -> pd.DataFrame:
    """Return `columns` and `target` (as 0 or 1) of a comma-separated file with a header.

    An empty cell is a missing value; nothing else is, so that a category may be called `None`.
    Columns of numbers become numbers, except those in `text`, which stay as they are spelt.
    Rows are indexed by their line in the file. Raises TrainingDataInvalid.
    """
    frame = read_columns(path, [*columns, target], text)
    if frame.empty:
        raise TrainingDataInvalid(f"{path} has a header but no rows. Give a file with data.")
    outcome = as_boolean(frame[target])
    missing = outcome.isna()
    if missing.any():
        raise TrainingDataInvalid(
            f"{path}: {int(missing.sum())} rows have no {target}{_first_line(outcome, missing)}. "
            "Remove these rows, or name another target."
        )
    frame[target] = outcome.astype(np.int64)
    return frame


def load_credit_records(application_record: Path, credit_record: Path) -> pd.DataFrame:
    """The two files of the public "Credit Card Approval Prediction" data, shaped as by `draw`.

    - An ID that occurs twice in the applications keeps its first row; applications without any
      credit record, and records without application, are left out.
    - Days count backwards from the application; DAYS_EMPLOYED 365243 (any positive number) says
      not employed, hence 0 years.
    - The account is as old as its oldest record; denied is who was ever 60 days late (status
      2 to 5).
    - `Mobile_phone` is FLAG_MOBIL, which is 1 for everybody in that data. FLAG_PHONE says
      something else (a phone at home), so it is not used in its place.

    Raises TrainingDataInvalid.
    """
    applications = read_columns(
        application_record, sorted(APPLICATION_COLUMNS), ["ID", *APPLICATION_TEXTS.values()]
    )
    records = read_columns(credit_record, sorted(CREDIT_COLUMNS), ["ID", "STATUS"])
    unknown = ~records["STATUS"].isin(STATUSES)
    if unknown.any():
        raise TrainingDataInvalid(
            f"STATUS must be one of {listed(STATUSES, 8)}, but is not"
            f"{_first_line(records, unknown)} of {credit_record}."
        )

    months = -_numbers(records["MONTHS_BALANCE"])
    late = records["STATUS"].isin(LATE_STATUSES)
    history = pd.DataFrame({"Account_age": months, synthetic.TARGET: late.astype(np.int64)})
    history = history.groupby(records["ID"]).max()
    rows = applications.drop_duplicates("ID").merge(
        history, how="inner", left_on="ID", right_index=True
    )
    if rows.empty:
        raise TrainingDataInvalid(
            f"No ID of {application_record} occurs in {credit_record}. Give the two files of the "
            "same download."
        )

    frame = pd.DataFrame(index=rows.index)
    for name, source in APPLICATION_BOOLEANS.items():
        frame[name] = as_boolean(rows[source])
    for name, source in APPLICATION_NUMBERS.items():
        frame[name] = _numbers(rows[source])
    for name, source in APPLICATION_TEXTS.items():
        frame[name] = rows[source].astype(object).where(rows[source].notna(), None)
    frame["Employed"] = frame["Years_employed"] <= 0  # still days, counted backwards
    frame["Years_employed"] = (-frame["Years_employed"] / DAYS_PER_YEAR).where(
        frame["Employed"], 0.0
    )
    frame["Age"] = -frame["Age"] / DAYS_PER_YEAR
    frame["Account_age"] = rows["Account_age"]
    frame[synthetic.TARGET] = rows[synthetic.TARGET]
    return frame.reset_index(drop=True)


def training_frame(
    schema: Schema, data: list[Path] | None, target: str | None, rows: int, seed: int
) -> tuple[pd.DataFrame, Outcomes]:
    """The schema's columns, and 1 for approved or 0 for denied.

    `data`: nothing (synthetic data: `rows` and `seed`), one CSV, or the public data set's two
    files in any order. `target` overrides the schema's own. Raises TrainingDataInvalid.
    """
    names = [column.name for column in schema.columns()]
    target = target or schema.decision.target
    if target in names:
        raise TrainingDataInvalid(f"{target} is a column of the schema: name another target.")
    if not data:
        frame = synthetic.draw(rows, seed)
        advice = "Give your own file with --data."
        require_columns(list(frame.columns), [*names, target], "Synthetic data", advice)
    elif len(data) == 1:
        texts = [c.name for c in schema.columns() if isinstance(c, CategoricalColumn)]
        frame = load_csv(data[0], names, target, texts)
    elif len(data) == 2:
        frame = load_credit_records(*_credit_files(data))
        require_columns(list(frame.columns), [*names, target], "The public credit data")
    else:
        raise TrainingDataInvalid(
            f"--data takes one CSV, or the two files of the public credit data, not {len(data)}."
        )

    approved = as_boolean(frame[target]).to_numpy(bool) == bool(schema.decision.approved_value)
    if approved.all() or not approved.any():
        raise TrainingDataInvalid(
            f"Every one of the {len(frame)} rows has the same {target}. A model needs rows of both "
            "outcomes."
        )
    frame = frame[names].copy()
    for column in schema.columns():
        values = frame[column.name]
        if isinstance(column, BooleanColumn):
            frame[column.name] = as_boolean(values)
        elif isinstance(column, OrdinalColumn):
            frame[column.name] = _numbers(values)
        elif column.optional and not (data and len(data) == 1):
            # Another schema may list fewer categories than these two sources know. In a CSV made
            # for the schema, an unlisted category is a mistake that the encoding reports.
            frame[column.name] = values.astype(object).where(values.isin(column.values), None)
    return frame.reset_index(drop=True), approved.astype(np.int8)


def split(frame: pd.DataFrame, y: Outcomes, seed: int) -> Splits:
    """Train, validation and test with the same share of approvals; raises TrainingDataInvalid."""
    smallest = int(np.bincount(y, minlength=2).min())
    if smallest < SMALLEST_CLASS:
        raise TrainingDataInvalid(
            f"Only {smallest} of {len(y)} rows have the rarer outcome; training needs at least "
            f"{SMALLEST_CLASS}. Give more data."
        )
    rest, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y)
    train, validation = train_test_split(rest, test_size=0.25, random_state=seed, stratify=y[rest])

    def part(rows: NDArray[np.int64]) -> Part:
        return Part(frame.iloc[rows].reset_index(drop=True), y[rows])

    return Splits(part(train), part(validation), part(test))


def _credit_files(data: list[Path]) -> tuple[Path, Path]:
    """Which of two files holds the applications and which the credit records, by their headers."""
    records = [path for path in data if set(read_header(path)) >= CREDIT_COLUMNS]
    others = [path for path in data if path not in records]
    if len(records) != 1 or len(others) != 1:
        raise TrainingDataInvalid(
            "Two files must be the public credit data: one with the columns "
            f"{listed(sorted(CREDIT_COLUMNS), 3)}, and one with the applications. Put any other "
            "data into one CSV."
        )
    return others[0], records[0]


def _numbers(series: pd.Series) -> pd.Series:
    """Numbers, with NaN for what is missing; raises TrainingDataInvalid."""
    numbers = pd.to_numeric(series, errors="coerce")
    wrong = numbers.isna() & series.notna()
    if wrong.any():
        raise TrainingDataInvalid(
            f"{series.name} must hold numbers, but holds "
            f"{listed(sorted(set(series[wrong].astype(str))), 5)}{_first_line(series, wrong)}."
        )
    return numbers


def _first_line(rows: pd.Series | pd.DataFrame, chosen: pd.Series) -> str:
    """Return where the first chosen row is in its file, as far as that is known."""
    return f", first in line {rows.index[chosen][0]}" if rows.index.name == LINE else ""
