"""`python -m training.measure.benchmark`: compare the engines with Concrete ML in one run.

All engines decide and explain the same held-out applicants in turn, each in its own process, with
real encryption. Ratios are quotients of medians of the same run. The benchmark also measures the
levelled engine on a model of Concrete ML's shape, a complete application over HTTP, how the
levelled engine scales, and its noise against the noise model. Every part can be skipped.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import sys
from pathlib import Path

from settings import get_settings
from training.measure.benchmark_tables import (
    BEGIN,
    END,
    ENGINES,
    PARTS,
    comparison_rows,
    markdown_table,
    replace_table,
    table,
)
from utils.errors import TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

__all__ = ["BEGIN", "END", "comparison_rows", "main", "markdown_table", "replace_table", "table"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.measure.benchmark", description=__doc__)
    parser.add_argument("--applicants", type=int, default=30, help="decisions by our engines")
    parser.add_argument(
        "--peer-applicants", type=int, default=5, help="decisions by all engines in turn"
    )
    parser.add_argument("--explanations", type=int, default=10, help="explanations by our engines")
    parser.add_argument(
        "--peer-explanations", type=int, default=2, help="explanations by all engines"
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=ENGINES, help="engines to measure"
    )
    parser.add_argument("--deployment", type=Path, help="folder; from the settings by default")
    parser.add_argument("--data", type=Path, nargs="+", help="files that the model was trained on")
    for part, words in PARTS.items():
        parser.add_argument(f"--no-{part}", action="store_true", help=f"skip {words}")
    parser.add_argument(
        "--quick", action="store_true", help="a few runs of everything, to try it out"
    )
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument(
        "--readme",
        type=Path,
        nargs="+",
        default=[],
        help="documents whose marked tables are replaced",
    )
    options = parser.parse_args(arguments)
    # Imported late: every measured process imports this module, and its memory is measured.
    from engines.deployment import Deployment
    from training.held_out import held_out
    from training.measure.benchmark_run import Scope, benchmark

    scope = Scope(
        tuple(options.engines),
        (2, 1) if options.quick else (options.applicants, options.explanations),
        (1, 0) if options.quick else (options.peer_applicants, options.peer_explanations),
        frozenset(part for part in PARTS if not getattr(options, f"no_{part}")),
        options.quick,
        options.data,
    )
    try:
        folder = options.deployment or get_settings().deployment
        rows = held_out(Deployment.load(folder), options.data)
        result = benchmark(folder, rows, scope)
        print(table(result))
        if options.json:
            options.json.write_text(json.dumps(result, indent=2) + "\n")
        for document in options.readme:
            replace_table(document, result)
    except (TrisealError, OSError) as error:
        print(f"training.measure.benchmark: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_command(main)
