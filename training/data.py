"""Loading of training data: synthetic, the two files of the public credit data set, or any CSV.

Every source gives a frame with the schema's columns and an array `y` (1 approved, 0 denied).
features.encoding later checks that the values are in the schema's domains.
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

from features.cells import FALSE_WORDS, TRUE_WORDS
from features.schema import BooleanColumn, CategoricalColumn, OrdinalColumn, Schema
from training import synthetic
from training.csv_rows import LINE, listed, read_columns, read_header, require_columns
from training.synthetic_sources import synthetic_source
from utils.errors import TrainingDataInvalid

Outcomes = NDArray[np.int8]

SMALLEST_CLASS = 10
"""Minimum rows of each outcome, so that all three splits contain both outcomes."""

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
    """Rows of a split: their columns, and their outcomes (1 approved, 0 denied)."""

    frame: pd.DataFrame
    y: Outcomes


@dataclass(frozen=True)
class Splits:
    """60 % for training, 20 % for choosing the shape of the model, 20 % for testing."""

    train: Part
    validation: Part
    test: Part


def as_boolean(series: pd.Series) -> pd.Series:
    """Convert the usual spellings of yes and no to bool; missing values become None.

    Accepted in any case: true/false, t/f, yes/no, y/n, 1/0. Raises TrainingDataInvalid.
    """
    missing = series.isna()
    words = series.map(lambda value: str(value).strip().lower())
    unknown = ~missing & ~words.isin(TRUE_WORDS | FALSE_WORDS)
    if unknown.any():
        raise TrainingDataInvalid(
            f"{series.name} must contain yes or no (or true/false, 1/0), but contains "
            f"{listed(sorted(set(words[unknown])), 5)}{_first_line(series, unknown)}."
        )
    values = words.isin(TRUE_WORDS)
    return values.astype(object).mask(missing, None) if missing.any() else values


def load_csv(
    path: Path, columns: Sequence[str], target: str, text: Collection[str] = ()
) -> pd.DataFrame:
    """Return `columns` and `target` (as 0 or 1) of a comma-separated file with a header.

    Only an empty cell is a missing value, so that a category may be called `None`. Numeric columns
    are converted to numbers, except those in `text`, which are kept verbatim. Rows are indexed by
    their line in the file. Raises TrainingDataInvalid.
    """
    frame = read_columns(path, [*columns, target], text)
    if frame.empty:
        raise TrainingDataInvalid(f"{path} has a header but no rows.")
    outcome = as_boolean(frame[target])
    missing = outcome.isna()
    if missing.any():
        raise TrainingDataInvalid(
            f"{path}: {int(missing.sum())} rows have no {target}{_first_line(outcome, missing)}. "
            "Remove these rows, or choose another target."
        )
    frame[target] = outcome.astype(np.int64)
    return frame


def load_credit_records(application_record: Path, credit_record: Path) -> pd.DataFrame:
    """Load the two files of the public "Credit Card Approval Prediction" data.

    The frame has the same columns as that of `synthetic.draw`.

    - If an ID occurs several times in the applications, its first row is used. Applications
      without a credit record, and records without an application, are dropped.
    - Days count backwards from the application. A positive DAYS_EMPLOYED (365243 in the data)
      means not employed, that is, 0 years.
    - The account age is that of its oldest record. An applicant who was ever 60 days late (status
      2 to 5) counts as denied.
    - `Mobile_phone` is FLAG_MOBIL, which is 1 in every row of that data. FLAG_PHONE means a phone
      at home, so it is not used instead.

    Raises TrainingDataInvalid.
    """
    applications = read_columns(
        application_record, sorted(APPLICATION_COLUMNS), ["ID", *APPLICATION_TEXTS.values()]
    )
    records = read_columns(credit_record, sorted(CREDIT_COLUMNS), ["ID", "STATUS"])
    unknown = ~records["STATUS"].isin(STATUSES)
    if unknown.any():
        raise TrainingDataInvalid(
            f"STATUS must be one of {listed(STATUSES, 8)}, but has another value"
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
            f"No ID of {application_record} occurs in {credit_record}. Use the two files of the "
            "same download."
        )

    frame = pd.DataFrame(index=rows.index)
    for name, source in APPLICATION_BOOLEANS.items():
        frame[name] = as_boolean(rows[source])
    for name, source in APPLICATION_NUMBERS.items():
        frame[name] = _numbers(rows[source])
    for name, source in APPLICATION_TEXTS.items():
        frame[name] = rows[source].astype(object).where(rows[source].notna(), None)
    frame["Employed"] = frame["Years_employed"] <= 0  # still in days, counted backwards
    frame["Years_employed"] = (-frame["Years_employed"] / DAYS_PER_YEAR).where(
        frame["Employed"], 0.0
    )
    frame["Age"] = -frame["Age"] / DAYS_PER_YEAR
    frame["Account_age"] = rows["Account_age"]
    frame[synthetic.TARGET] = rows[synthetic.TARGET]
    return frame.reset_index(drop=True)


def training_frame(
    schema: Schema,
    data: list[Path] | None,
    target: str | None,
    rows: int,
    seed: int,
    extra: Sequence[str] = (),
) -> tuple[pd.DataFrame, Outcomes]:
    """Return the schema's columns and the outcomes (1 approved, 0 denied).

    `data` is empty for synthetic data (drawn by `rows` and `seed`), one CSV, or the two files of
    the public data set in any order. `target` overrides the schema's target. The frame has the
    columns `extra` of one CSV as they are written there. Raises TrainingDataInvalid.
    """
    names = [column.name for column in schema.columns()]
    more = [name for name in dict.fromkeys(extra) if name not in names]
    target = target or schema.decision.target
    if target in names:
        raise TrainingDataInvalid(f"{target} is a column of the schema. Choose another target.")
    if not data:
        frame = synthetic_source(schema.name).draw(rows, seed)
        advice = "Pass your own file with --data."
        require_columns(list(frame.columns), [*names, target], "Synthetic data", advice)
    elif len(data) == 1:
        texts = [c.name for c in schema.columns() if isinstance(c, CategoricalColumn)]
        frame = load_csv(data[0], [*names, *more], target, [*texts, *more])
    elif len(data) == 2:
        frame = load_credit_records(*_credit_files(data))
        require_columns(list(frame.columns), [*names, target], "The public credit data")
    else:
        raise TrainingDataInvalid(
            "--data takes one CSV or the two files of the public credit data, not "
            f"{len(data)} files."
        )

    approved = as_boolean(frame[target]).to_numpy(bool) == bool(schema.decision.approved_value)
    if approved.all() or not approved.any():
        raise TrainingDataInvalid(
            f"All {len(frame)} rows have the same {target}. Training needs rows of both outcomes."
        )
    require_columns(list(frame.columns), more, "The data", "These options need a CSV file.")
    frame = frame[[*names, *more]].copy()
    for column in schema.columns():
        values = frame[column.name]
        if isinstance(column, BooleanColumn):
            frame[column.name] = as_boolean(values)
        elif isinstance(column, OrdinalColumn):
            frame[column.name] = _numbers(values)
        elif column.optional and not (data and len(data) == 1):
            # A schema may list fewer categories than these two sources contain. In a CSV made for
            # the schema, an unlisted category is an error that the encoding reports.
            frame[column.name] = values.astype(object).where(values.isin(column.values), None)
    return frame.reset_index(drop=True), approved.astype(np.int8)


def split(frame: pd.DataFrame, y: Outcomes, seed: int) -> Splits:
    """Split the rows, with the same share of approvals in each part.

    Raises TrainingDataInvalid if either outcome has fewer than `SMALLEST_CLASS` rows.
    """
    smallest = int(np.bincount(y, minlength=2).min())
    if smallest < SMALLEST_CLASS:
        raise TrainingDataInvalid(
            f"Only {smallest} of {len(y)} rows have the rarer outcome; training needs at least "
            f"{SMALLEST_CLASS}."
        )
    rest, test = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y)
    train, validation = train_test_split(rest, test_size=0.25, random_state=seed, stratify=y[rest])

    def part(rows: NDArray[np.int64]) -> Part:
        return Part(frame.iloc[rows].reset_index(drop=True), y[rows])

    return Splits(part(train), part(validation), part(test))


def _credit_files(data: list[Path]) -> tuple[Path, Path]:
    """Return the file of applications and the file of credit records, told apart by headers."""
    records = [path for path in data if set(read_header(path)) >= CREDIT_COLUMNS]
    others = [path for path in data if path not in records]
    if len(records) != 1 or len(others) != 1:
        raise TrainingDataInvalid(
            "Two files must be those of the public credit data: one with the columns "
            f"{listed(sorted(CREDIT_COLUMNS), 3)}, and one with the applications. Put any other "
            "data in a single CSV."
        )
    return others[0], records[0]


def _numbers(series: pd.Series) -> pd.Series:
    """Convert to numbers, with NaN for missing values; raises TrainingDataInvalid."""
    numbers = pd.to_numeric(series, errors="coerce")
    wrong = numbers.isna() & series.notna()
    if wrong.any():
        raise TrainingDataInvalid(
            f"{series.name} must contain numbers, but contains "
            f"{listed(sorted(set(series[wrong].astype(str))), 5)}{_first_line(series, wrong)}."
        )
    return numbers


def _first_line(rows: pd.Series | pd.DataFrame, chosen: pd.Series) -> str:
    """Return the line of the first chosen row in its file, or "" if it is unknown."""
    return f", first in line {rows.index[chosen][0]}" if rows.index.name == LINE else ""
