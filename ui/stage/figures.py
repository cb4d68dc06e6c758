"""Evaluation times of an application's programs, at the server and at each witness, and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contract.http import ApplicationState, ProgramState, TrafficItem
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EXPLAIN,
    PUBLIC_KEY,
    REASONS,
    SIGN_OF,
    PublicModel,
)
from parties.results import PROGRAM_WORDS
from ui.units import escape, show_bytes, show_seconds

BEFORE = '<p class="ts-empty">Nothing has been sent or computed yet.</p>'
NEAR_THE_LINE = (
    "Each engine runs its own rounding of the model, so a decision near the line may differ "
    "between engines; on the same program all engines give the same integers."
)
KINDS = {PUBLIC_KEY: "Joint public key", ENCRYPTED_INPUTS: "Encrypted records"}
RESULTS, OTHERS = "Encrypted results", "Other messages between the parties"


def figures(
    state: ApplicationState,
    traffic: Sequence[TrafficItem],
    status: Mapping[str, Any],
    public: PublicModel,
) -> str:
    """Return both tables; `status` is that of the witness on this machine, or empty."""
    if not traffic:
        return BEFORE
    return _times(state, status, public) + _sizes(state, traffic)


def _times(state: ApplicationState, status: Mapping[str, Any], public: PublicModel) -> str:
    rows = []
    for program in (DECIDE, EXPLAIN, REASONS):
        if program not in public.programs:
            continue
        runs = [state.programs.get(name) for name in (program, SIGN_OF[program])]
        done = [run for run in runs if run is not None and run.status == "done"]
        cells = [("Server", _server_time(done))]
        cells += [
            (f"Witness {witness.name}", _witness_time(status, witness.key, state, program))
            for witness in state.witnesses
        ]
        cells.append(("Result", show_bytes(done[-1].result_bytes or 0) if done else "–"))
        rows.append((PROGRAM_WORDS[program].removeprefix("the ").capitalize(), cells))
    return _table("Evaluated in", rows)


def _server_time(done: Sequence[ProgramState]) -> str:
    return show_seconds(sum(run.seconds or 0.0 for run in done)) if done else "–"


def _witness_time(
    status: Mapping[str, Any], key: str, state: ApplicationState, program: str
) -> str:
    """Return the time that the witness on this machine took; unknown of others."""
    if status.get("key") != key:
        return "not known here"
    named = (program, SIGN_OF[program])
    seconds = [
        float(said.get("seconds", 0.0))
        for said in status.get("last", ())
        if isinstance(said, dict)
        and said.get("application") == state.client_id[:8]
        and said.get("program") in named
    ]
    return show_seconds(sum(seconds)) if seconds else "–"


def _sizes(state: ApplicationState, traffic: Sequence[TrafficItem]) -> str:
    sums: dict[str, tuple[int, int]] = {}
    for entry in traffic:
        if not entry.bytes:
            continue
        kind = KINDS.get(entry.what, RESULTS if entry.what.startswith("result") else OTHERS)
        count, size = sums.get(kind, (0, 0))
        sums[kind] = count + 1, size + entry.bytes
    rows = [
        (kind, [("Messages", str(sums[kind][0])), ("Size", show_bytes(sums[kind][1]))])
        for kind in (*KINDS.values(), RESULTS, OTHERS)
        if kind in sums
    ]
    digests = [slot.sha256 for slot in state.slots if slot.file_name == PUBLIC_KEY and slot.sha256]
    key = (
        f'<p class="ts-note">SHA-256 of the public key: <code>{escape(digests[0][:16])}…</code>; '
        "its first bytes are on each party's page.</p>"
        if digests
        else ""
    )
    return _table("Sent through the server", rows) + key


def _table(caption: str, rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    heads = [head for head, _ in rows[0][1]] if rows else []
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in ("", *heads))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td data-who="{escape(head)}">{escape(cell)}</td>' for head, cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return (
        f'<table class="ts-table ts-figures"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"
    )
