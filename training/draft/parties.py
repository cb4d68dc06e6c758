"""The party of each column: as told by --party, or guessed from its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from training.draft.column_names import words
from training.draft.columns import Drafted
from utils.errors import TrainingDataInvalid
from utils.strict_csv import listed

APPLICANT, BANK, AGENCY = "applicant", "bank", "credit_agency"
_KNOWN = {
    APPLICANT: ("Applicant", "Knows the answers of the application form."),
    BANK: ("Bank", "Knows its own accounts and the terms of the loan."),
    AGENCY: ("Credit agency", "Knows the credit history."),
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
MOST_PARTIES = 8
MOST_COLUMNS = 128


def told_parties(options: Sequence[str], headers: Sequence[str]) -> dict[str, str]:
    """Return the party of each header that `options` such as `bank=savings,balance` name.

    Raises TrainingDataInvalid for another form, an unknown column, or one named twice.
    """
    told: dict[str, str] = {}
    for option in options:
        name, separator, columns = option.partition("=")
        if not separator or not _NAME.fullmatch(name.strip()):
            raise TrainingDataInvalid(
                f"--party {option[:60]!r} must be a name in lower case, = and columns: "
                "bank=savings,balance."
            )
        for given in columns.split(","):
            header = find_header(given, headers, "--party")
            if told.setdefault(header, name.strip()) != name.strip():
                raise TrainingDataInvalid(f"--party gives {header} to two parties; name one.")
    return told


def find_header(given: str, headers: Sequence[str], option: str) -> str:
    """Return the header that is `given`, exactly or apart from case, blanks and punctuation.

    Raises TrainingDataInvalid if there is none, or several.
    """
    if headers.count(given) == 1:
        return given
    alike = [header for header in headers if words(header) == words(given) and words(given)]
    if len(alike) != 1:
        some = "no column" if not alike else "several columns"
        raise TrainingDataInvalid(
            f"{option}: the data has {some} called {given.strip()[:80]!r}; the columns are "
            f"{listed(headers, 40)}."
        )
    return alike[0]


def assign(columns: Sequence[Drafted], told: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the party of each column by header, and notes on what had to be assumed.

    There are at least two parties, among them the applicant unless --party names others alone.
    """
    holder = {
        column.header: told.get(column.header) or _guess(column) or APPLICANT for column in columns
    }
    notes = []
    if len(set(holder.values())) < 2:
        only = next(iter(holder.values()), APPLICANT)
        other = BANK if only != BANK else APPLICANT
        moved = _movable(columns, told, other)
        holder |= dict.fromkeys(moved, other)
        notes.append(
            f"only the party {only} was found, and two are needed: {listed(moved, 10)} moved to "
            f"{other}; use --party {other}=COLUMN,... to choose"
        )
    elif not told and APPLICANT not in holder.values():
        moved = _movable(columns, told, APPLICANT)[:1]
        holder |= dict.fromkeys(moved, APPLICANT)
        notes.append(f"no column seems to be the applicant's: {moved[0]} moved there; use --party")
    return holder, notes


def _guess(column: Drafted) -> str | None:
    return next((concept.party for concept in column.meaning.concepts if concept.party), None)


def _movable(columns: Sequence[Drafted], told: dict[str, str], to: str) -> list[str]:
    """Return the columns to move to a second party: terms of the loan, or the last half."""
    free = [column for column in columns if column.header not in told] or list(columns)
    terms = [c.header for c in free if any(concept.terms for concept in c.meaning.concepts)]
    if to == BANK and terms and len(terms) < len(columns):
        return terms
    most = max(1, min(len(free), len(columns) // 2))
    return [column.header for column in free[-most:]]


def party_documents(
    columns: Sequence[Drafted], holder: dict[str, str], told: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the parties of the schema, in the order applicant, those told, bank, agency."""
    order = [*dict.fromkeys([APPLICANT, *told.values(), BANK, AGENCY])]
    present = [name for name in order if name in holder.values()]
    if len(present) > MOST_PARTIES:
        raise TrainingDataInvalid(f"--party names {len(present)} parties; at most 8 are possible.")
    documents = []
    for name in present:
        label, description = _KNOWN.get(name, (name.replace("_", " ").capitalize(), ""))
        own = [column.document for column in columns if holder[column.header] == name]
        document = {"name": name, "label": label, "description": description, "columns": own}
        documents.append(document)
    return documents
