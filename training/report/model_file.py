"""The model file for the people who manage model risk, as Markdown and PDF.

It is headed after SR 26-2, which replaced SR 11-7 in April 2026 and is referred to by name only:
nothing here says that the file satisfies it. The file is public with the deployment, so it has no
row of data.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engines.deployment import MANIFEST, Manifest, write_public
from features.schema import CategoricalColumn, Column, OrdinalColumn, Schema
from model.program import Program
from training.deployment_folder import MODEL_FILE, MODEL_FILE_PDF
from training.model_card import limits, method
from training.report.document import Block, Heading, Items, Table, Text, markdown
from training.report.laws import ColumnLaws, general_laws, laws_of, note
from training.report.pdf import pdf
from training.report.validation_text import (
    calibration_blocks,
    fairness_blocks,
    group_table,
    quality_blocks,
    stability_blocks,
)

_MOST_BYTES = 4 << 20
_UNMEASURED = (
    "Not measured: no validation of this booster was recorded. Run `training.evaluate` with "
    "labelled rows (--data) before anybody relies on the model."
)


def write_model_file(
    folder: Path,
    replaced: Path,
    metrics: dict[str, Any] | None,
    manifest: Manifest,
    programs: dict[str, Program],
    check: str,
) -> None:
    """Write the file into a new deployment `folder`, which will replace folder `replaced`.

    `metrics` are those of training, or None for an imported booster; `check` describes the
    comparison with XGBoost.
    """
    schema = Schema.load(folder / "schema.json")
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    previous = previous_manifest(replaced)
    blocks = model_file(schema, metrics, manifest, digest, programs, check, previous)
    title = f"Model file: {schema.title}"
    foot = f"Triseal. {title[:80]}. Model version {manifest.model_version}"
    write_public(folder / MODEL_FILE, markdown(blocks).encode())
    write_public(folder / MODEL_FILE_PDF, pdf(blocks, title, foot))


def previous_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of the deployment in a folder; None without one that can be read."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def model_file(
    schema: Schema,
    metrics: dict[str, Any] | None,
    manifest: Manifest,
    manifest_digest: str,
    programs: dict[str, Program],
    check: str,
    previous: Manifest | None,
) -> list[Block]:
    """Return the sections of the file."""
    return [
        Heading(f"Model file: {schema.title}", 1),
        Text(
            f"Model version `{manifest.model_version}`, schema `{schema.name}`. Headed after SR "
            "26-2, which replaced SR 11-7 in April 2026; it is named for orientation, and nothing "
            "here says that the file satisfies it. Sections that need the lender's own words say "
            "so."
        ),
        *_purpose(schema),
        *_data(schema, metrics),
        *_laws(schema),
        Heading("Method"),
        Text(method(schema, metrics, manifest, programs)),
        Text(check),
        *_decision_rule(metrics),
        Heading("Limits"),
        Items(tuple(limits(schema))),
        *_validation(metrics),
        *_reasons(schema),
        *_changes(manifest, previous),
        *_digests(manifest, manifest_digest),
    ]


def _purpose(schema: Schema) -> list[Block]:
    decision = schema.decision
    parties = "; ".join(
        f"{party.label} ({len(party.columns)} inputs)"
        + (", decides" if party.name == schema.lender.name else "")
        for party in schema.parties
    )
    proposals = f"{decision.approved} or {decision.denied}"
    if decision.refer_below is not None:
        proposals = (
            f"{decision.approved}, {decision.referred} (from {decision.refer_below:.2f} log-odds "
            f"below the cut-off on) or {decision.denied}"
        )
    blocks: list[Block] = [
        Heading("Purpose and use"),
        Text(
            f"The model proposes {proposals} for one application. "
            "The inputs of the parties are encrypted, and the result is opened by all of them "
            f"together. Parties: {parties}."
        ),
    ]
    if schema.description:
        blocks.append(Text(f"Description of the schema: {schema.description}"))
    blocks.append(
        Text(
            "For the lender to add: the product and the customers, the owner of the model, the "
            "people who approve its use, the share of decisions that a person reviews, and the "
            "plan for monitoring."
        )
    )
    return blocks


def _data(schema: Schema, metrics: dict[str, Any] | None) -> list[Block]:
    if metrics is None:
        text = "The booster was trained elsewhere and imported; its training data is unknown here."
    else:
        data = metrics["data"]
        text = (
            f"Source: {data['source']}; {data['rows']:,} rows, {data['approved_share']:.1%} "
            f"{schema.decision.approved}; target `{data['target']}`."
        )
    return [Heading("Data"), Text(text)]


def _laws(schema: Schema) -> list[Block]:
    found = laws_of(schema)
    owners = {column.name: party.label for party in schema.parties for column in party.columns}
    columns = {column.name: column for column in schema.columns()}
    named = dict.fromkeys(law for own in found for law in own.laws)
    how = (
        "The columns of this schema are listed in the map one by one."
        if all(own.listed for own in found)
        else "Columns are matched by words in their names and labels: a lawyer has to confirm it."
    )
    return [
        Heading("Inputs and legal basis"),
        Text(f"{note()} {how}"),
        Table(
            ("input", "known to", "encoding", "subject", "use", "laws"),
            tuple(_input(own, owners[own.column], columns[own.column]) for own in found),
            widths=(2, 1.6, 1.8, 1.8, 1.3, 3.2),
        ),
        Text("Every input is personal data of a credit decision:"),
        Items(tuple(f"{title}: {says}" for title, says in general_laws())),
        *([Text("Laws of single inputs:")] if named else []),
        *([Items(tuple(f"{title}: {says}" for title, says in named))] if named else []),
        Text(
            "For the lender to add: the legal basis that is relied on for each input, and the "
            "source of each value."
        ),
    ]


def _input(own: ColumnLaws, owner: str, column: Column) -> tuple[str, ...]:
    titles = dict.fromkeys(title for title, _ in own.laws)
    return (
        column.label if column.label == own.column else f"{own.column} ({column.label})",
        owner,
        _encoding(column),
        ", ".join(own.subjects) or "not recognised",
        own.verdict,
        "; ".join(titles) or "the general ones",
    )


def _encoding(column: Column) -> str:
    missing = ", may be missing" if column.optional else ""
    if isinstance(column, OrdinalColumn):
        monotone = "" if column.monotone == "free" else f", {column.monotone}"
        return f"{len(column.cuts) + 1} public bins{monotone}{missing}"
    if isinstance(column, CategoricalColumn):
        return f"{len(column.values)} categories{missing}"
    return f"yes or no{missing}"


def _decision_rule(metrics: dict[str, Any] | None) -> list[Block]:
    """Return the rule that training folded into the booster, if it recorded one."""
    rule = (metrics or {}).get("decision_rule")
    if not isinstance(rule, dict):
        return [Text("Decision rule: approved if the log-odds of approval are above 0.")]
    facts = ", ".join(
        f"{key.replace('_', ' ')} {_fact(value)}"
        for key, value in rule.items()
        if isinstance(value, str | int | float)
    )
    return [Text(f"Decision rule, folded into the booster: {facts}.")]


def _fact(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _validation(metrics: dict[str, Any] | None) -> list[Block]:
    if metrics is None:
        return [Heading("Validation, stability and fairness"), Text(_UNMEASURED)]
    report = metrics.get("validation")
    if report is not None:
        return [
            *quality_blocks(report),
            *calibration_blocks(report),
            *stability_blocks(report["stability"]),
            *fairness_blocks(report | {"groups": metrics["groups"]}),
        ]
    test = metrics["test"]
    blocks: list[Block] = [
        Heading("Validation"),
        Text(
            f"AUC {test['auc']:.4f} and accuracy {test['accuracy']:.4f} on {test['rows']:,} test "
            "rows. The training recorded no intervals, calibration or stability: train again, or "
            "run `training.evaluate`."
        ),
        Heading("Fairness: outcomes by group"),
    ]
    for column, groups in metrics["groups"].items():
        blocks += [Heading(column, 3), group_table(groups)]
    if not metrics["groups"]:
        blocks.append(Text("The schema lists no columns to report on (`audit`)."))
    return blocks


def _reasons(schema: Schema) -> list[Block]:
    given = "The schema's own list." if schema.reasons else "One for each input, by default."
    return [
        Heading("Reasons for a denial"),
        Text(f"The reasons that a statement may give (12 CFR 1002.9(b)(2)). {given}"),
        Table(
            ("reason", "inputs", "wording", "other languages"),
            tuple(
                (
                    reason.name,
                    ", ".join(reason.columns),
                    reason.text,
                    ", ".join(sorted(reason.texts)) or "none",
                )
                for reason in schema.stated_reasons
            ),
            widths=(2, 2.4, 4, 1.4),
        ),
    ]


def _changes(manifest: Manifest, previous: Manifest | None) -> list[Block]:
    """Return the change log: this version, and the deployment that it replaced."""
    blocks: list[Block] = [Heading("Change log")]
    if previous is None or previous.model_version == manifest.model_version:
        # Compiling a model again gives the same file.
        text = f"`{manifest.model_version}`: its compilation replaced no other model version."
        return [*blocks, Text(text)]
    names = sorted({*manifest.files, *previous.files})
    changed = [n for n in names if manifest.files.get(n) != previous.files.get(n)]
    engines = ", ".join(sorted(previous.engines)) or "none"
    return [
        *blocks,
        Text(
            f"`{manifest.model_version}` replaced `{previous.model_version}`, which was compiled "
            f"for {engines}. Files that differ: {', '.join(changed) or 'none'}."
        ),
        Table(
            ("file", "SHA-256 in the replaced version"),
            tuple((n, previous.files[n]) for n in _named(previous)),
            widths=(2, 5),
        ),
    ]


def _digests(manifest: Manifest, manifest_digest: str) -> list[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return [
        Heading("Digests"),
        Text(f"Compiled with {versions}. Fingerprint of the schema: {manifest.schema_fingerprint}"),
        Table(
            ("file", "SHA-256"),
            (
                *((name, manifest.files[name]) for name in _named(manifest)),
                (MANIFEST, manifest_digest),
            ),
            widths=(2, 5),
        ),
    ]


def _named(manifest: Manifest) -> list[str]:
    """Return booster, schema and programs; the manifest has the digests of all other files."""
    return [n for n in manifest.files if n.endswith(".json") and "concrete" not in n]
