"""`python -m training.measure.readers`: measure what each reader of a result learns of a record.

Prints, for the deployed model, how many bits of every other party's record a reader learns from the
decision alone and together with the explanation, as scores and as signs; and how many bins of the
explained column fit the decision. The figures are exact for records whose columns are independent
and whose states are equally likely. `--document` writes them between the marks of a document.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from engines.levelled.messages import NAME
from features.encoding import Layout
from features.schema import Schema
from model.program import Program
from settings import get_settings
from training.measure.learned import Scores, Signs, entropies, learned
from training.measure.outcomes import Outcomes
from training.measure.text_tables import Table, markdown, plain, replaced
from utils.errors import ProgramInvalid, TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

BEGIN, END = "<!-- readers: begin -->", "<!-- readers: end -->"
_HEAD = (
    "reader",
    "record of",
    "its bits",
    "known records",
    "score",
    "sign",
    "scores, explained",
    "signs, explained",
    "opened by default",
)


def explanation_readers(schema: Schema) -> set[str]:
    """Return the parties that read the explanation unless others are named."""
    return {schema.party_names[0], schema.explained_party}


def learned_table(outcomes: Outcomes, layout: Layout) -> Table:
    """Return the bits that each reader learns of each other party's record.

    The reader knows all other records, or only its own. `opened by default` has the signs of the
    decision, and for the readers of the explanation also its own.
    """
    names, count = layout.schema.party_names, outcomes.scores.shape[-1]
    opened = (
        *(Scores(outcomes, 1), Signs.of(outcomes, 1)),
        *(Scores(outcomes, count), Signs.of(outcomes, count)),
    )
    found = [entropies(own, len(names)) for own in opened]
    rows = []
    for owner, owner_name in enumerate(names):
        for reader, reader_name in enumerate(names):
            if reader == owner:
                continue
            others = set(range(len(names))) - {owner}
            for words, known in (("all others", others), ("its own", {reader})):
                bits = [learned(own, owner, known) for own in found]
                explained = reader_name in explanation_readers(layout.schema)
                bits.append(bits[3] if explained else bits[1])
                figures = [f"{max(b, 0.0):.2f}" for b in (record_bits(layout, owner_name), *bits)]
                rows.append((reader_name, owner_name, figures[0], words, *figures[1:]))
    return Table(_HEAD, rows)


def record_bits(layout: Layout, party: str) -> float:
    """Return the entropy of a party's record, in bits."""
    return float(np.sum(np.log2([code.n_states for code in layout.party_codes(party)])))


def candidates_table(outcomes: Outcomes, schema: Schema) -> Table:
    """Return the shares of records in which so many bins have the decision's score, or its sign.

    The bins are those of the explained column, whose scores follow the decision's.
    """
    count = 2 + len(schema.explained_steps)
    scores, signs = Scores(outcomes, count).candidates(), Signs.of(outcomes, count).candidates()
    rows: list[tuple[str, ...]] = [
        (str(bins), f"{100 * s:.1f} %", f"{100 * o:.1f} %")
        for bins, (s, o) in enumerate(zip(scores, signs, strict=True))
    ]
    return Table(("bins that fit the decision", "scores", "signs"), rows[1:])


def section(tables: Sequence[Table], programs: Mapping[str, Program]) -> str:
    """Return the tables as Markdown with their marks, and the digests of the measured programs."""
    digests = ", ".join(f"`{name}` {programs[name].digest()[:12]}" for name in (DECIDE, EXPLAIN))
    parts = [BEGIN, *("\n" + markdown(own) for own in tables), f"\nPrograms: {digests}.", END]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.measure.readers", description=__doc__)
    parser.add_argument("--deployment", type=Path, help="folder; from the settings by default")
    parser.add_argument("--document", type=Path, help="document whose marked tables are replaced")
    options = parser.parse_args(arguments)
    try:
        deployment = Deployment.load(options.deployment or get_settings().deployment)
        programs = deployment.programs_of(NAME)
        if deployment.schema.decision.refer_below is not None:
            raise ProgramInvalid(
                "These figures are for decisions that are approved or denied; this model also "
                "refers applications to a person."
            )
        outcomes = Outcomes.of(programs, deployment.layout)
        tables = (
            learned_table(outcomes, deployment.layout),
            candidates_table(outcomes, deployment.schema),
        )
        print(*map(plain, tables), sep="\n\n")
        if options.document:
            text = options.document.read_text(encoding="utf-8")
            text = replaced(text, BEGIN, END, section(tables, programs))
            options.document.write_text(text, encoding="utf-8")
    except (TrisealError, OSError) as error:
        print(f"training.measure.readers: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
