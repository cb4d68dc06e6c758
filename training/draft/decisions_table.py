"""The decisions of a draft as text: one line a column."""

from __future__ import annotations

from training.draft.drafting import Draft, approved_share
from utils.terminal import printable

_WIDEST = 32


def decisions_table(draft: Draft) -> str:
    """Return the table of decisions and the notes below it."""
    rows = [("column", "use", "why"), *((x.header, x.use, x.why) for x in draft.lines)]
    plain = [tuple(printable(t).replace("\n", " ") for t in row) for row in rows]
    first, second = (min(max(len(row[i]) for row in plain), _WIDEST) for i in (0, 1))
    lines = [f"{a[:_WIDEST]:<{first}}  {b[:_WIDEST]:<{second}}  {c}" for a, b, c in plain]
    lines += ["", f"{len(draft.outcome.approved)} rows, {approved_share(draft):.1%} approved"]
    empty = int((~draft.outcome.given).sum())
    if empty:
        lines.append(f"rows without a label, which are left out: {empty}")
    return "\n".join([*lines, *(f"- {printable(note)}" for note in draft.notes)])
