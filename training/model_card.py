"""The model card: the data, the quality of the model, outcomes of groups, and limits.

The headings follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
"""

from __future__ import annotations

from typing import Any

from engines.deployment import Manifest
from features.schema import Schema
from model.program import Program
from training.report.document import Items, markdown
from training.report.groups import SMALLEST
from training.report.laws import KEPT_OUT, RESTRICTED, laws_of, meaning
from training.report.validation_text import group_table

_DEMONSTRATIONS = {"credit_card_demo", "credit_card_fair_lending", "german_credit"}
"""Names of the shipped schemas, which are no lender's."""

_SPLIT = "60 % training, 20 % validation, 20 % test."
_REFERENCE = "float reference (100 x depth 3)"

_UNMEASURED = [
    "## Data",
    "",
    "The booster was trained elsewhere and imported; its training data is unknown.",
    "",
    "## Quality",
    "",
    "Not measured, because no held-out rows of this booster are available. Measure its quality and "
    "the outcomes of groups of applicants before you rely on it.",
]


def model_card(
    schema: Schema,
    metrics: dict[str, Any] | None,
    manifest: Manifest,
    programs: dict[str, Program],
    check: str,
) -> str:
    """Return the card as Markdown, from the metrics of training and the compiled programs.

    `metrics` is None for an imported booster, which has no measurements. `check` describes the
    comparison with XGBoost.
    """
    lines = [
        f"# Model card: {schema.title}",
        "",
        f"Model version `{manifest.model_version}`, schema `{schema.name}`.",
        "",
        "## Model",
        "",
        method(schema, metrics, manifest, programs),
        "",
        check,
        "",
    ]
    lines += _UNMEASURED if metrics is None else _measured(schema, metrics)
    return "\n".join([*lines, "", "## Limits", "", markdown([Items(tuple(limits(schema)))])])


def method(
    schema: Schema,
    metrics: dict[str, Any] | None,
    manifest: Manifest,
    programs: dict[str, Program],
) -> str:
    """Return the paragraph on the trees, the integer programs and their rounding."""
    decide = programs["decide"]
    shape = "imported" if metrics is None else metrics["shape"]
    together = metrics is not None and "federated" in metrics
    kind = "Gradient-boosted trees in XGBoost's format" if together else "XGBoost"
    return (
        f"{kind}, {shape}, on the public bins of the schema, compiled to integer "
        f"programs with scores of {decide.score_bits} bits: {len(decide.polynomial)} terms and "
        f"{len(decide.plan.lookups)} encrypted table lookups for a decision, "
        f"{len(programs['explain'].plan.lookups)} for an explanation of all "
        f"{len(programs['explain'].outputs)} bins. A score of 0 or more means "
        f"{schema.decision.approved}. For every input the score differs from the scaled log-odds "
        f"of the trained model by at most {decide.rounding_bound:.2f} units "
        f"(one unit of log-odds is {decide.scale:.2f} units), and no input leaves the range from "
        f"{decide.low} to {decide.high}.{_own_width(manifest)}"
    )


def _referred(schema: Schema, test: dict[str, Any]) -> list[str]:
    """Return the sentence on the test rows in the grey zone, if the model has one."""
    if test.get("referred_share") is None:
        return []
    bad = test["bad_rate_referred"]
    return [
        f"{test['referred_share']:.1%} of the test rows are {schema.decision.referred}"
        + ("." if bad is None else f"; their bad rate is {bad:.1%}."),
        "",
    ]


