"""Judgement of a request: whether it fits the data set, and the policy's verdict on it.

The agent asks its own copy of the policy. The context is its own too: the partner's type and key as
the session has them, the owner's categories of the columns, and the uses in the owner's book.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from governance.access import (
    ACTION_WORDS,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    Access,
    Consent,
    Partner,
    listed,
)
from governance.computations import computation_of, fields_of, in_words, texts_of, validate
from governance.data_store import Listed
from governance.policy import ROWS
from governance.purposes import purpose_words
from governance.request_state import Grant, at
from governance.requests import AccessRequest, Uses
from parties.governance.request_book import StoredRequest
from parties.joint.codes import JoinCode
from utils.errors import ComputationInvalid, InvalidRequest, NotAuthentic, OutOfStep
from utils.plain_text import require_plain

AHEAD_SECONDS = 60
"""Seconds by which the clock of a requester may be ahead."""
MOST_LINES = 20
"""Lines of a request's reason."""
_PERIODS = {None: "", "hour": " an hour", "day": " a day", "month": " in 30 days"}


@dataclass(frozen=True)
class Peer:
    """The institution of a session: its identity at the server, and its public key (hexadecimal).

    `name` is what it calls itself.
    """

    session_id: str
    partner: Partner
    key: str
    name: str = ""


@dataclass(frozen=True)
class RecentUses:
    """A partner's uses in the current hour and day, by UTC."""

    hour: int
    day: int


def require_fits(
    request: AccessRequest,
    peer: Peer,
    owner: str,
    data_set: Listed,
    join_code: str | None,
    now: int,
) -> None:
    """Raise an error that says what to correct if a request cannot be about this data set.

    Raises NotAuthentic, InvalidRequest, ComputationInvalid and OutOfStep.
    """
    if request.requester.key != peer.key:
        raise NotAuthentic(
            "The request names another key than that of the institution in this session; sign it "
            "with the key that this session was connected with."
        )
    if request.requester.name != peer.name:
        raise InvalidRequest(
            "requester: name the institution as it called itself when this session was connected, "
            "or connect to a new session under the new name."
        )
    if request.owner != owner:
        raise InvalidRequest(f"owner: this is the agent of {owner}; name it in the request.")
    if request.created > now + AHEAD_SECONDS:
        raise InvalidRequest("The request was made in the future: set the clock of your machine.")
    if request.not_after <= now:
        raise InvalidRequest("not_after: the request has expired; choose a later time.")
    require_plain(request.reason, "reason", MOST_LINES)
    for name in request.readers:
        require_plain(name, "readers")
    columns = [column.name for column in data_set.description.columns]
    unknown = [name for name in request.fields if name not in columns and name != ROWS]
    if unknown:
        raise InvalidRequest(
            f"fields: the data set has no column {unknown[0]!r}; its columns are "
            f"{', '.join(columns[:40])}."
        )
    if request.action == "statistic":
        _require_computation(request, request.fields, data_set)
    elif request.computation is not None:
        raise InvalidRequest(f"computation: leave it out for the action {request.action}.")
    if request.action == "release" and ROWS in request.fields:
        raise InvalidRequest("fields: name the columns that you need.")
    if request.action in ("decide", "explain"):
        _require_record(request, data_set, join_code)
    elif join_code is not None:
        raise InvalidRequest("join_code: leave it out; only decide and explain have one.")


def require_grantable(request: AccessRequest, grant: Grant, data_set: Listed) -> None:
    """Raise InvalidRequest if the fields of a grant do not suffice for what is to be done."""
    if request.action == "statistic":
        _require_computation(request, grant.fields, data_set)
    elif request.action != "release" and set(grant.fields) != set(request.fields):
        raise InvalidRequest(
            "fields: a decision needs all columns of the record; approve them all, or deny."
        )


def access_of(
    request: AccessRequest,
    partner: Partner,
    data_set: Listed,
    fields: tuple[str, ...],
    consent: Consent,
    uses: RecentUses,
    now: int,
) -> Access:
    """Return a use as the policy judges it; raises InvalidRequest naming what it cannot judge."""
    named = tuple(name for name in fields if name != ROWS)
    categories = data_set.description.categories
    try:
        return Access(
            partner=partner,
            action=request.action,
            data_set=data_set.id,
            schema_name=data_set.description.schema_name,
            fields=named,
            categories={name: categories[name] for name in named if name in categories},
            purpose=request.purpose,
            consent=consent,
            time=now,
            uses_this_hour=uses.hour,
            uses_this_day=uses.day,
            rows=data_set.description.rows,
            retention_days=request.retention_days,
        )
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = str(first["loc"][0]) if first["loc"] else "request"
        raise InvalidRequest(f"{where}: {first['msg'][:1000]}.") from None


def recent_uses(
    requests: Iterable[StoredRequest], partner: str, now: int, without: str = ""
) -> RecentUses:
    """Return a partner's uses, to which permits count that can still be used.

    The permit `without` does not count.
    """
    hour, day = now - now % SECONDS_PER_HOUR, now - now % SECONDS_PER_DAY
    times = []
    for each in requests:
        if each.partner.id == partner:
            times += [use.at for use in each.uses]
            times += [now for permit, _ in at(each.state(), now).issued if permit != without]
    return RecentUses(sum(t >= hour for t in times), sum(t >= day for t in times))


def request_words(request: AccessRequest, tag: str, partner: str = "") -> str:
    """Return in words what is asked for; `partner` is the requester's id at the server."""
    if request.computation is not None:
        what = f"have the {in_words(computation_of(request.computation))}"
    elif request.action == "release":
        what = f"receive {listed(request.fields)}"
    else:
        what = f"{ACTION_WORDS[request.action]} the record ({listed(request.fields)})"
    name = request.requester.name
    asking = f"{_quoted(name)} (registered as {partner})" if partner else name
    until = datetime.fromtimestamp(request.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
    others = [_quoted(reader) for reader in request.readers if reader != name]
    readers = f" The result would also be read by {listed(others)}." if others else ""
    return (
        f"{asking} asks to {what} of the data set {tag} "
        f"{purpose_words(request.purpose)}, {uses_words(request.uses)}, until {until}, and to keep "
        f"the result for at most {request.retention_days} days.{readers}"
    )


def _quoted(text: str) -> str:
    """Return a text of the requester in quotation marks that it cannot close."""
    return json.dumps(text, ensure_ascii=False)


def uses_words(uses: Uses) -> str:
    """Return `once`, or `3 times a day`."""
    if uses.count == 1:
        return f"once{_PERIODS[uses.period]}"
    return f"{uses.count} times{_PERIODS[uses.period]}"


def _require_computation(request: AccessRequest, fields: tuple[str, ...], data_set: Listed) -> None:
    if request.computation is None:
        raise ComputationInvalid("computation: a statistic needs one.")
    computation = computation_of(request.computation)
    validate(computation, data_set.description)
    for text in texts_of(computation):
        require_plain(text, "computation")
    missing = [name for name in fields_of(computation) if name not in fields]
    if missing:
        raise InvalidRequest(
            f"fields: the computation reads {listed(missing)}, which is not among the fields."
        )


def _require_record(request: AccessRequest, data_set: Listed, join_code: str | None) -> None:
    if join_code is None:
        raise InvalidRequest(
            "join_code: give the owner's join code for the application that is to be decided."
        )
    JoinCode.parse(join_code)
    columns = {column.name for column in data_set.description.columns}
    if data_set.description.rows != 1 or set(request.fields) != columns:
        raise OutOfStep(
            "A decision is made from a data set with one record, and names all of its columns."
        )
