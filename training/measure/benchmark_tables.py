"""The benchmark's tables as text, and as Markdown between marks in a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.interface import DECIDE, EXPLAIN
from training.measure.levelled_tables import (
    LEVELLED,
    application_table,
    batch_table,
    byte_table,
    defence_table,
    levelled_table,
    noise_lines,
    scaling_table,
)
from training.measure.summary_table import summary_table
from training.measure.text_tables import Table, figure, labelled, markdown, plain, replaced

OURS, PEER = "concrete", "concrete_ml"
ENGINES = (OURS, PEER, LEVELLED)
PARTS = {
    "http": "the cost of HTTP besides Concrete's evaluation",
    "unmodified": "the levelled engine on XGBoost 40 x 3",
    "application": "a complete application over HTTP with the levelled engine",
    "scaling": "the levelled engine over trees, depth and applicants",
    "noise": "the levelled engine's noise against its model",
}
"""Parts measured in addition to the engines' runs; each can be skipped."""

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def comparison_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per figure of Concrete and Concrete ML; empty unless both were measured."""
    if not {OURS, PEER} <= result["engines"].keys():
        return []
    ours, peer = result["engines"][OURS], result["engines"][PEER]
    megabyte = 1e6

    def row(name: str, unit: str, own: Any, other: Any) -> dict[str, Any]:
        ratio = other / own if own and other else None
        return {"name": name, "unit": unit, "value": own, "concrete_ml": other, "ratio": ratio}

    def program(name: str, key: str) -> tuple[Any, Any]:
        return tuple(e[name][key] if e[name] else None for e in (ours, peer))  # type: ignore[return-value]

    recorded = (ours["recorded"], peer["recorded"])
    uploads = [sum(sum(sizes) for sizes in r["input_bytes"].values()) / 1e3 for r in recorded]
    # Absent from measurements of versions that loaded the key in the first evaluation.
    loading = [
        row("load the evaluation key", "s", *(e["key_loading_seconds"] for e in (ours, peer)))
        for _ in range(1)
        if "key_loading_seconds" in ours
    ]
    return [
        row("decide", "s", *program(DECIDE, "evaluate_seconds")),
        row("explain, every remaining bin", "s", *program(EXPLAIN, "evaluate_seconds")),
        row(
            "bootstraps per decision",
            "",
            recorded[0]["lookups"][DECIDE],
            recorded[1]["lookups"][DECIDE],
        ),
        row("AUC", "", ours["auc"], peer["auc"]),
        row("accuracy", "", ours["accuracy"], peer["accuracy"]),
        row("key generation", "s", ours["key_seconds"], peer["key_seconds"]),
        row(
            "evaluation key",
            "MB",
            ours["evaluation_key_bytes"] / megabyte,
            peer["evaluation_key_bytes"] / megabyte,
        ),
        *loading,
        row("all parties' encrypted inputs", "KB", *uploads),
        row("encrypt, all parties", "s", *program(DECIDE, "encrypt_seconds")),
        row("open", "s", *program(DECIDE, "open_seconds")),
        row("peak memory", "MB", ours["peak_bytes"] / megabyte, peer["peak_bytes"] / megabyte),
    ]


def table(result: dict[str, Any]) -> str:
    """Return all measurements as text."""
    lines = []
    if result["rows"]:
        lines.append(plain(_comparison(result, ("", "concrete", "concrete_ml", "ratio"))))
    for _, tables in levelled_sections(result):
        for shown in tables:
            lines += ["", plain(shown)] if lines else [plain(shown)]
    for name, engine in result["engines"].items():
        runs = {p: engine[p] for p in (DECIDE, EXPLAIN) if engine[p]}
        lines.append(
            f"{name}: "
            + ", ".join(
                f"{run['runs']} x {p} ({run['equal_scores']} scores equal to the reference)"
                for p, run in runs.items()
            )
        )
    if result["http"]:
        lines.append("over HTTP, besides the evaluation, ms per call (median):")
        lines += [f"  {call:<30} {ms:>8.1f}" for call, ms in result["http"].items()]
    lines.append("machine: " + _place(result))
    return "\n".join(lines)


def _comparison(result: dict[str, Any], head: tuple[str, ...]) -> Table:
    rows = [
        (labelled(row["name"], row["unit"]), row["value"], row["concrete_ml"], row["ratio"])
        for row in result["rows"]
    ]
    return Table(head, [tuple(map(figure, row)) for row in rows])


def _place(result: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in result["machine"].items())


def levelled_sections(result: dict[str, Any]) -> list[tuple[str, list[Table]]]:
    """Return the measured tables by the name of their marks."""
    sections = []
    if result.get("levelled_rows"):
        sections.append(("levelled", [levelled_table(result["levelled_rows"])]))
    if result.get("application"):
        own = result["application"]
        sections.append(("application", [application_table(own), byte_table(own)]))
    if result.get("defences"):
        sections.append(("defences", [defence_table(result["defences"])]))
    if result.get("scaling"):
        own = result["scaling"]
        sections.append(("scaling", [scaling_table(own["models"]), batch_table(own["batches"])]))
    if result.get("noise"):
        sections.append(("noise", [noise_lines(result["noise"])]))
    return sections


def marks(section: str) -> tuple[str, str]:
    """Return the marks before and after a section in a document, each on its own line."""
    return f"<!-- measured {section}: begin -->", f"<!-- measured {section}: end -->"


def markdown_table(result: dict[str, Any]) -> str:
    """Return the table of Concrete and Concrete ML for the README, between its marks."""
    head = ("", "Triseal on Concrete", "Concrete ML 40 x 3", "ratio")
    lines = [BEGIN, markdown(_comparison(result, head))]
    if result["http"]:
        calls = "; ".join(f"`{call}` {ms:.0f}" for call, ms in result["http"].items())
        lines += ["", f"HTTP besides the engine's work, median milliseconds per call: {calls}."]
    return "\n".join([*lines, "", f"Medians of one interleaved run; {_place(result)}.", END])


def markdown_sections(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return every measured section, including its marks, by its marks."""
    found = {(BEGIN, END): markdown_table(result)} if result["rows"] else {}
    sections = levelled_sections(result)
    if result.get("levelled_rows"):
        sections.insert(0, ("summary", [summary_table(result)]))
    for name, tables in sections:
        begin, end = marks(name)
        found[begin, end] = "\n".join(
            [begin, "\n\n".join(markdown(shown) for shown in tables), end]
        )
    return found


def replace_table(document: Path, result: dict[str, Any]) -> None:
    """Replace each measured section between its marks, if `document` has them."""
    text = document.read_text(encoding="utf-8")
    for (begin, end), section in markdown_sections(result).items():
        text = replaced(text, begin, end, section)
    document.write_text(text, encoding="utf-8")
