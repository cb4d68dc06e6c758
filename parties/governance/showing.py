"""The views and messages about requests and data sets, from what the owner's agent has stored."""

from __future__ import annotations

import json

from governance.data_store import Listed
from governance.request_state import at
from parties.governance.calls import LARGEST_MESSAGE, DataSets, RequestStatus, Statuses
from parties.governance.request_book import StoredRequest
from parties.governance.views import DataSetView, GrantView, RequestView, UseView

ROOM = LARGEST_MESSAGE - 8192
"""Bytes of the lists of one message in JSON."""


def data_set_view(found: Listed) -> DataSetView:
    """Return the public facts of a data set."""
    description = found.description
    return DataSetView(
        id=found.id,
        version=found.version,
        tag=description.tag,
        words=description.words,
        schema_name=description.schema_name,
        columns=description.columns,
        rows=description.rows,
    )


def request_view(stored: StoredRequest, now: int) -> RequestView:
    """Return a request as its owner sees it."""
    state = at(stored.state(), now)
    return RequestView(
        request=stored.request,
        session_id=stored.session_id,
        peer=stored.partner.id,
        peer_type=stored.partner.type,
        status=state.status,
        words=stored.words,
        data_set=stored.data_set,
        policy_allows=stored.policy_allows,
        policy_words=stored.policy_words,
        rules=stored.rules,
        masks=_masks(stored),
        grant=_grant(stored),
        reason=state.reason,
        receipt_id=_receipt_id(stored),
        uses=tuple(UseView(permit=u.permit, at=u.at, entry=u.entry) for u in stored.uses),
        uses_left=stored.state().left(now),
        problem=stored.problem,
    )


def status_of(stored: StoredRequest, now: int, call: int | None = None) -> RequestStatus:
    """Return a request's state as a message to its institution."""
    state = at(stored.state(), now)
    return RequestStatus(
        call=call,
        request_id=stored.request.id,
        status=state.status,
        policy_allows=stored.policy_allows,
        policy_words=stored.policy_words,
        rules=stored.rules,
        masks=_masks(stored),
        grant=_grant(stored),
        reason=state.reason,
        receipt=stored.receipt,
        uses_left=state.left(now),
        problem=stored.problem,
    )


def statuses(found: list[StoredRequest], now: int, call: int) -> Statuses:
    """Return the states of as many requests as a message has room for, the newest first.

    Receipts are left out when there is no room for them.
    """
    room, shown = ROOM, []
    for stored in reversed(found):
        message = status_of(stored, now)
        if (size := len(message.model_dump_json())) > room // 2:
            message = message.model_copy(update={"receipt": None})
            size = len(message.model_dump_json())
        if size > room:
            break
        room -= size
        shown.append(message)
    return Statuses(call=call, found=tuple(shown))


def data_sets(found: list[DataSetView], call: int) -> DataSets:
    """Return as many data sets as a message has room for."""
    room, shown = ROOM, []
    for view in found[:500]:
        room -= len(view.model_dump_json().encode()) + 1
        if room < 0:
            break
        shown.append(view)
    return DataSets(call=call, found=tuple(shown))


def _masks(stored: StoredRequest) -> dict[str, str]:
    return {field: mask.kind for field, mask in stored.masks.items()}


def _grant(stored: StoredRequest) -> GrantView | None:
    grant = stored.state().grant
    if grant is None:
        return None
    return GrantView(fields=grant.fields, uses=grant.uses, not_after=grant.not_after)


def _receipt_id(stored: StoredRequest) -> str | None:
    if stored.receipt is None:
        return None
    return str(json.loads(stored.receipt)["dct:identifier"])
