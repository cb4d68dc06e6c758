"""The stage's section that runs one example on both engines, in a child process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from settings import ROOT
from ui.units import escape, show_bytes, show_seconds
from utils.environments import interpreter_of
from utils.errors import EvaluationFailed

TIMEOUT_SECONDS = 180.0
STEPS = {
    "keys": "Make the keys",
    "encrypt": "Encrypt, all parties",
    "decide": "Compute the decision",
    "explain": "Compute the explanation",
    "open": "Open both",
}
BEFORE = (
    '<p class="ts-empty">Not run yet. It takes a few seconds, mostly to make Concrete\'s keys.</p>'
)


def run_beside(deployment: Path, example: int = 0) -> dict[str, Any]:
    """Run ui/stage/side_by_side.py in a separate process and return its result.

    `example` is the index of an example applicant.

    Raises EvaluationFailed with the process's error message if it fails, and EngineUnavailable if
    Concrete is not installed.
    """
    command = [interpreter_of("concrete"), "-W", "ignore", "-m", "ui.stage.side_by_side", "--json"]
    try:
        ended = subprocess.run(  # noqa: S603 - our own module, no shell
            [*command, "--deployment", str(deployment), "--example", str(example)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        found: dict[str, Any] = json.loads(ended.stdout) if ended.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise EvaluationFailed("The comparison did not finish in time; try again.") from error
    if not found:
        lines = ended.stderr.strip().splitlines() or ["no reason was given"]
        raise EvaluationFailed(f"The comparison failed: {lines[-1]}")
    return found


def beside_panel(found: Mapping[str, Any]) -> str:
    """Return both engines' times and key holders, and whether their integers are equal."""
    engines = found["engines"]
    rows = [("Secret key", [engine["secret_key"] for engine in engines])]
    rows += [
        (words, [show_seconds(engine["seconds"][step]) for engine in engines])
        for step, words in STEPS.items()
    ]
    rows.append(("Sent to the server", [show_bytes(engine["sent_bytes"]) for engine in engines]))
    rows.append(("Opened score", [_joined(engine["scores"]["decide"]) for engine in engines]))
    rows.append(
        ("Score of each range", [_joined(engine["scores"]["explain"]) for engine in engines])
    )
    heads = "".join(f'<th scope="col">{escape(engine["label"])}</th>' for engine in engines)
    body = "".join(
        f'<tr><th scope="row">{escape(words)}</th>'
        + "".join(
            f'<td data-who="{escape(engine["label"])}">{escape(cell)}</td>'
            for engine, cell in zip(engines, cells, strict=True)
        )
        + "</tr>"
        for words, cells in rows
    )
    return (
        f'<p class="{"ts-same" if found["equal"] else "ts-stale"}" role="status">{_verdict(found)}'
        f'</p><table class="ts-table"><thead><tr><th scope="col">{escape(found["applicant"])}</th>'
        f"{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def _verdict(found: Mapping[str, Any]) -> str:
    bits = int(found["score_bits"])
    if found["equal"]:
        return f"Both engines and the unencrypted program give the same integers ({bits} bits)."
    return "The integers differ, so one of the engines is wrong. Please report this."


def _joined(scores: list[int]) -> str:
    return ", ".join(str(score).replace("-", "−") for score in scores)
