"""The draft of a whole schema from a CSV file, with the reason for every decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from features.columns import FileForm
from features.schema import MAXIMUM_BINS, Schema
from training.draft.column_names import label_of, schema_names
from training.draft.columns import Drafted, draft_column
from training.draft.cut_points import fewest_rows
from training.draft.duplicates import content_of
from training.draft.explaining import explanation_document, reason_documents
from training.draft.kinds import LeftOut, Number, Reading, read_kind
from training.draft.outcomes import Outcome, read_outcome
from training.draft.parties import (
    MOST_COLUMNS,
    assign,
    find_header,
    party_documents,
    told_parties,
)
from training.draft.relations import LEAK, Relation, relation
from training.draft.text_columns import CsvData, open_csv, text_columns
from training.draft.vocabulary import Meaning, meaning_of
from utils.errors import TrainingDataInvalid
from utils.strict_csv import listed

AUDIT_BINS = 6
MOST_AUDIT_COLUMNS = 16
_LONGEST_HEADER = 200


@dataclass(frozen=True)
class Options:
    """Choices of the command line."""

    target: str
    parties: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    approved: str | None = None
    bins: int = 16
    reference: date | None = None
    name: str | None = None


@dataclass(frozen=True)
class Line:
    """The decision on one column of the file."""

    header: str
    use: str
    why: str


@dataclass(frozen=True, repr=False)
class Draft:
    """A drafted schema, the decisions, and the columns and outcomes that it was drafted from."""

    schema: Schema
    lines: list[Line]
    notes: list[str]
    columns: list[Drafted]
    outcome: Outcome


@dataclass
class _Sorted:
    """Columns as far as they are read."""

    fewest: int
    """Minimum number of rows of a bin or value."""
    names: dict[str, str] = field(default_factory=dict)
    inputs: list[Drafted] = field(default_factory=list)
    audited: list[Drafted] = field(default_factory=list)
    relations: dict[str, Relation] = field(default_factory=dict)
    contents: dict[bytes, str] = field(default_factory=dict)
    lines: dict[str, list[Line]] = field(default_factory=dict)


def draft_schema(path: Path, options: Options) -> Draft:
    """Draft a schema for the file; raises TrainingDataInvalid, with what to do."""
    if not 2 <= options.bins <= MAXIMUM_BINS:
        raise TrainingDataInvalid(f"--bins must be a number from 2 to {MAXIMUM_BINS}.")
    data = open_csv(path, options.target)
    target = find_header(options.target, data.headers, "--target")
    if data.headers.count(target) > 1:
        raise TrainingDataInvalid(f"{path}: several columns are called {target}; keep one.")
    told = told_parties(options.parties, data.headers)
    keep = {find_header(name, data.headers, "--keep") for name in options.keep}
    [(label, _)] = text_columns(data, [target])
    outcome = read_outcome(label, options.approved)
    found = _Sorted(fewest_rows(len(outcome.approved)))
    wanted = _named_columns(data.headers, target, found)
    [target_name, *names] = schema_names([target, *wanted])
    found.names = dict(zip(wanted, names, strict=True))
    form = FileForm(data.separator, None, options.reference)
    ambiguous = _sort_columns(data, wanted, outcome, options, form, keep, found)
    marks = {m for c in found.inputs if isinstance(c.reading, Number) for m in c.reading.marks}
    if ambiguous and len(marks) == 1:
        form = FileForm(data.separator, marks.pop(), options.reference)
        _sort_columns(data, ambiguous, outcome, options, form, keep, found)
    holder, notes = _holders(found, told)
    document = _document(path, found, holder, told, options, target_name, outcome, notes)
    lines = [line for header in data.headers for line in found.lines.pop(header, [])]
    placed = {c.header: f"{holder[c.header]}: {c.document['kind']}" for c in found.inputs}
    lines = [Line(each.header, placed.get(each.header, each.use), each.why) for each in lines]
    schema = Schema.parse(document, "The draft")
    return Draft(schema, lines, [*data.notes, *notes], found.inputs, outcome)


def _sort_columns(
    data: CsvData,
    headers: list[str],
    outcome: Outcome,
    options: Options,
    form: FileForm,
    keep: set[str],
    found: _Sorted,
) -> list[str]:
    """Sort the columns; returns the headers of those whose decimal mark is not known."""
    ambiguous = []
    for column, lines in text_columns(data, headers):
        own = column.of(outcome.given)
        meaning = meaning_of(column.header)
        reading = read_kind(own, lines[outcome.given], meaning, found.fewest, form)
        if isinstance(reading, LeftOut) and reading.ambiguous:
            ambiguous.append(column.header)
        restricted = bool(meaning.laws) and column.header not in keep
        line = _sort(column.header, reading, meaning, outcome, options, restricted, found)
        found.lines[column.header] = [line]
    return ambiguous


def _named_columns(headers: Sequence[str], target: str, found: _Sorted) -> list[str]:
    """Return the headers of columns that have one of their own, without the target."""
    wanted = []
    for header in headers:
        if header == target:
            continue
        if not header.strip() or len(header) > _LONGEST_HEADER:
            line = Line(header.strip() or "(no name)", "left out", "has no usable header")
            found.lines.setdefault(header, []).append(line)
        elif headers.count(header) > 1:
            why = f"{headers.count(header)} columns have this header; rename them"
            found.lines.setdefault(header, []).append(Line(header, "left out", why))
        else:
            wanted.append(header)
    return wanted


def _sort(
    header: str,
    reading: Reading,
    meaning: Meaning,
    outcome: Outcome,
    options: Options,
    restricted: bool,
    found: _Sorted,
) -> Line:
    """Put one column among the inputs or the audited ones, or leave it out."""
    bins = min(options.bins, AUDIT_BINS) if restricted else options.bins
    name = found.names[header]
    drafted = draft_column(header, name, label_of(header), reading, meaning, bins, found.fewest)
    if not isinstance(drafted, Drafted):
        return Line(header, "left out", drafted.why)
    laws = "; ".join(meaning.laws)
    if restricted:
        if len(found.audited) == MOST_AUDIT_COLUMNS:
            return Line(header, "left out", laws)
        found.audited.append(drafted)
        return Line(header, "audit only", f"{laws}; --keep to use it")
    same = found.contents.setdefault(content_of(drafted), header)
    if same != header:
        return Line(header, "left out", f"says the same as {same}")
    own = relation(drafted, outcome.approved, found.fewest)
    if own.separation > LEAK:
        why = f"leak: alone it tells the outcome (AUC {own.separation:.3f})"
        return Line(header, "left out", why)
    found.relations[header] = own
    found.inputs.append(drafted)
    law = f"; kept, although law restricts it ({laws})" if laws else ""
    check = "".join(f"; check {caution}" for caution in meaning.cautions)
    return Line(header, "input", drafted.why + check + law)


def _holders(found: _Sorted, told: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the party of each input; leaves out what is beyond a party's limit of columns."""
    left = [
        f"{line.header}: {line.why}"
        for own in found.lines.values()
        for line in own[:1]
        if line.use != "input"
    ]
    if len(found.inputs) < 2:
        raise TrainingDataInvalid(
            f"Only {len(found.inputs)} columns can be used, and two parties need one each. "
            f"Not used: {'; '.join(left[:10]) or 'none'}."
        )
    if not any(column.ordinal for column in found.inputs):
        raise TrainingDataInvalid(
            "No column of numbers can be divided into bins, and the explanation needs one. Left "
            "out: " + ("; ".join(left[:10]) or "none") + "."
        )
    holder, notes = assign(found.inputs, told)
    for party in set(holder.values()):
        own = [column for column in found.inputs if holder[column.header] == party]
        own.sort(key=lambda column: -found.relations[column.header].separation)
        for column in own[MOST_COLUMNS:]:
            found.inputs.remove(column)
            del holder[column.header]
            why = f"beyond the limit of {MOST_COLUMNS} columns of {party}, and separates least"
            found.lines[column.header] = [Line(column.header, "left out", why)]
    return holder, notes


