"""`python -m training.measure.federated`: the costs of a training by several lenders.

Five lenders, and then twenty, with 20,000 synthetic rows each train 60 trees of depth 3 through a
real server, all of them processes of this machine. The same rows are also trained on by XGBoost,
pooled, and by bagging of whole trees (training/federated_peers.py). All models are measured on rows
that no lender has; products and times of a decision are those of the levelled engine on one core.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from contract.trainings import COORDINATOR
from engines.interface import DECIDE
from features.records import read_records
from training import synthetic
from training.compile import DEPLOYMENT_FOLDER
from training.federated import FinishedRun, read_run
from training.federated_demo.comparison import COMPARED_TREES, is_pooled, training_part
from training.federated_peers import bagged, log_odds, on_all_rows, same_splits, trees_of
from training.federated_processes import FederatedProcesses
from training.measure.cpu_samples import CpuSamples
from training.measure.federated_tables import replace_table, text
from training.measure.machine import machine
from training.measure.running_server import running_server
from training.measure.scaling import costs
from training.train import DEFAULT_SCHEMA
from utils.errors import TrisealError
from utils.one_line import in_one_line
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

_TEST_ROWS = 20_000
_FIRST_SEED = 100
_SERVER = "server"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.measure.federated", description=__doc__)
    parser.add_argument("--lenders", type=int, nargs="+", default=[5, 20], help="lenders of a run")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each lender")
    parser.add_argument("--trees", type=int, default=60, help="number of trees")
    parser.add_argument("--no-peers", action="store_true", help="skip XGBoost and bagging")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--document", type=Path, help="document whose marked tables are replaced")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.lenders, options.rows, options.trees, not options.no_peers)
    except (TrisealError, OSError) as error:
        print(f"training.measure.federated: {in_one_line(error)}", file=sys.stderr)
        return 1
    print(text(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.document:
        replace_table(options.document, result)
    return 0


def measure(lenders: Sequence[int], rows: int, trees: int, peers: bool = True) -> dict[str, Any]:
    """Measure a training for each number of lenders; raises TrainingUnfinished and the like."""
    result: dict[str, Any] = {
        "machine": machine(),
        "load_before": round(os.getloadavg()[0], 1),
        "rows_each": rows,
        "trees": trees,
        "trainings": [],
    }
    with scratch_folder("triseal-federated-") as folder:
        files = {}
        for number in range(max(lenders)):
            path = folder / f"lender_{number:02}.csv"
            synthetic.draw(rows, _FIRST_SEED + number).to_csv(path, index=False)
            files[path.stem] = path
        for count in tqdm(lenders, desc="trainings", leave=False):
            own = dict(list(files.items())[:count])
            home = folder / str(count)
            home.mkdir()
            found, run = training_costs(home, own, trees)
            result["trainings"].append(found)
            if peers:
                found["models"] = models(run, own)
    return result


def training_costs(
    home: Path, files: dict[str, Path], trees: int
) -> tuple[dict[str, Any], FinishedRun]:
    """Train once, and return the costs with the run.

    Times are from the start message to the end; `*_bytes` are those of sealed messages, without
    base64 and HTTP. A level is one secure sum.
    """
    options = ("--trees", str(trees))
    with (
        running_server(DEPLOYMENT_FOLDER, "clear") as server,
        FederatedProcesses(home, server.url, DEFAULT_SCHEMA, files, options) as processes,
    ):
        processes.start()
        ids = {_SERVER: server.process}
        ids |= {name: process.pid for name, process in processes.processes.items()}
        with CpuSamples(ids) as samples:
            processes.finish()
    summary = processes.summary(COORDINATOR)
    start = summary.time_of("The training starts")
    end = summary.time_of("The training is finished")
    run = read_run(processes.home(COORDINATOR))
    levels = sum(tree.levels for tree in run.record.trees) + 2

    def each(process: str) -> float:
        return samples.between(process, start, end) / levels

    sent = {one.name: one.bytes for one in summary.training.lenders}
    received = {name: processes.summary(name).training.bytes - sent[name] for name in files}
    drop_outs = sum(one.drop_outs for one in summary.training.lenders)
    return {
        "lenders": len(files),
        "levels": levels,
        "drop_outs": drop_outs,
        "seconds": end - start,
        "sum_seconds": (end - start) / levels,
        "coordinator_cpu_seconds": each(COORDINATOR),
        "server_cpu_seconds": each(_SERVER),
        "lender_cpu_seconds": float(np.mean([each(name) for name in files])),
        "sent_bytes": float(np.mean(list(sent.values()))) / levels,
        "received_bytes": float(np.mean(list(received.values()))) / levels,
    }, run


def models(run: FinishedRun, files: dict[str, Path]) -> list[dict[str, Any]]:
    """Return quality and costs of the lenders' model, of XGBoost's and of bagging."""
    plan, layout = run.record.plan, run.record.plan.layout
    records = {name: read_records(path, layout) for name, path in files.items()}
    parts = [training_part(plan, own) for own in records.values()]
    test = synthetic.draw(_TEST_ROWS, _FIRST_SEED - 1)
    bits = layout.encode_frame(test)
    y = test[plan.schema_.decision.target].to_numpy() == plan.schema_.decision.approved_value
    pooled, pooled_seconds = _timed(lambda: on_all_rows(plan, parts))
    bagging, bagging_seconds = _timed(lambda: bagged(plan, parts))
    found = []
    named = {"ours": run.booster, "pooled": pooled, "bagging": bagging}
    seconds = {"ours": None, "pooled": pooled_seconds, "bagging": bagging_seconds}
    measured = costs(list(named.values()), layout, bits)
    for (name, model), cost in zip(named.items(), measured, strict=True):
        own = None if cost is None else cost[DECIDE]
        found.append(
            {
                "model": name,
                "trees": len(trees_of(model)),
                "auc": float(roc_auc_score(y, log_odds(model, bits))),
                "seconds": seconds[name],
                "products": None if own is None else own["external_products"],
                "decide_seconds": None if own is None else own["seconds"],
            }
        )
    same, splits = same_splits(run.booster, pooled, COMPARED_TREES)
    found[0] |= {"equal": is_pooled(run, records), "same_splits": same, "splits": splits}
    return found


def _timed(work: Callable[[], bytes]) -> tuple[bytes, float]:
    start = time.perf_counter()
    made = work()
    return made, time.perf_counter() - start


if __name__ == "__main__":
    run_command(main)
