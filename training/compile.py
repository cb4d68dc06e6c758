"""`python -m training.compile`: compile a trained model into `deployment_files/`.

The programs depend only on the booster and are reproducible. The manifest records the compiled
binaries and the versions of the tools that made them. The new folder replaces the old one only
after it is complete and has been loaded successfully.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import hashlib
import json
import sys
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from tqdm import tqdm

from engines.deployment import (
    Deployment,
    program_file,
    write_manifest,
    write_programs,
    write_public,
)
from engines.interface import DECIDE
from engines.levelled.build import OPENS, SCORE_WIDTHS, SIGN
from engines.levelled.build import build as build_levelled
from engines.registry import ENGINES
from features.encoding import Bits, Layout
from features.schema import Schema
from model.program import Program
from settings import ROOT
from training.deployment_folder import (
    BENCHMARK,
    CARD,
    KEPT,
    mark_deployment,
    replace_deployment,
    require_replaceable,
    restore_previous,
)
from training.frontier import CONCRETE_ENGINES, NARROWEST, programs_for, with_reasons
from training.import_check import ImportCheck
from training.model_card import model_card
from training.models import Labels
from training.monotone_check import monotone_text
from training.report.model_file import write_model_file
from training.train import MODEL_FOLDER
from utils.environments import can_run
from utils.errors import DeploymentMissing, EngineUnavailable, TrisealError
from utils.one_line import in_one_line
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

DEPLOYMENT_FOLDER = ROOT / "deployment_files"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.compile", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=MODEL_FOLDER, help="folder written by training.train"
    )
    parser.add_argument(
        "--out", type=Path, default=DEPLOYMENT_FOLDER, help="deployment folder to replace"
    )
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        default=[name for name in ENGINES if can_run(name)],
        help="engines to compile; all that are installed in this environment where not given",
    )
    parser.add_argument(
        "--score-bits", type=int, help="width of the score in bits; chosen by default"
    )
    parser.add_argument(
        "--open",
        choices=OPENS,
        default=SIGN,
        dest="opens",
        help="for the engine levelled: open approved or denied (the default), or the score, for "
        "research",
    )
    parser.add_argument(
        "--sign-only", action="store_true", help="for the engine concrete: never open the score"
    )
    options = parser.parse_args(arguments)
    try:
        compile_deployment(
            options.model,
            options.out,
            options.engines,
            options.score_bits,
            options.opens,
            options.sign_only,
        )
    except (TrisealError, OSError) as error:
        print(f"training.compile: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def compile_deployment(
    model: Path,
    out: Path,
    engines: list[str],
    score_bits: int | None = None,
    opens: str = SIGN,
    sign_only: bool = False,
) -> None:
    """Compile the model in folder `model` for `engines` and replace folder `out`.

    Raises DeploymentMissing if there is no trained model, EngineUnavailable if an engine is not
    installed, UnsupportedBooster if the booster is read differently by XGBoost, FolderNotOurs if
    `out` holds anything but a deployment, and the errors of the engines' compilers.
    """
    if not (model / "booster.json").is_file():
        raise DeploymentMissing(f"There is no trained model in {model}; run `make train` first.")
    for engine in engines:
        if not can_run(engine):
            raise EngineUnavailable(
                f"Engine {engine} is not installed in this environment; run `make compile "
                f'ENGINES="{" ".join(engines)}"`, which uses the environment that has it.'
            )
    out = out.resolve()  # replace the folder itself, not a link to it
    require_replaceable(out)
    layout = Layout(Schema.load(model / "schema.json"))
    booster = (model / "booster.json").read_bytes()
    require_fitting(layout.schema, engines)
    bits, y = training_rows(model, layout)
    check = ImportCheck(booster, layout, bits)
    metrics = own_metrics(model, booster)
    own = cache(partial(programs_for, booster, layout, bits))
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(".compile-", out.parent, restore_previous) as scratch:
        folder = scratch / "new"
        steps = tqdm(total=1 + len(engines), desc="programs", leave=False)
        if score_bits is None and "concrete" in engines:
            from training.concrete_cost import widest_programs

            programs, _ = widest_programs(booster, layout, bits)
            programs = with_reasons(programs, layout, bits)
        elif score_bits is None and engines == ["levelled"]:
            # No other engine needs narrower scores, and the plans of explanations take longest.
            programs = own(SCORE_WIDTHS[0])
        else:
            programs = own(score_bits or NARROWEST)
        check.check_program(programs[DECIDE])
        finished = [programs[DECIDE]]
        for name, data in (
            ("schema.json", (model / "schema.json").read_bytes()),
            ("booster.json", booster),
        ):
            write_public(folder / name, data)
        write_programs(folder, programs)
        facts: dict[str, dict[str, Any]] = {}
        for engine in engines:
            steps.update()
            steps.set_description(engine)
            if engine == "clear":
                facts[engine] = {}
            elif engine == "concrete":
                from engines.concrete.build import build as build_concrete

                facts[engine] = build_concrete(programs, layout, folder, sign_only)
            elif engine == "levelled":
                facts[engine] = build_levelled(own, layout, folder, opens=opens)
                finished.append(Program.load(folder / engine / program_file(DECIDE), layout))
                check.check_program(finished[-1])
            else:
                from engines.concrete_ml.build import build as build_concrete_ml

                facts[engine] = build_concrete_ml(layout, bits, y, folder)
        steps.close()
        manifest = write_manifest(folder, facts)
        for name in KEPT if metrics is not None else ():
            if (model / name).is_file():
                write_public(folder / name, (model / name).read_bytes())
        checked = f"{check.summary()} {monotone_text(finished, layout)}".strip()
        card = model_card(layout.schema, metrics, manifest, programs, checked)
        write_public(folder / CARD, card.encode())
        write_model_file(folder, out, metrics, manifest, programs, checked)
        _keep_benchmark(out, folder, manifest.model_version)
        mark_deployment(folder)
        Deployment.load(folder)
        replace_deployment(folder, out, scratch)
    print(check.summary())
    if metrics is None:
        print(f"The booster in {model} was imported; the model card has no measurements of it.")
    print(f"Compiled {', '.join(engines)} as model {manifest.model_version} into {out}")


def require_fitting(schema: Schema, engines: Sequence[str]) -> None:
    """Raise EngineUnavailable if an engine cannot run the schema's decision."""
    alone = [name for name in engines if name in CONCRETE_ENGINES]
    if schema.decision.refer_below is not None and alone:
        raise EngineUnavailable(
            f"The schema refers applications in a grey zone to a person (decision.refer_below), "
            f"which {' and '.join(alone)} cannot: compile with --engines clear levelled, or train "
            "without --refer-between."
        )


