"""The validation report of a deployment: its rows, its programs, and the files of the report."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from engines.deployment import Deployment
from engines.interface import DECIDE
from features.encoding import Bits
from training.calibration import Calibration, from_document
from training.compile import training_rows
from training.held_out import HeldOut
from training.models import Labels
from training.report.document import Block, Heading, Text, markdown
from training.report.plots import calibration_plot
from training.report.validation import LabelledRows, Results, validation
from training.report.validation_text import validation_blocks
from utils.atomic_files import PRIVATE_FOLDER, write_atomic
from utils.errors import DeploymentMissing, DeploymentMixed, TrainingDataInvalid

REPORT_JSON, REPORT_TEXT, PLOT = "validation.json", "validation.md", "calibration.png"
_ENGINE = "levelled"


def validation_report(deployment: Deployment, rows: HeldOut) -> dict[str, Any]:
    """Return the report of labelled rows under the programs of the levelled engine.

    Of a deployment without this engine, the common programs are measured. Raises
    TrainingDataInvalid without labels, DeploymentMixed for metrics of another form, and
    ValueOutOfDomain.
    """
    if rows.y is None:
        raise TrainingDataInvalid("A report needs labelled rows: name them with --data.")
    program = deployment.programs_of(_ENGINE)[DECIDE]
    booster = (deployment.folder / "booster.json").read_bytes()
    results = partial(Results.of, program, booster, deployment.schema)

    report = validation(
        deployment.layout,
        LabelledRows(rows.bits, rows.y, rows.source, rows.frame),
        results(rows.bits),
        None if rows.training is None else (*rows.training, results(rows.training[0])),
        _calibration(deployment),
    )
    return {
        "model_version": deployment.manifest.model_version,
        "schema": deployment.schema.name,
        "title": deployment.schema.title,
        "score_bits": program.score_bits,
        **report,
    }


def training_of(deployment: Deployment, model: Path) -> tuple[Bits, Labels]:
    """Return bits and labels of the training rows in the folder of the deployed model.

    Raises DeploymentMissing, and DeploymentMixed for the folder of another model.
    """
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


def _calibration(deployment: Deployment) -> Calibration | None:
    """Return the calibration that training recorded, if any."""
    path = deployment.folder / "metrics.json"
    if not path.is_file():
        return None
    try:
        return from_document(json.loads(path.read_bytes()).get("calibration"))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DeploymentMixed(
            f"The calibration in {path} cannot be read by this version; train and compile again."
        ) from error


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
