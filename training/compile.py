"""`python -m training.compile`: from a trained model to `deployment_files/`.

The offline recompilation. Programs follow from the booster alone and come out the same every time;
compiled binaries and the versions that made them are recorded in the manifest. The new folder
replaces the old one only when it is complete and has been read back.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from tqdm import tqdm

from engines.deployment import Deployment, write_manifest, write_programs, write_public
from engines.levelled.build import build as build_levelled
from engines.registry import ENGINES
from features.encoding import Bits, Layout
from features.schema import Schema
from settings import ROOT
from training.frontier import NARROWEST, programs_for
from training.model_card import model_card
from training.models import Labels
from training.train import MODEL_FOLDER
from utils.errors import DeploymentMissing, TrisealError

DEPLOYMENT_FOLDER = ROOT / "deployment_files"
_KEPT = ("frontier.json", "frontier.png", "metrics.json")


def main(arguments: list[str] | None = None) -> int:
    """The command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="training.compile", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="of training.train")
    parser.add_argument("--out", type=Path, default=DEPLOYMENT_FOLDER, help="folder to replace")
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="engines to compile"
    )
    parser.add_argument("--score-bits", type=int, help="width of the score; chosen where not given")
    parser.add_argument(
        "--sign-only", action="store_true", help="open only approved or denied, never the score"
    )
    options = parser.parse_args(arguments)
    try:
        compile_deployment(
            options.model, options.out, options.engines, options.score_bits, options.sign_only
        )
    except TrisealError as error:
        print(f"training.compile: {error.message}", file=sys.stderr)
        return 1
    return 0


def compile_deployment(
    model: Path,
    out: Path,
    engines: list[str],
    score_bits: int | None = None,
    sign_only: bool = False,
) -> None:
    """Compile the model in folder `model` for `engines` and replace folder `out`.

    Raises DeploymentMissing where there is no trained model, and what compiling raises.
    """
    if not (model / "booster.json").is_file():
        raise DeploymentMissing(f"There is no trained model in {model}; run `make train` first.")
    layout = Layout(Schema.load(model / "schema.json"))
    booster = (model / "booster.json").read_bytes()
    bits, y = training_rows(model, layout)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".compile-") as temporary:
        folder = Path(temporary) / "new"
        steps = tqdm(total=1 + len(engines), desc="programs", leave=False)
        if score_bits is None and "concrete" in engines:
            from training.concrete_cost import widest_programs

            programs, _ = widest_programs(booster, layout, bits)
        else:
            programs = programs_for(booster, layout, bits, score_bits or NARROWEST)
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
                own = partial(programs_for, booster, layout, bits)
                facts[engine] = build_levelled(own, layout, folder)
            else:
                from engines.concrete_ml.build import build as build_concrete_ml

                facts[engine] = build_concrete_ml(layout, bits, y, folder)
        steps.close()
        manifest = write_manifest(folder, facts)
        for name in _KEPT:
            if (model / name).is_file():
                write_public(folder / name, (model / name).read_bytes())
        metrics = json.loads((model / "metrics.json").read_text())
        card = model_card(layout.schema, metrics, manifest, programs)
        write_public(folder / "model_card.md", card.encode())
        _keep_benchmark(out, folder, manifest.model_version)
        Deployment.load(folder)
        _replace(folder, out)
    print(f"compiled {', '.join(engines)} as model {manifest.model_version} into {out}")


def training_rows(model: Path, layout: Layout) -> tuple[Bits, Labels]:
    """The rows that training kept: bits (rows, n_bits) and labels (rows,).

    The rounding is calibrated on them, and Concrete ML trains a model of its own.
    Raises DeploymentMissing.
    """
    try:
        with np.load(model / "training_rows.npz", allow_pickle=False) as rows:
            return np.unpackbits(rows["bits"], axis=1, count=layout.n_bits), rows["y"]
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise DeploymentMissing(
            f"The training rows in {model} cannot be read; run `make train` again."
        ) from error


def _keep_benchmark(old: Path, new: Path, model_version: str) -> None:
    """Measurements of the same model stay valid when it is compiled again."""
    try:
        text = (old / "benchmark.json").read_bytes()
    except OSError:
        return  # nothing has been measured
    if json.loads(text).get("model_version") == model_version:
        write_public(new / "benchmark.json", text)


def _replace(new: Path, out: Path) -> None:
    """Put `new` where `out` is; the old folder goes last."""
    old = new.parent / "old"
    if out.exists():
        out.rename(old)
    new.chmod(0o755)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
