"""`python -m training.federated_demo`: lenders train a model together, and it decides encrypted.

Starts a server, a coordinator and five lenders as processes of this machine. The lenders' synthetic
loans are of different regions and unequal in number. One lender is killed in the middle of the
training and comes back. The model is compared with pooled training, compiled, and decides
applicants under FHE. All files are in a temporary folder, which is removed at the end.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from engines.levelled.messages import NAME
from federated.aggregation.group import LEAST_LENDERS
from parties.governance.api.serving import stop_on_sigterm
from training.compile import DEPLOYMENT_FOLDER, compile_deployment
from training.federated import read_own_rows, write_model
from training.federated_demo.comparison import compare
from training.federated_demo.decisions import decide
from training.federated_demo.joint_training import train
from training.federated_demo.lenders import ROWS, SCHEMA, TEST_ROWS, draw
from training.federated_demo.report import Result, document, text
from utils.errors import EvaluationFailed, InvalidRequest, TrisealError
from utils.one_line import in_one_line
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text


def main(arguments: list[str] | None = None) -> int:
    """Run the demonstration; returns the exit code."""
    print_any_text()
    options = _parse(arguments)
    stop_on_sigterm()
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s  {line}", flush=True)

    try:
        rows = dict(zip(ROWS, options.rows, strict=False))
        result = demonstrate(rows, options.trees, options.applicants, options.seed, say)
        print(f"\n{text(result)}")
        if options.json:
            options.json.write_text(json.dumps(document(result), indent=2) + "\n")
    except (TrisealError, OSError) as error:
        print(f"training.federated_demo: {in_one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; all processes have ended.", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = CommandParser(prog="training.federated_demo", description=__doc__)
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=list(ROWS.values()),
        help=f"rows of each lender: {LEAST_LENDERS} to {len(ROWS)} numbers",
    )
    parser.add_argument("--trees", type=int, default=60, help="number of trees")
    parser.add_argument("--applicants", type=int, default=10, help="decisions under FHE")
    parser.add_argument("--seed", type=int, default=20, help="seed of the synthetic rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the results")
    options = parser.parse_args(arguments)
    if not LEAST_LENDERS <= len(options.rows) <= len(ROWS):
        parser.error(f"--rows needs {LEAST_LENDERS} to {len(ROWS)} numbers")
    if options.trees < 2 or options.applicants < 1:
        parser.error("at least 2 trees and 1 applicant are needed")
    return options


def demonstrate(
    rows: Mapping[str, int],
    trees: int,
    applicants: int,
    seed: int,
    say: Callable[[str], None],
    test_rows: int = TEST_ROWS,
) -> Result:
    """Train, compare, compile and decide with the lenders of `rows`; `say` is told each step.

    Raises EvaluationFailed if the model is not that of pooled training, InvalidRequest if no
    deployment is there for the server, and the errors of the steps.
    """
    if not (DEPLOYMENT_FOLDER / "manifest.json").is_file():
        raise InvalidRequest(
            f"{DEPLOYMENT_FOLDER} has no deployment, which the server needs to start; restore the "
            "folder of the repository, or run `make train compile`."
        )
    with scratch_folder("triseal-federated-") as folder:
        drawn = draw(folder, rows, seed, test_rows)
        say(f"{len(rows)} lenders have {sum(rows.values())} invented loans of different regions.")
        absent = list(rows)[-2]
        trained = train(folder, DEPLOYMENT_FOLDER, SCHEMA, drawn.files, trees, absent, say)
        compared = compare(trained.run, drawn.files, drawn.test)
        say("Trained again on pooled rows, and by XGBoost on pooled rows and on each lender's own.")
        say("Compiling the model for encrypted data, which takes a minute or two.")
        start = time.monotonic()
        model, deployment = folder / "model", folder / "deployment"
        own = read_own_rows(drawn.files[next(iter(rows))], trained.run.record)
        write_model(trained.run, own, model)
        with redirect_stdout(io.StringIO()):
            compile_deployment(model, deployment, [NAME])
        compile_seconds = time.monotonic() - start
        layout = trained.run.record.plan.layout
        places = np.linspace(0, len(drawn.test) - 1, applicants).astype(np.int64)
        bits = layout.encode_frame(drawn.test.iloc[places])
        say(f"Compiled for encrypted data; now {applicants} applicants are decided on, encrypted.")
        decisions = decide(deployment, bits)
        if not compared.equal:
            raise EvaluationFailed(
                "The model differs from that of pooled training on the same rows, which must not "
                "happen; please report it."
            )
        return Result(dict(rows), trained, compared, decisions, compile_seconds)


if __name__ == "__main__":
    run_command(main)
