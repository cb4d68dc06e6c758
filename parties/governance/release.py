"""The direct exchange: an institution brings a permit and gets one masked record, once.

Two kinds of permits count: those of the server's gateway (`POST /authorize`), signed with the
server's key, which the agent pins in its folder at first use, and the owner's own for `release`
requests of sessions. The record is prepared first, then the permit is spent, then the record is
sealed and sent. If the response is lost on its way, the same permit gets PermitSpent: take a new
one.

A permit of the gateway does not name the partner or the purpose. The owner's own policy is
therefore asked about every purpose that the owner has consented to, and every type of partner. A
field is masked at least as strictly as in the most generous of those answers, and not released if
there is none. Partner and purpose are compared with the owner's consents when the server has told
them, before the record leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from contract.governance import LogFacts, Spent
from governance.access import PARTNER_TYPES, Access, Partner
from governance.data_store import Listed
from governance.datasets import DataSet
from governance.masking import Mask, Value, stricter
from governance.permits import key_named_in, require_time, signed_by
from parties.governance.exchange_seal import ExchangeCall, read_call, seal_record
from parties.governance.execution import delivered, execute
from parties.governance.owner_parts import GatewayServer, OwnerParts
from parties.governance.records import released
from utils.atomic_files import write_new
from utils.errors import (
    ConsentMissing,
    DataSetInvalid,
    OutOfStep,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    StoreDamaged,
    UnknownDataSet,
)
from utils.regular_files import read_regular

ISSUER = "urn:triseal:server"
"""The issuer of the gateway's permits."""
SCHEMA, TAG = "personal_record", "record"
SERVER_KEY = "server_permit_key"
_KEY_DIGITS = 64
_TRIAL_ENTRY = 2**52


def redeem_exchange(parts: OwnerParts, gateway: GatewayServer, home: Path, body: bytes) -> bytes:
    """Return the sealed record for the body of `POST /exchange`; each permit counts once.

    Raises InvalidRequest, PermitInvalid, PermitExpired, PermitSpent, PolicyDenied, ConsentMissing,
    RequestClosed, UnknownDataSet, DataSetInvalid, and the server's errors.
    """
    call = read_call(body)
    if key_named_in(call.permit) == parts.public_key.hex():
        return _own(parts, call)
    return _of_gateway(parts, gateway, home, call)


def pinned_server_key(gateway: GatewayServer, home: Path) -> bytes:
    """Return the server's key for permits, 32 bytes: the pinned one, or at first use its own.

    Raises StoreDamaged if the file is not a key, and the server's errors.
    """
    path = home / SERVER_KEY
    try:
        found = read_regular(path, _KEY_DIGITS + 2, follow_link=False)
    except FileNotFoundError:
        facts: LogFacts = gateway.log_facts()
        write_new(path, facts.permit_key.encode())
        found = read_regular(path, _KEY_DIGITS + 2, follow_link=False)
    try:
        text = b"" if found is None else found[0]
        key = bytes.fromhex(text.decode().strip())
        if len(key) != _KEY_DIGITS // 2:
            raise ValueError
    except ValueError as error:
        raise StoreDamaged(
            f"The file {SERVER_KEY} in the owner's folder is not the server's key. The owner has "
            "to write the key there that the operator gives, or remove the file, so that the "
            "agent takes the key that the server names now."
        ) from error
    return key


def _own(parts: OwnerParts, call: ExchangeCall) -> bytes:
    """Redeem the owner's own permit for a `release` request of a session."""
    permit = signed_by(call.permit, parts.public_key)
    call.require_signed(permit)
    if permit.action != "release":
        raise PermitInvalid(f"A permit for `{permit.action}` is redeemed in its session.")
    matching = [each for each in parts.book.requests() if each.request.digest == permit.sub]
    if not matching or matching[0].request.requester.key != call.key:
        raise PermitInvalid("The permit is for no request of this institution.")
    request_id = matching[0].request.id

    def sendable(result: Mapping[str, object]) -> None:
        seal_record(call, parts.key, _flat(result), request_id, _TRIAL_ENTRY)

    with parts.book.exclusive(request_id):
        earlier = parts.book.get(request_id).prepared(permit.jti)
        if earlier is not None and earlier.marked:
            raise PermitSpent("This permit has been used; its result is sent in the session.")
        _, prepared = execute(parts, request_id, permit, call.permit, 1, sendable)
        response = seal_record(call, parts.key, _flat(prepared.result), request_id, prepared.entry)
        delivered(parts, request_id, permit.jti)
    return response


