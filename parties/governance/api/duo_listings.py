"""Listings of the calls of Duo that both agents have."""

from __future__ import annotations

from datetime import UTC, datetime

from parties.governance.api.duo_bodies import LogLine, StoreLine
from parties.governance.views import ActivityLine, DataSetView, RequestView

TAG = "calls of Duo"


def store_line(index: int, found: DataSetView) -> StoreLine:
    """Return an owner's data set as these calls list it."""
    return StoreLine(
        index=index,
        description=found.words,
        filename=found.tag,
        id=found.id,
        columns={column.name: column.type for column in found.columns},
        rows=found.rows,
    )


def log_lines(
    requests: tuple[RequestView, ...], activity: tuple[ActivityLine, ...]
) -> tuple[LogLine, ...]:
    """Return the decisions on requests; one that was never decided has none."""
    answered: dict[str | None, int] = {}
    for line in activity:  # an institution's agent also notes that the owner's has the request
        if line.kind == "answer" and not line.words.endswith(" is pending."):
            answered.setdefault(line.request_id, line.at)  # the first answer counts
    lines = []
    for view in requests:
        denied = view.status == "denied"
        if denied or view.grant is not None:
            at = answered.get(view.request.id)
            lines.append(
                LogLine(
                    reason=view.request.reason,
                    decision="deny" if denied else "approve",
                    at=None if at is None else datetime.fromtimestamp(at, UTC).isoformat(),
                    request_id=view.request.id,
                    status=view.status,
                )
            )
    return tuple(lines)
