"""The validation report for people: blocks of a document from its JSON values."""

from __future__ import annotations

from typing import Any

from training.report.document import Block, Heading, Items, Table, Text
from training.report.fairness import FOUR_FIFTHS
from training.report.groups import SMALLEST
from training.report.stability import LARGE, SMALL

_NONE = "not computable"
FEW = "too few rows"


def validation_blocks(report: dict[str, Any]) -> list[Block]:
    """Return the sections of a report: quality, decisions, calibration, stability, groups."""
    return [
        *quality_blocks(report),
        *calibration_blocks(report),
        *stability_blocks(report["stability"]),
        *fairness_blocks(report),
    ]


def quality_blocks(report: dict[str, Any]) -> list[Block]:
    """Return the sections on separation and decisions."""
    rows, quality, decisions = report["rows"], report["quality"], report["decisions"]
    lines = [
        ("AUC (DeLong)", _text(quality["auc"])),
        ("Gini", _text(quality["gini"])),
        ("KS", _text(quality["ks"])),
        ("Brier score", _text(quality["brier"])),
        ("Brier score of a constant prediction", f"{quality['brier_of_the_mean']:.4f}"),
        ("Approved", _percent(decisions["approved"])),
        ("Bad rate of all rows", _percent(decisions["bad_rate"])),
        ("Bad rate of approved rows", _percent(decisions["bad_rate_of_approved"])),
        ("Bad rate of denied rows", _percent(decisions["bad_rate_of_denied"])),
        *(
            (
                ("Referred to a person", _percent(decisions["referred"])),
                ("Bad rate of referred rows", _percent(decisions["bad_rate_of_referred"])),
            )
            if "referred" in decisions
            else ()
        ),
        (
            "Decisions equal to the float model's",
            _percent(decisions["agreement_with_float_model"]),
        ),
    ]
    return [
        Heading("Validation: quality and decisions"),
        Text(
            f"{rows['count']:,} rows ({rows['source']}): {rows['good']:,} good, {rows['bad']:,} "
            "bad. Decisions and ranks are those of the integer program that runs encrypted. In "
            "brackets: 95 % intervals (AUC: DeLong; shares: Wilson; KS: bootstrap)."
        ),
        Table(("", "value (95 % interval)"), tuple(lines), numbers=1, widths=(2, 2)),
    ]


def calibration_blocks(report: dict[str, Any]) -> list[Block]:
    """Return the section on predicted and observed default rates."""
    calibration = report["calibration"]
    return [
        Heading("Validation: calibration"),
        Text(
            f"Probabilities of default: {calibration['source']}. Rows in the order of the "
            "predicted probability."
        ),
        Table(
            ("rows", "predicted default", "observed default (95 % interval)"),
            tuple(
                (
                    f"{line['rows']:,}",
                    f"{line['predicted']:.1%}",
                    f"{line['observed']:.1%} ({line['low']:.1%} to {line['high']:.1%})",
                )
                for line in calibration["bins"]
            ),
            numbers=3,
        ),
    ]


def stability_blocks(stability: dict[str, Any] | None) -> list[Block]:
    """Return the section on the population stability index."""
    if stability is None:
        return [
            Heading("Stability"),
            Text(
                "Not computed, because the training rows are not known here. The option --model "
                "of `training.evaluate` names the folder of the trained model, which has them."
            ),
        ]
    training = stability["training_auc"]
    return [
        Heading("Stability"),
        Text(
            f"Population stability index (PSI) between {stability['training_rows']:,} rows of "
            f"training (AUC {_text(training)}) and the measured rows. By the industry's rule of "
            f"thumb, below {SMALL:.2f} is stable, and {LARGE:.2f} or more is a large shift "
            "(N. Siddiqi, Credit Risk Scorecards, 2006). Chance: 95 % of samples of one "
            "distribution stay below this value at these sizes, so a higher index is more than "
            "chance."
        ),
        Table(
            ("", "bins", "PSI", "chance", "rule of thumb"),
            tuple(
                (
                    line["name"],
                    str(line["bins"]),
                    f"{line['psi']:.4f}",
                    f"{line['chance']:.4f}",
                    line["verdict"]
                    + (" (within chance)" if 0 < line["psi"] <= line["chance"] else ""),
                )
                for line in stability["columns"]
            ),
            numbers=4,
            widths=(3, 1, 1.4, 1.4, 3),
        ),
    ]


