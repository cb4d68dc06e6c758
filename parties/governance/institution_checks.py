"""Checks by an institution of everything that an owner's agent sends about a request."""

from __future__ import annotations

import json
from collections.abc import Sequence

from governance.canonical import digest
from governance.datasets import DataSet, Description, Record, read_data_set
from governance.permits import Permit, key_named_in, require_time, signed_by, thumbprint
from governance.receipts import Receipt
from governance.request_state import Grant
from parties.governance.calls import RequestStatus
from parties.governance.institution_book import KeptRequest
from parties.governance.views import DataSetView, GrantView
from utils.errors import (
    DataSetInvalid,
    MalformedMessage,
    PartiesDisagree,
    PermitInvalid,
    ReceiptInvalid,
)


def with_status(kept: KeptRequest, found: RequestStatus) -> KeptRequest:
    """Return the request with a new status, and with the receipt if it has one.

    Raises PartiesDisagree for a grant of more than was asked for, and ReceiptInvalid.
    """
    request = kept.request
    if found.grant is not None and not _grant(found.grant).within(request):
        raise PartiesDisagree(
            "The owner's agent allowed something else than was asked for; nothing of it is used. "
            "Ask again."
        )
    changes: dict[str, object] = {"status": found.model_copy(update={"receipt": None})}
    if found.receipt is not None:
        receipt = Receipt.parse(found.receipt.encode(), kept.owner_key, request.digest)
        if found.grant is None or set(_fields(receipt)) != set(found.grant.fields):
            raise ReceiptInvalid(
                "The receipt is about other fields than those that the owner's agent allowed; ask "
                "the owner for the receipt again."
            )
        changes |= {"receipt": found.receipt, "receipt_id": receipt.id}
    return kept.changed(**changes, problem=None)


def require_permit(kept: KeptRequest, token: str, now: float) -> Permit:
    """Return the claims of a permit for one use of the request.

    Raises PermitInvalid and PermitExpired.
    """
    request = kept.request
    if key_named_in(token) != kept.owner_key:
        raise PermitInvalid("The permit is signed by somebody else than the owner of this session.")
    permit = signed_by(token, bytes.fromhex(kept.owner_key))
    require_time(permit, now)
    grant = None if kept.status is None else kept.status.grant
    fields = request.fields if grant is None else grant.fields
    fits = {
        "iss": permit.iss == request.owner,
        "sub": permit.sub == request.digest,
        "action": permit.action == request.action,
        "cnf": permit.cnf is not None
        and permit.cnf.jkt == thumbprint(bytes.fromhex(request.requester.key)),
        "fields": set(permit.fields) <= set(fields),
        "program": request.computation is None or permit.program == digest(request.computation),
    }
    wrong = [name for name, right in fits.items() if not right]
    if wrong:
        raise PermitInvalid(
            f"The owner's agent gave a permit for another use: its claim {wrong[0]} differs from "
            "the request. It was not used."
        )
    return permit


def description_of(data_set: DataSetView) -> Description:
    """Return a data set's description; raises MalformedMessage if the owner's agent sent none."""
    try:
        return Description(
            tag=data_set.tag,
            schema_name=data_set.schema_name,
            words=data_set.words,
            columns=data_set.columns,
            rows=data_set.rows,
        )
    except ValueError:
        raise MalformedMessage(
            "The owner's agent sent a description that is not valid; it is faulty."
        ) from None


def mock_set(data_set: DataSetView, rows: Sequence[Record]) -> DataSet:
    """Return invented rows as a data set; raises MalformedMessage if they do not fit it."""
    description = description_of(data_set)
    names = {column.name for column in description.columns}
    kinds = {column.name: column.type for column in description.columns}
    wrong = MalformedMessage("The owner's agent sent a mock that does not fit its data set.")
    if not rows or any(row.keys() != names for row in rows):
        raise wrong
    try:
        found = read_data_set(
            json.dumps(list(rows)).encode(),
            description.tag,
            description.words,
            types=kinds,
            source="The mock",
        )
    except DataSetInvalid:
        raise wrong from None
    return DataSet(description, found.rows)


def _grant(view: GrantView) -> Grant:
    return Grant(view.fields, view.uses, view.not_after)


def _fields(receipt: Receipt) -> list[object]:
    """Return the fields that a receipt allows; raises ReceiptInvalid."""
    try:
        (process,) = receipt.document["dpv:hasProcess"]
        return [data["dct:title"] for data in process["dpv:hasPersonalData"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ReceiptInvalid("The receipt does not say which fields it allows.") from error
