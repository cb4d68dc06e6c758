"""The validation report of a deployment: its rows, its programs, and the files of the report."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from engines.deployment import Deployment
from engines.interface import DECIDE
from training.compile import training_rows
from training.held_out import HeldOut
from training.report.document import Block, Heading, Text, markdown
from training.report.plots import calibration_plot
from training.report.validation import LabelledRows, Results, validation
from training.report.validation_text import validation_blocks
from utils.atomic_files import PRIVATE_FOLDER, write_atomic
from utils.errors import DeploymentMissing, DeploymentMixed, TrainingDataInvalid

REPORT_JSON, REPORT_TEXT, PLOT = "validation.json", "validation.md", "calibration.png"
_ENGINE = "levelled"


def validation_report(
    deployment: Deployment, rows: HeldOut, model: Path | None = None
) -> dict[str, Any]:
    """Return the report of labelled rows under the programs of the levelled engine.

    Of a deployment without this engine, the common programs are measured. `model` is the folder of
    the trained model, for the training rows. Raises DeploymentMissing and DeploymentMixed for
    another folder, TrainingDataInvalid without labels, and ValueOutOfDomain.
    """
    if rows.y is None:
        raise TrainingDataInvalid("A report needs labelled rows: name them with --data.")
    training = rows.training if model is None else _training(deployment, model)
    program = deployment.programs_of(_ENGINE)[DECIDE]
    booster = (deployment.folder / "booster.json").read_bytes()
    results = partial(Results.of, program, booster, deployment.schema)

    report = validation(
        deployment.layout,
        LabelledRows(rows.bits, rows.y, rows.source, rows.frame),
        results(rows.bits),
        None if training is None else (*training, results(training[0])),
        _metrics(deployment).get("calibration"),
    )
    return {
        "model_version": deployment.manifest.model_version,
        "schema": deployment.schema.name,
        "title": deployment.schema.title,
        "score_bits": program.score_bits,
        **report,
    }


def _training(deployment: Deployment, model: Path) -> Any:
    """Return the rows in the folder of the trained model, which must be the deployed one."""
    try:
        booster = (model / "booster.json").read_bytes()
    except OSError as error:
        raise DeploymentMissing(
            f"There is no trained model in {model}; name the folder that training.train wrote."
        ) from error
    digests = {
        hashlib.sha256(data).hexdigest()
        for data in (booster, (deployment.folder / "booster.json").read_bytes())
    }
    if len(digests) > 1:
        raise DeploymentMixed(
            f"The model in {model} is not the deployed one; name its own folder with --model, or "
            "compile this model first."
        )
    return training_rows(model, deployment.layout)


def _metrics(deployment: Deployment) -> dict[str, Any]:
    path = deployment.folder / "metrics.json"
    document = json.loads(path.read_bytes()) if path.is_file() else {}
    return document if isinstance(document, dict) else {}


def report_markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    blocks: list[Block] = [
        Heading(f"Validation: {report['title']}", 1),
        Text(
            f"Model version `{report['model_version']}`, schema `{report['schema']}`, scores of "
            f"{report['score_bits']} bits."
        ),
        *validation_blocks(report),
    ]
    return markdown(blocks)


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write the report as JSON and Markdown, and its calibration plot, to folder `out`."""
    out.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    plot = calibration_plot(report["calibration"]["bins"], report["title"])
    text = f"{report_markdown(report)}\n![calibration]({PLOT})\n"
    write_atomic(out / PLOT, plot)
    write_atomic(out / REPORT_TEXT, text.encode())
    write_atomic(out / REPORT_JSON, (json.dumps(report, indent=2) + "\n").encode())
