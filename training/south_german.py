"""The South German Credit data as rows of features/german_credit.json.

U. Grömping, "South German Credit Data: Correcting a Widely Used Data Set", report 4/2019, Beuth
University of Applied Sciences Berlin; UCI Machine Learning Repository, data set 573, CC BY 4.0: the
1994 Statlog data of H. Hofmann with corrected codes. 1,000 loans, 300 of them bad (oversampled).

Of its 20 columns, seven are those of the schema. `personal_status_sex` says the sex only in part:
code 2 stands for women who are not single and for single men, so it becomes a missing value.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
from lzma import LZMAError
from zipfile import BadZipFile, ZipFile

from utils.errors import TrainingDataInvalid

URL = "https://archive.ics.uci.edu/static/public/573/south+german+credit+update.zip"
MEMBER = "SouthGermanCredit.asc"
MOST_BYTES = 1 << 20
"""Limit of the archive and of the table; the table has 48 kB."""

# The German name in the UCI file, and the English one of its code table.
NAMES = {
    "laufkont": "status",
    "laufzeit": "duration",
    "moral": "credit_history",
    "verw": "purpose",
    "hoehe": "amount",
    "sparkont": "savings",
    "beszeit": "employment_duration",
    "rate": "installment_rate",
    "famges": "personal_status_sex",
    "buerge": "other_debtors",
    "wohnzeit": "present_residence",
    "verm": "property",
    "alter": "age",
    "weitkred": "other_installment_plans",
    "wohn": "housing",
    "bishkred": "number_credits",
    "beruf": "job",
    "pers": "people_liable",
    "telef": "telephone",
    "gastarb": "foreign_worker",
    "kredit": "credit_risk",
}
_COLUMNS = tuple(NAMES.values())
ROWS = 1000
DIGEST = "dd866aafb285d725a976a5c573758ae6b79268404b4f0dfe5e534fc91763290d"
"""SHA-256 of the table's rows, each as its 21 whole numbers with commas and a line feed."""

SEX = {1: "male", 2: "", 3: "male", 4: "female"}
JOB = {
    1: "unskilled non-resident",
    2: "unskilled resident",
    3: "skilled",
    4: "highly skilled",
}
HOUSING = {1: "free", 2: "rent", 3: "own"}
PURPOSE = {
    0: "others",
    1: "car (new)",
    2: "car (used)",
    3: "furniture/equipment",
    4: "radio/TV",
    5: "domestic appliances",
    6: "repairs",
    7: "education",
    8: "vacation",
    9: "retraining",
    10: "business",
}
HEADER = ("age", "sex", "job", "housing", "credit", "purpose", "duration", "credit_risk")

Table = list[tuple[int, ...]]


def table_of(data: bytes) -> Table:
    """Return the rows of the UCI archive, of the table in it, or of a CSV with English names.

    Raises TrainingDataInvalid if `data` is larger than `MOST_BYTES`, or not such a table.
    """
    if len(data) > MOST_BYTES:
        raise TrainingDataInvalid(
            f"The file is larger than {MOST_BYTES >> 20} MiB, so it is not the South German Credit "
            f"data. {_ADVICE}"
        )
    if data.startswith(b"PK"):
        data = _unpacked(data)
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _refused("it is not a text file in ASCII") from error
    rows = [line.replace(",", " ").split() for line in lines]
    header, *rows = [row for row in rows if row] or [[]]
    if [NAMES.get(name, name) for name in header] != list(_COLUMNS):
        raise _refused("its header does not have the 21 columns of the data, in their order")
    return [_numbers(number, row) for number, row in enumerate(rows, start=1)]


def require_published(table: Table) -> None:
    """Raise TrainingDataInvalid if the table is not the published one, digit by digit."""
    if len(table) != ROWS:
        raise _refused(f"it has {len(table)} rows, not {ROWS}")
    text = "".join(",".join(map(str, row)) + "\n" for row in table)
    if hashlib.sha256(text.encode()).hexdigest() != DIGEST:
        raise _refused("some of its values differ from the published ones")


def rows_of(table: Table) -> list[Sequence[str | int]]:
    """Return the rows as values of the schema's columns and the target, in the order of `HEADER`.

    Raises TrainingDataInvalid for a code that the data's code table does not have.
    """
    converted: list[Sequence[str | int]] = []
    for number, codes in enumerate(table, start=1):
        row = dict(zip(_COLUMNS, codes, strict=True))
        try:
            converted.append(
                (
                    row["age"],
                    SEX[row["personal_status_sex"]],
                    JOB[row["job"]],
                    HOUSING[row["housing"]],
                    row["amount"],
                    PURPOSE[row["purpose"]],
                    row["duration"],
                    row["credit_risk"],
                )
            )
        except KeyError as error:
            raise _refused(f"row {number} has a code that the code table lacks") from error
    return converted


_ADVICE = "Download data set 573 from archive.ics.uci.edu, and name its archive or table unchanged."


def _refused(reason: str) -> TrainingDataInvalid:
    return TrainingDataInvalid(f"The file is not the South German Credit data: {reason}. {_ADVICE}")


_DAMAGED = (
    *(BadZipFile, EOFError, LZMAError, NotImplementedError, OSError, RuntimeError, ValueError),
    *(struct.error, zlib.error),
)
"""Errors that zipfile raises for damaged archives, and for encrypted or unusual ones."""


def _unpacked(data: bytes) -> bytes:
    try:
        with ZipFile(io.BytesIO(data)) as archive, archive.open(MEMBER) as member:
            table = member.read(MOST_BYTES + 1)
    except KeyError as error:
        raise _refused(f"the archive has no {MEMBER}") from error
    except _DAMAGED as error:
        raise _refused("the archive is damaged") from error
    if len(table) > MOST_BYTES:
        raise _refused(f"{MEMBER} is larger than {MOST_BYTES >> 20} MiB")
    return table


def _numbers(number: int, row: list[str]) -> tuple[int, ...]:
    if len(row) != len(_COLUMNS) or not all(field.isdigit() and len(field) < 8 for field in row):
        raise _refused(f"row {number} does not have {len(_COLUMNS)} whole numbers")
    return tuple(map(int, row))
