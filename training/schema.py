"""`python -m training.schema`: draft a schema for a lender's CSV file.

Decides the kind, domain and party of every column, leaves out identifiers, constants, duplicates
and columns that know the outcome, and keeps columns that law restricts for the audit only. Prints
every decision with its reason, and the AUC that binning costs.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import json
import sys
from datetime import date
from pathlib import Path

from features.encoding import Layout
from features.schema import MAXIMUM_BINS, MAXIMUM_SCHEMA_BYTES
from training.data import SMALLEST_CLASS
from training.draft.acceptance import accepted_bits
from training.draft.binning_cost import binning_cost, sampled
from training.draft.decisions_table import decisions_table
from training.draft.drafting import Options, draft_schema
from utils.atomic_files import write_atomic
from utils.errors import TrainingDataInvalid, TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

_SEED = 20
"""Seed of the folds and of the rows that are measured."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    chosen = Options(
        target=options.target,
        parties=tuple(options.party),
        keep=tuple(options.keep),
        approved=options.approved,
        bins=options.bins,
        reference=options.reference_date,
        name=options.name,
    )
    try:
        write_draft(options.data, options.out, chosen, replace=options.replace)
    except (TrisealError, OSError) as error:
        print(f"training.schema: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="training.schema", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="CSV file with a header")
    parser.add_argument("--target", required=True, help="header of the label column")
    parser.add_argument(
        "--approved", help="label that means approval (default: guessed, and printed)"
    )
    parser.add_argument(
        "--party",
        action="append",
        default=[],
        metavar="NAME=COLUMN,...",
        help="party that knows these columns; may be repeated (default: guessed by name)",
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN",
        help="use this column although law restricts it; may be repeated",
    )
    parser.add_argument(
        "--bins",
        type=int,
        default=16,
        help=f"maximum bins of a number, up to {MAXIMUM_BINS} (default: %(default)s)",
    )
    parser.add_argument(
        "--reference-date",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="dates become months before this day (default: the newest date of the column)",
    )
    parser.add_argument("--name", help="name of the schema (default: that of the file)")
    parser.add_argument(
        "--out", type=Path, default=Path("schema.json"), help="file to write (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="replace the file if it exists")
    return parser


def write_draft(data: Path, out: Path, options: Options, replace: bool) -> None:
    """Draft, print and write a schema; raises TrainingDataInvalid, FeatureError and OSError."""
    if out.exists() and not replace:
        raise TrainingDataInvalid(
            f"{out} exists and may hold your edits. Choose another --out, or pass --replace."
        )
    draft = draft_schema(data, options)
    layout = Layout(draft.schema)
    approved = draft.outcome.approved
    rows = sampled(approved, _SEED)
    bits = accepted_bits(data, draft, options, layout, rows)
    print(decisions_table(draft))
    text = json.dumps(draft.schema.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    if len(text.encode()) > MAXIMUM_SCHEMA_BYTES:
        raise TrainingDataInvalid("The schema would be larger than 1 MiB; use fewer columns.")
    write_atomic(out, text.encode())
    cost = binning_cost(draft.columns, rows, bits, approved[rows], _SEED)
    print(cost or "The AUC is not measured: an outcome has too few rows.")
    smallest = int(min(approved.sum(), (~approved).sum()))
    if smallest < SMALLEST_CLASS:
        print(f"Training needs {SMALLEST_CLASS} rows of each outcome; one has {smallest}.")
    print(f"Written to {out}; read every entry before you train with it.")


if __name__ == "__main__":
    run_command(main)