def _measured(schema: Schema, metrics: dict[str, Any]) -> list[str]:
    """Return the sections on data, quality and groups."""
    data, test, together = metrics["data"], metrics["test"], metrics.get("federated")
    lines = [
        "## Data",
        "",
        f"Source: {data['source']}; {data['rows']:,} rows, {data['approved_share']:.1%} "
        f"{schema.decision.approved}; target `{data['target']}`; "
        + (data.get("split", _SPLIT) if together is None else _unseen(together)),
        "",
        *(_together(together) if together is not None else ()),
        "## Quality on the test rows",
        "",
        f"| | {_REFERENCE if together is None else 'the model itself'} | opened integer score |",
        "|---|---|---|",
        f"| AUC | {test['reference_auc']:.4f} | {test['auc']:.4f} |",
        f"| accuracy | {test['reference_accuracy']:.4f} | {test['accuracy']:.4f} |",
        "",
        *_referred(schema, test),
        *(("![frontier](frontier.png)", "") if together is None else ()),
        "## Outcomes by group",
        "",
        "Shares of the test rows. Ages are in bands, other numbers in quarters, and groups of "
        f"fewer than {SMALLEST} rows are joined or not compared. Good denied: good applicants that "
        "the model denied. Impact ratio: the approval rate divided by the highest rate of a group "
        f"of at least {SMALLEST} rows; below 0.80 the four-fifths rule of US employment guidance "
        "(29 CFR 1607.4 D) sees adverse impact. In brackets: 95 % intervals.",
    ]
    for column, groups in metrics["groups"].items():
        lines += ["", f"### {_label(schema, column)}", "", markdown([group_table(groups)]).rstrip()]
    if not metrics["groups"]:
        lines += ["", "The schema lists no columns to report on (`audit`)."]
    return lines


def limits(schema: Schema) -> list[str]:
    """Return the limits of a model, one sentence or more each, as its schema has them."""
    texts = []
    if schema.name in _DEMONSTRATIONS:
        texts.append("This is a demonstration. It must not be used for real credit decisions.")
    else:
        texts.append(
            "The model holds for applicants like those of its training data. Validate it again "
            "before it is used for others, and monitor its stability."
        )
    for verdict in (KEPT_OUT, RESTRICTED):
        names = [found.column for found in laws_of(schema) if found.verdict == verdict]
        if names:
            texts.append(
                f"Inputs {meaning(verdict)}, by the map of laws in the model file, which a lawyer "
                f"has to confirm: {', '.join(names)}."
            )
    return [
        *texts,
        "A denial requires a statement of specific principal reasons (12 CFR 1002.9). A "
        "counterfactual explanation is a likelihood under this model and does not replace it.",
        "Under GDPR Art. 22 and the EU AI Act (Annex III, 5b) scoring of natural persons is "
        "restricted and high-risk: the deployer must provide human review, documentation and "
        "monitoring.",
        "Encryption protects the inputs. It does not make a model fair, and a party that can make "
        "many requests can learn about the model from the results.",
    ]


def _label(schema: Schema, column: str) -> str:
    columns = (*schema.columns(), *schema.audit_columns)
    return next((c.label for c in columns if c.name == column and c.label), column)


def _unseen(together: dict[str, Any]) -> str:
    """Return a sentence on the rows that measure a model of several lenders."""
    share = together["validation_share"]
    if not share:
        return "all measure the model, and any of them may have been trained on."
    return (
        f"{share:.0%} of them, by a hash of their content, measure the model; no lender has grown "
        "a tree on such rows."
    )


def _together(together: dict[str, Any]) -> list[str]:
    """Return the section on a training by several lenders."""
    auc = together["validation_auc"]
    lines = [
        "## Training by several lenders",
        "",
        f"{len(together['lenders'])} lenders trained the model together on "
        f"{together['training_rows']:,} rows; each row stayed with its lender, and only sums over "
        "at least three lenders were opened. "
        + ("" if auc is None else f"AUC of all lenders' validation rows: {auc:.4f}. ")
        + f"Trees that ended early because a lender was lost: {together['trees_ended_early']}. "
        f"SHA-256 of the training's `record.json`: `{together['record_sha256']}`.",
        "",
        "| lender | trees grown on its rows |",
        "|---|---|",
    ]
    lines += [f"| {name} | {trees} |" for name, trees in together["lenders"].items()]
    return [*lines, ""]


def _own_width(manifest: Manifest) -> str:
    """Return a sentence on the levelled engine, if the model is compiled for it."""
    recorded = manifest.engines.get("levelled")
    if recorded is None:
        return ""
    return (
        f" The levelled engine runs programs of its own, with scores of {recorded['score_bits']} "
        f"bits and {recorded['external_products']['decide']} external products for a decision."
    )