def _document(
    path: Path,
    found: _Sorted,
    holder: dict[str, str],
    told: dict[str, str],
    options: Options,
    target_name: str,
    outcome: Outcome,
    notes: list[str],
) -> dict[str, Any]:
    explanation, why = explanation_document(found.inputs, found.relations)
    notes.append(
        f"the explanation varies {explanation['column']} ({explanation['direction']} is better): "
        f"{why}"
    )
    notes.append(f"approved_value is {outcome.approved_value!r}: {outcome.why}")
    notes += _suggestions(found)
    dated = [c.name for c in found.inputs if isinstance(c.reading, Number) and c.reading.dates]
    if dated and options.reference is not None:
        notes.append(
            f"{listed(dated, 10)}: the cuts count months before {options.reference}; train with "
            "the same --reference-date"
        )
    parties = party_documents(found.inputs, holder, told)
    reasons = reason_documents(found.inputs)
    if not reasons:
        notes.append("more reasons than a schema may list: each column is a reason by its label")
    [name] = schema_names([options.name or path.stem])
    lender = next((p["name"] for p in parties if p["name"] in ("bank", "lender")), None)
    return {
        "name": name,
        "title": "Credit decision",
        "description": "Drafted from data; read every entry before use.",
        "parties": parties,
        "decision": {
            "target": target_name,
            "approved_value": outcome.approved_value,
            "lender": lender if lender and parties[1]["name"] != lender else None,
        },
        "explanation": explanation,
        "audit_columns": [column.document for column in found.audited],
        "reasons": reasons,
    }


def _suggestions(found: _Sorted) -> list[str]:
    """Return suggestions of monotone columns; they are not set, as the lender must decide."""
    notes = []
    for column in found.inputs:
        own = found.relations[column.header]
        if column.ordinal and own.monotone:
            way = "rising" if own.direction == "more" else "falling"
            notes.append(
                f'{column.name} may be "monotone": "{way}" (correlation of bins and approvals '
                f"{own.trend:+.2f})"
            )
    return notes


def approved_share(draft: Draft) -> float:
    """Return the share of approved rows."""
    return float(np.mean(draft.outcome.approved))