def training_rows(model: Path, layout: Layout) -> tuple[Bits, Labels]:
    """Return the rows saved by training: bits (rows, n_bits) and labels (rows,).

    The rounding is calibrated on them, and Concrete ML trains its own model on them.
    Raises DeploymentMissing.
    """
    try:
        with np.load(model / "training_rows.npz", allow_pickle=False) as rows:
            return np.unpackbits(rows["bits"], axis=1, count=layout.n_bits), rows["y"]
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise DeploymentMissing(
            f"The training rows in {model} cannot be read; run `make train` again."
        ) from error


def own_metrics(model: Path, booster: bytes) -> dict[str, Any] | None:
    """Return the metrics that training saved for this booster; None for an imported one."""
    try:
        metrics = json.loads((model / "metrics.json").read_bytes())
        own = metrics["booster_sha256"] == hashlib.sha256(booster).hexdigest()
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return metrics if own else None


def _keep_benchmark(old: Path, new: Path, model_version: str) -> None:
    """Copy the benchmark if it is of the same model: recompiling does not invalidate it."""
    try:
        text = (old / BENCHMARK).read_bytes()
    except OSError:
        return  # nothing has been measured
    if json.loads(text).get("model_version") == model_version:
        write_public(new / BENCHMARK, text)


if __name__ == "__main__":
    run_command(main)
