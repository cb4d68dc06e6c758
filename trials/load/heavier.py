"""A model large enough that its evaluation, rather than its overhead, keeps the cores busy.

The default model is evaluated in a hundredth of a second, less than the transfer of its inputs. To
measure calls while evaluations saturate the cores, an unmodified XGBoost model of many deep trees
is compiled for the levelled engine. Its leaves are rounded separately, as in
training/measure/scaling.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from engines.deployment import (
    MANIFEST,
    Deployment,
    program_file,
    write_manifest,
    write_public,
)
from engines.levelled.build import build
from engines.levelled.messages import NAME
from model.booster import parse_ensemble
from model.plan import make_plan
from model.polynomial import sample_states
from model.program import Program
from training.measure.scaling import leafwise_programs
from training.measure.unmodified import rows_of_training, train_unmodified


def heavier(deployment: Path, trees: int, depth: int, folder: Path) -> Path:
    """Return the folder of the large deployment, which is made if missing (about two minutes).

    It has the schema of `deployment` and is trained on its rows. Raises DeploymentError, and
    ModelError if the model is too large for the noise budget.
    """
    loaded = Deployment.load(deployment)
    if (folder / MANIFEST).is_file():
        made = Deployment.load(folder)
        if made.manifest.schema_fingerprint == loaded.manifest.schema_fingerprint:
            return folder
    layout = loaded.layout
    booster = train_unmodified(*rows_of_training(loaded), trees, depth)
    ensemble = parse_ensemble(json.loads(booster), layout)

    def programs(width: int) -> dict[str, Program]:
        return {
            name: replace(
                program,
                plan=make_plan(program.polynomial, len(program.outputs), layout),
                extreme_rows=sample_states(layout, 1, 0),
            )
            for name, program in leafwise_programs(ensemble, layout, width).items()
        }

    write_public(folder / "schema.json", (deployment / "schema.json").read_bytes())
    write_public(folder / "booster.json", booster)
    facts = build(programs, layout, folder)
    for name in facts["external_products"]:
        write_public(folder / program_file(name), (folder / NAME / program_file(name)).read_bytes())
    write_manifest(folder, {NAME: facts})
    return folder
