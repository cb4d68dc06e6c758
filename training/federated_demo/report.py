"""The demonstration's result as a table on the terminal, and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from federated.agents.progress import LenderView
from training.federated import trees_by_lender
from training.federated_demo.comparison import COMPARED_TREES, Comparison
from training.federated_demo.decisions import Decisions
from training.federated_demo.joint_training import Trained
from training.measure.text_tables import Table, plain


@dataclass(frozen=True)
class Result:
    """All that the demonstration has found; `rows` are those of each lender's file."""

    rows: dict[str, int]
    trained: Trained
    comparison: Comparison
    decisions: Decisions
    compile_seconds: float


def document(result: Result) -> dict[str, Any]:
    """Return the result for a JSON file."""
    record = result.trained.run.record
    return {
        "lenders": [
            {
                "name": one.name,
                "rows": result.rows[one.name],
                "trees": trees_by_lender(record).get(one.name, 0),
                "drop_outs": one.drop_outs,
                "sent_bytes": one.bytes,
                "auc_alone": result.comparison.alone_auc[one.name],
            }
            for one in result.trained.lenders
        ],
        "trees": len(record.trees),
        "trees_ended_early": sum(tree.ended_early for tree in record.trees),
        "levels": levels(result.trained),
        "seconds": result.trained.seconds,
        "validation_auc": record.auc,
        "record_sha256": result.trained.run.digest,
        "comparison": asdict(result.comparison),
        "compile_seconds": result.compile_seconds,
        "decisions": asdict(result.decisions),
    }


def levels(trained: Trained) -> int:
    """Return the number of secure sums: the count, all levels, and the last validation scores."""
    record = trained.run.record
    return sum(tree.levels for tree in record.trees) + 1 + (record.plan.validation_share > 0)


def text(result: Result) -> str:
    """Return the result for the terminal."""
    return "\n".join([plain(_lenders(result)), "", *_lines(result)])


def _lenders(result: Result) -> Table:
    compared, record = result.comparison, result.trained.run.record
    head = ("lender", "rows", "trees", "drop-outs", "KB sent", "KB a level", "AUC alone")
    by_name = {one.name: one for one in result.trained.lenders}
    rows = [_lender(result, by_name[name]) for name in result.rows]
    sent = sum(one.bytes for one in result.trained.lenders)
    drop_outs = sum(one.drop_outs for one in result.trained.lenders)
    trees = str(len(record.trees))
    total = str(sum(result.rows.values()))
    own = (trees, str(drop_outs), _kilobytes(sent), "")
    return Table(
        head,
        [
            *rows,
            ("together (this training)", total, *own, f"{compared.auc:.4f}"),
            ("pooled (XGBoost hist)", total, trees, "", "", "", f"{compared.xgboost_auc:.4f}"),
        ],
    )


def _lender(result: Result, one: LenderView) -> tuple[str, ...]:
    trained = result.trained
    return (
        one.name,
        str(result.rows[one.name]),
        str(trees_by_lender(trained.run.record).get(one.name, 0)),
        str(one.drop_outs),
        _kilobytes(one.bytes),
        f"{one.bytes / 1e3 / levels(trained):.1f}",
        f"{result.comparison.alone_auc[one.name]:.4f}",
    )


def _lines(result: Result) -> list[str]:
    trained, compared, decisions = result.trained, result.comparison, result.decisions
    record = trained.run.record
    early = sum(tree.ended_early for tree in record.trees)
    equal = "yes, byte for byte" if compared.equal else "NO"
    return [
        f"AUC on {compared.rows} rows of all regions that no lender has",
        f"trained             in {trained.seconds:.1f} s, {levels(trained)} secure sums; "
        f"{early} of {len(record.trees)} trees ended early",
        f"equal to pooled     {equal} (training by plain sums over the rows, by the record)",
        f"beside XGBoost      {compared.same} of {compared.splits} splits of its first "
        f"{COMPARED_TREES} trees are the same",
        f"compiled            in {result.compile_seconds:.1f} s: {decisions.external_products} "
        "FHE products (external products of ciphertexts) a decision",
        f"decided encrypted   {len(decisions.approved)} applicants, {sum(decisions.approved)} "
        f"approved; {decisions.seconds:.2f} s each with new joint keys, of which the evaluation "
        f"takes {decisions.evaluation_seconds:.2f} s",
        f"record              SHA-256 {trained.run.digest}",
    ]


def _kilobytes(count: int) -> str:
    return f"{count / 1e3:.0f}"
