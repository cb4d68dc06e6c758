"""Loading of training data: synthetic, the two files of the public credit data set, or any CSV.

Every source gives a frame with the schema's columns and an array `y` (1 approved, 0 denied). A CSV
is read by features/text_table.py, which checks that the values are in the schema's domains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from features.cells import FALSE_WORDS, TRUE_WORDS
from features.columns import FileForm
from features.schema import BooleanColumn, Column, OrdinalColumn, Schema
from features.text_table import Wanted, read_columns_of, read_outcomes, read_table, wanted
from training import synthetic
from training.csv_rows import (
    LINE,
    listed,
    read_columns,
    read_content,
    read_header,
    require_columns,
    source_of,
)
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
_EXTRA = "extra\n"
"""Before the names of further columns, which may be those of the schema's columns or the target."""
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
    notes: list[str] | None = None,
    reference: date | None = None,
) -> tuple[pd.DataFrame, Outcomes]:
    """Return the columns of each row, and the outcomes (1 approved, 0 denied).

    The frame has the schema's columns, then those of its audit columns that the data has, then the
    texts of the columns whose headers `extra` names, None for an empty one. `data` is empty for
    synthetic data (drawn by `rows` and `seed`), one CSV, or the two files of the public data set in
    any order. `target` overrides the schema's target. Sentences on how the data was read are
    appended to `notes`. Dates become months before `reference`, by default the newest of their
    column. Raises TrainingDataInvalid.
    """
    columns = list(schema.columns())
    target = target or schema.decision.target
    if target in [name for column in columns for name in (column.name, column.header)]:
        raise TrainingDataInvalid(f"{target} is a column of the schema. Choose another target.")
    if data and len(data) > 2:
        raise TrainingDataInvalid(
            "--data takes one CSV or the two files of the public credit data, not "
            f"{len(data)} files."
        )
    if data and len(data) == 1:
        frame, approved = _own_frame(schema, data[0], target, extra, notes, reference)
    else:
        frame, approved = _known_frame(schema, data, target, rows, seed, extra)
    if approved.all() or not approved.any():
        raise TrainingDataInvalid(
            f"All {len(frame)} rows have the same {target}, apart from rows without any. Training "
            "needs rows of both outcomes; if an empty label means one of them, write it."
        )
    return frame.reset_index(drop=True), approved.astype(np.int8)


def _own_frame(
    schema: Schema,
    path: Path,
    target: str,
    extra: Sequence[str],
    notes: list[str] | None,
    reference: date | None,
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Read a CSV of the schema's columns (features/text_table.py)."""
    columns = list(schema.columns())
    requests = [*map(wanted, columns), Wanted(target, (target,))]
    requests += [wanted(column, required=False) for column in schema.audit_columns]
    requests += [Wanted(_EXTRA + header, (header,), shared=True) for header in extra]
    table = read_table(source_of(path), read_content(path), requests)
    outcomes = read_outcomes(table, target, schema.decision)
    if (outcomes < 0).any():
        table = table.of(outcomes >= 0)
    audited = [column for column in schema.audit_columns if column.name in table.columns]
    # An audited value may be unknown: the model does not need it.
    may_lack = frozenset(column.name for column in audited)
    form = FileForm(reference=reference)
    read = read_columns_of(table, [*columns, *audited], form=form, may_lack=may_lack)
    if notes is not None:
        notes.extend(table.notes)
    series = {}
    for column in [*columns, *audited]:
        series[column.name] = _values(
            column, read[column.name].values, table.columns[column.name].codes
        )
    for header in extra:
        own = table.columns[_EXTRA + header]
        texts = np.array([text or None for text in own.texts], object)
        if header in series:
            raise TrainingDataInvalid(
                f"{header} is a column of the schema, so that its texts are not kept; copy it to a "
                "column with another header."
            )
        series[header] = pd.Series(texts[own.codes], dtype=object)
    return pd.DataFrame(series), outcomes[outcomes >= 0] == 1


def _values(column: Column, values: list[Any], codes: NDArray[np.uint32]) -> pd.Series:
    """Return the values of the rows: numbers with NaN, or other values with None if missing."""
    if isinstance(column, OrdinalColumn):
        numbers = np.array([np.nan if value is None else value for value in values], float)
        return pd.Series(numbers[codes])
    kind = bool if isinstance(column, BooleanColumn) and None not in values else object
    return pd.Series(np.array(values, kind)[codes], dtype=kind)


def _known_frame(
    schema: Schema,
    data: list[Path] | None,
    target: str,
    rows: int,
    seed: int,
    extra: Sequence[str],
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Draw synthetic rows, or read the two files of the public credit data."""
    names = [column.name for column in schema.columns()]
    if not data:
        frame = synthetic_source(schema.name).draw(rows, seed)
        source, advice = "Synthetic data", "Pass your own file with --data."
    else:
        frame = load_credit_records(*_credit_files(data))
        source, advice = "The public credit data", "Check the header."
    require_columns(list(frame.columns), [*names, target, *extra], source, advice)
    approved = as_boolean(frame[target]).to_numpy(bool) == bool(schema.decision.approved_value)
    audited = [column for column in schema.audit_columns if column.name in frame.columns]
    chosen = frame[[*names, *(column.name for column in audited)]].copy()
    for column in [*schema.columns(), *audited]:
        values = chosen[column.name]
        if isinstance(column, BooleanColumn):
            chosen[column.name] = as_boolean(values)
        elif isinstance(column, OrdinalColumn):
            chosen[column.name] = _numbers(values)
        elif column.optional:
            # A schema may list fewer categories than these two sources contain. In a CSV made for
            # the schema, an unlisted category is an error.
            listed_values = values.isin(column.values)
            chosen[column.name] = values.astype(object).where(listed_values, None)
    for header in extra:
        texts = frame[header].astype(object)
        chosen[header] = texts.where(texts.isna(), texts.astype(str)).where(texts.notna(), None)
    return chosen, approved


def reference_date(recorded: Mapping[str, Any]) -> date | None:
    """Return the date before which a training counted months, from its metrics on its data."""
    given = recorded.get("reference_date")
    return None if given is None else date.fromisoformat(given)


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
