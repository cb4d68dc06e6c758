"""What is asked for, in a sentence for people."""

from __future__ import annotations

from datetime import UTC, datetime

from governance.access import ACTION_WORDS, listed
from governance.computations import computation_of, in_words
from governance.purposes import purpose_words
from governance.requests import AccessRequest, Uses

_PERIODS = {None: "", "hour": " an hour", "day": " a day", "month": " in 30 days"}


def request_words(request: AccessRequest, tag: str) -> str:
    """Return in one sentence what is asked for; `tag` names the data set."""
    if request.computation is not None:
        what = f"have the {in_words(computation_of(request.computation))}"
    elif request.action == "release":
        what = f"receive {listed(request.fields)}"
    else:
        what = f"{ACTION_WORDS[request.action]} the record ({listed(request.fields)})"
    until = datetime.fromtimestamp(request.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"{request.requester.name} asks to {what} of the data set {tag} "
        f"{purpose_words(request.purpose)}, {uses_words(request.uses)}, until {until}, and to keep "
        f"the result for at most {request.retention_days} days."
    )


def uses_words(uses: Uses) -> str:
    """Return `once`, or `3 times a day`."""
    if uses.count == 1:
        return f"once{_PERIODS[uses.period]}"
    return f"{uses.count} times{_PERIODS[uses.period]}"
