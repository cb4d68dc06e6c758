"""The tables of the training by several lenders, as text and as Markdown in a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.measure.text_tables import Table, markdown, plain, replaced

BEGIN, END = "<!-- measured federated: begin -->", "<!-- measured federated: end -->"
_MODELS = {
    "ours": "trained together (this protocol)",
    "pooled": "XGBoost on pooled rows",
    "bagging": "bagging of whole trees",
}
_BUSY = 0.5
"""Load average before the run from which other processes may have slowed it down."""


def tables(result: dict[str, Any]) -> list[Table]:
    """Return the costs of the trainings, and the models."""
    found = [_costs(result["trainings"])]
    with_models = [one for one in result["trainings"] if "models" in one]
    return [*found, _models(with_models)] if with_models else found


def text(result: dict[str, Any]) -> str:
    """Return the result for the terminal."""
    return "\n\n".join([*map(plain, tables(result)), conditions(result)])


def section(result: dict[str, Any]) -> str:
    """Return the result as Markdown between its marks."""
    parts = [*map(markdown, tables(result)), conditions(result)]
    return f"{BEGIN}\n" + "\n\n".join(parts) + f"\n{END}"


def replace_table(document: Path, result: dict[str, Any]) -> None:
    """Replace the section between its marks, if the document has them."""
    old = document.read_text(encoding="utf-8")
    document.write_text(replaced(old, BEGIN, END, section(result)), encoding="utf-8")


def conditions(result: dict[str, Any]) -> str:
    """Return a sentence on the run and its machine."""
    place = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    busy = ""
    if result["load_before"] > _BUSY:
        busy = (
            f" Other processes were running (load average {result['load_before']}), so that "
            "times are longer than on an idle machine."
        )
    return (
        f"{result['trees']} trees of depth 3, {result['rows_each']} rows of each lender; all "
        f"processes on one machine: {place}.{busy}"
    )


def _costs(trainings: list[dict[str, Any]]) -> Table:
    head = ("", *(f"{one['lenders']} lenders" for one in trainings))

    def row(name: str, key: str, scale: float, digits: int) -> tuple[str, ...]:
        return (name, *(f"{one[key] * scale:.{digits}f}" for one in trainings))

    return Table(
        head,
        [
            row("start to model, s", "seconds", 1, 1),
            row("secure sums", "levels", 1, 0),
            row("a secure sum, ms", "sum_seconds", 1e3, 0),
            row("coordinator, ms CPU a sum", "coordinator_cpu_seconds", 1e3, 1),
            row("server, ms CPU a sum", "server_cpu_seconds", 1e3, 1),
            row("a lender, ms CPU a sum", "lender_cpu_seconds", 1e3, 1),
            row("a lender sends, KB a sum", "sent_bytes", 1e-3, 1),
            row("a lender receives, KB a sum", "received_bytes", 1e-3, 1),
            row("lenders away meanwhile", "drop_outs", 1, 0),
            *_equality(trainings),
        ],
    )


def _equality(trainings: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows on pooled training, if it was measured for all."""
    if not all("models" in one for one in trainings):
        return []
    ours = [one["models"][0] for one in trainings]
    splits = (f"{own['same_splits']} of {own['splits']}" for own in ours)
    return [
        ("equal to pooled training", *("yes" if own["equal"] else "NO" for own in ours)),
        ("splits of XGBoost's first 20 trees", *splits),
    ]


def _models(trainings: list[dict[str, Any]]) -> Table:
    head = ("", "lenders", "trees", "AUC", "FHE products", "decision, s", "training, s")
    rows: list[tuple[str, ...]] = []
    for training in trainings:
        for model in training["models"]:
            own = training["seconds"] if model["model"] == "ours" else model["seconds"]
            products = model["products"]
            rows.append(
                (
                    _MODELS[model["model"]],
                    str(training["lenders"]),
                    str(model["trees"]),
                    f"{model['auc']:.4f}",
                    "not compiled" if products is None else str(products),
                    "-" if products is None else f"{model['decide_seconds']:.3f}",
                    f"{own:.1f}",
                )
            )
    return Table(head, rows)
