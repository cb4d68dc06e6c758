"""`python -m training.measure.benchmark`: the engines beside Concrete ML, interleaved in one run.

All engines decide and explain the same held-out applicants in turn, each in its own process, with
real encryption. Ratios are medians of one over medians of the other in the same run. Beside that:
the levelled engine on a model of Concrete ML's shape, a whole application over HTTP, how the
levelled engine grows, and its noise beside the noise model. Every part can be left out.
"""

from __future__ import annotations

import argparse
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
    """The command; answers the exit code."""
    print_any_text()
    parser = argparse.ArgumentParser(prog="training.measure.benchmark", description=__doc__)
    parser.add_argument("--applicants", type=int, default=30, help="decided by our engines")
    parser.add_argument("--peer-applicants", type=int, default=5, help="decided by all in turn")
    parser.add_argument("--explanations", type=int, default=10, help="explained by our engines")
    parser.add_argument("--peer-explanations", type=int, default=2, help="explained by all")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--deployment", type=Path, help="folder; from the settings if left out")
    parser.add_argument("--data", type=Path, nargs="+", help="files that the model was trained on")
    for part, words in PARTS.items():
        parser.add_argument(f"--no-{part}", action="store_true", help=f"leave out {words}")
    parser.add_argument("--quick", action="store_true", help="few of everything, to try it out")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument(
        "--readme", type=Path, nargs="+", default=[], help="texts whose marked tables are replaced"
    )
    options = parser.parse_args(arguments)
    # Not above: every process that is measured imports this file, and has its memory measured.
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
    sys.exit(main())