def _of_gateway(parts: OwnerParts, gateway: GatewayServer, home: Path, call: ExchangeCall) -> bytes:
    permit = signed_by(call.permit, pinned_server_key(gateway, home))
    if permit.iss != ISSUER or permit.aud != parts.name or permit.action != "release":
        raise PermitInvalid("The permit is not for a release of this owner's data.")
    now = parts.now()
    require_time(permit, now)
    call.require_signed(permit)
    listed, data = _record_of(parts)
    names = {column.name for column in data.description.columns}
    held = tuple(name for name in permit.fields if name in names)
    if not held:
        raise DataSetInvalid("The owner's record has none of the permit's fields.")
    narrowed = permit.model_copy(update={"fields": held})
    own = _own_masks(parts, listed, held, now)
    record = _flat(released(data, narrowed, own, parts.masking_key(), call.key, now))
    seal_record(call, parts.key, record, permit.sub, _TRIAL_ENTRY)
    try:
        spent: Spent = gateway.spend_permit(parts.key, call.permit)
    except PermitSpent as error:
        raise PermitSpent(
            "This permit has been used already. If its response was lost, ask for a new permit."
        ) from error
    if (spent.partner_id, spent.purpose) not in parts.book.consents():
        words = f"A release to {spent.partner_id} was refused: there is no consent to its purpose."
        parts.note("failure", spent.partner_id, words, None, spent.entry)
        raise ConsentMissing(
            "The owner has not consented to this purpose. The permit is spent; the owner has to "
            "consent first."
        )
    response = seal_record(call, parts.key, record, spent.request_id, spent.entry)
    words = f"Released {', '.join(record)}, masked, to {spent.partner_id} ({spent.purpose})."
    parts.note("use", spent.partner_id, words, None, spent.entry)
    return response


def _record_of(parts: OwnerParts) -> tuple[Listed, DataSet]:
    """Return the owner's one record; raises UnknownDataSet and OutOfStep."""
    with parts.store_lock:
        found = [
            each
            for each in parts.data_store.list()
            if each.description.schema_name == SCHEMA and each.description.rows == 1
        ]
    tagged = [each for each in found if each.description.tag == TAG]
    if not found:
        raise UnknownDataSet(f"The owner has no record of the schema {SCHEMA}.")
    if len(found) > 1 and len(tagged) != 1:
        raise OutOfStep(
            f"The owner has several records; exactly one of them needs the tag {TAG!r}."
        )
    return parts.data_set((tagged or found)[0].id)


def _own_masks(
    parts: OwnerParts, data_set: Listed, fields: tuple[str, ...], now: int
) -> dict[str, Mask]:
    """Return the least strict masks of the owner's policy for purposes that it consented to.

    Raises PolicyDenied if the policy releases these fields to nobody.
    """
    purposes = sorted({purpose for _, purpose in parts.book.consents()})
    categories = data_set.description.categories
    found: list[dict[str, Mask]] = []
    for purpose in purposes:
        for kind in PARTNER_TYPES:
            try:
                access = Access(
                    partner=Partner(id="partner", type=kind, verified=True),
                    action="release",
                    data_set=TAG,
                    schema_name=SCHEMA,
                    fields=fields,
                    categories={name: categories[name] for name in fields},
                    purpose=purpose,
                    consent="given",
                    time=now,
                )
            except ValidationError as error:
                raise PermitInvalid("The permit names fields that cannot be judged.") from error
            verdict = parts.policies.decide(access)
            if verdict.allowed and verdict.obligations is not None:
                found.append(verdict.obligations.masks)
    if not found:
        raise PolicyDenied(
            "The owner's own policy releases these fields to nobody for a purpose that the owner "
            "has consented to."
        )
    masks = found[0]
    for each in found[1:]:
        masks = {name: _looser(masks[name], each[name]) for name in fields}
    return masks


def _looser(one: Mask, other: Mask) -> Mask:
    return other if stricter(one, other) is one else one


def _flat(result: Mapping[str, object]) -> dict[str, Value]:
    """Return a record as it is; raises DataSetInvalid for one of several rows."""
    found: dict[str, Value] = {}
    for name, value in result.items():
        if not (value is None or isinstance(value, str | int | float | bool)):
            raise DataSetInvalid(
                "A direct exchange releases one record; several rows are sent in the session."
            )
        found[name] = value
    return found