def fairness_blocks(report: dict[str, Any]) -> list[Block]:
    """Return the section on groups."""
    blocks: list[Block] = [Heading("Fairness: outcomes by group")]
    if report["groups"]:
        blocks.append(
            Text(
                "Impact ratio: the approval rate divided by that of the reference group, the one "
                f"of at least {SMALLEST} rows with the highest rate. Below {FOUR_FIFTHS:.2f} the "
                "four-fifths rule of US employment guidance (29 CFR 1607.4 D) sees adverse "
                "impact; lenders use it as a convention. Score difference: mean score minus that "
                "of the reference, in standard deviations of all rows. Opportunity difference: "
                "share approved of good applicants, minus that of the reference. In brackets: "
                "95 % intervals (bootstrap, 1,000 resamples; shares: Wilson). Ages are in bands, "
                "other numbers in quarters; a band of fewer rows is joined with its neighbour, so "
                "that one from 62 (12 CFR 1002.2(o)) needs as many."
            )
        )
    for column, groups in report["groups"].items():
        blocks += [Heading(column, 3), group_table(groups)]
        found = report.get("group_summaries", {}).get(column)
        if found is not None:
            blocks.append(
                Text(
                    f"Over the groups of at least {SMALLEST} rows (fairlearn): demographic parity "
                    f"ratio {found['demographic_parity_ratio']:.3f}, equal opportunity difference "
                    f"{found['equal_opportunity_difference']:.3f}."
                )
            )
        elif sum(not group["few"] for group in groups) < 2:
            blocks.append(Text(f"Fewer than two groups have {SMALLEST} rows: nothing to compare."))
    if not report["groups"]:
        blocks.append(Text("No audited column (`audit`, `audit_columns`) is known of these rows."))
    if report["not_audited"]:
        blocks.append(
            Items(
                tuple(
                    f"{name} is audit-only and the rows do not have it: its groups are unknown."
                    for name in report["not_audited"]
                )
            )
        )
    return blocks


def group_table(groups: list[dict[str, Any]]) -> Table:
    """Return the table of one column's groups, of this version or of an earlier one."""
    heads = (
        "group",
        "rows",
        "approved in data",
        "approved by model",
        "good denied",
        "impact ratio",
        "score difference",
        "opportunity difference",
    )
    return Table(
        heads,
        tuple(
            (
                group["group"] + (" (reference)" if group.get("reference") else ""),
                f"{group['rows']:,}",
                f"{group['approved_in_data']:.1%}",
                _ranged(group, "approved_by_model", ".1%"),
                _ranged(group, "missed", ".1%", "no good rows"),
                _ranged(group, "impact_ratio", ".2f"),
                _ranged(group, "mean_difference", "+.2f"),
                _ranged(group, "opportunity_difference", "+.3f"),
            )
            for group in groups
        ),
        numbers=7,
        widths=(2.2, 0.9, 1.2, 2, 2, 2, 2, 2.2),
    )


def _ranged(group: dict[str, Any], key: str, form: str, absent: str = "") -> str:
    value = group.get(key)
    if value is None:
        return absent or (FEW if group.get("few") else _NONE)
    if key not in group.get("intervals", {}):
        return format(value, form)
    low, high = group["intervals"][key]
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _text(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return _NONE
    return f"{estimate['value']:.4f} ({estimate['low']:.4f} to {estimate['high']:.4f})"


def _percent(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "no such rows"
    return f"{estimate['value']:.2%} ({estimate['low']:.2%} to {estimate['high']:.2%})"
