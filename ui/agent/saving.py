"""A person's own copy of the results: a text to read, and JSON; made in the party's process."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

from features.schema import Schema
from parties.agent import ApplicationAgent
from utils.errors import OutOfStep

Kind = Literal["txt", "json"]
FORMAT = "triseal result 1"
CAVEAT = (
    "A likelihood under one model, as this party's process opened it; not signed by anybody. The "
    "decision file can be verified by others."
)


def result_of(application: ApplicationAgent, schema: Schema, now: datetime) -> dict[str, Any]:
    """Return what this party has opened, as plain values; raises OutOfStep before the decision."""
    member = application.member
    decision, explained, reasons = member.decision, member.explanation, member.reasons
    if decision is None:
        raise OutOfStep("There is no decision to save yet.")
    words = schema.decision
    found: dict[str, Any] = {
        "format": FORMAT,
        "title": schema.title,
        "application": member.client_id,
        "party": schema.party(member.party).label,
        "saved_at": now.isoformat(timespec="seconds"),
        "opened_at": None if member.state is None else member.state.created_at,
        "decision": words.approved if decision.approved else words.denied,
        "approved": decision.approved,
        "score": decision.score,
        "explanation": None if explained is None else list(explained.explanation.texts),
        "reasons": None if reasons is None else list(reasons.sentences),
        "reasons_remark": None if reasons is None else reasons.remark,
        "model_fingerprint": member.model_fingerprint,
        "result_sha256": decision.sha256,
        "note": CAVEAT,
    }
    return found


def as_text(found: dict[str, Any]) -> str:
    """Return the same for reading."""
    lines = [
        found["title"],
        "",
        f"Decision: {found['decision']}",
        *([] if found["score"] is None else [f"Score: {found['score']:g} (the line is at 0)"]),
        f"Saved on: {found['saved_at'][:10]}",
        f"Application: {found['application']}",
        f"Party: {found['party']}",
        "",
        "Reasons:",
    ]
    if found["reasons"] is None:
        lines.append("  not opened")
    else:
        lines += [f"  {i}. {text}" for i, text in enumerate(found["reasons"], 1)]
        lines.append(f"  {found['reasons_remark']}")
    lines += ["", "Explanation:", *(f"  {text}" for text in found["explanation"] or ["not opened"])]
    lines += ["", f"Model fingerprint: {found['model_fingerprint']}", found["note"], ""]
    return "\n".join(lines)


def saved_file(application: ApplicationAgent, schema: Schema, kind: Kind) -> Path:
    """Write the results as a file of this kind and return its path; raises OutOfStep."""
    found = result_of(application, schema, datetime.now(UTC))
    # Inside Gradio's own folder, which is removed when the page stops.
    folder = mkdtemp(prefix="result-", dir=os.environ.get("GRADIO_TEMP_DIR"))
    path = Path(folder) / f"result-{found['application'][:8]}.{kind}"
    text = as_text(found) if kind == "txt" else json.dumps(found, indent=2, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path
