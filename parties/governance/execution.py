"""One permit, one execution: a permit is issued, redeemed, and its result delivered once.

The result is computed and stored first. Then the server marks the permit as used, which is the
point from which it is spent: whatever fails before leaves it unspent. Then the beginning of the use
is stored, and then the result leaves. After a crash in between, the same permit brings the stored
result, and the server is called again with the same idempotency key, so that it is one use.

The lock of the request is held throughout, so that of a use and a revocation one is first.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from governance.access import Consent, Verdict
from governance.canonical import canonical, digest
from governance.computations import (
    Computation,
    computation_of,
    differs_by_few,
    run,
    validate,
)
from governance.data_store import Listed
from governance.datasets import DataSet
from governance.permits import (
    Permit,
    Use,
    issue,
    require_possession,
    require_use,
    signed_by,
)
from governance.request_state import PERMIT_SECONDS, Begin, Issue, at, step
from parties.governance.answers import denied
from parties.governance.calls import (
    LARGEST_MESSAGE,
    SESSION_METHOD,
    PermitGiven,
    Redeem,
    TakePermit,
)
from parties.governance.judging import Peer, access_of, recent_uses
from parties.governance.owner_parts import OwnerParts, is_final
from parties.governance.records import masked_rows, strictest
from parties.governance.request_book import Prepared, StoredRequest, StoredUse, executed
from utils.errors import (
    ComputationInvalid,
    ComputationTooNarrow,
    ConsentMissing,
    DataSetInvalid,
    PermitInvalid,
    PermitSpent,
    RequestClosed,
    ServerBusy,
    TrisealError,
    UnknownName,
)
from utils.tokens import new_id

LARGEST_RESULT = LARGEST_MESSAGE - 4096
"""Bytes of a result in JSON."""
KEPT_SECONDS = 3600
"""Time after its permit for which an unmarked result is kept, as long as the server knows it."""


def give_permit(parts: OwnerParts, peer: Peer, asked: TakePermit) -> PermitGiven:
    """Issue a permit for one use of an active request.

    The policy is asked again, with the uses so far; its masks count beside those of the approval.
    The issue is logged by the server and stored before the permit leaves. Raises UnknownName,
    RequestClosed, PolicyDenied, UnknownDataSet, and the server's errors.
    """
    with parts.book.exclusive(asked.request_id):
        stored, now = _of_peer(parts, peer, asked.request_id), parts.now()
        expires, jti = now + PERMIT_SECONDS, new_id()
        issued = stored.after(Issue(jti, expires), now)
        state = stored.state()
        if state.grant is None:
            raise RequestClosed("The request has not been approved.")
        data_set = parts.describe(stored.request.target)
        with parts.judging:
            verdict = _verdict(parts, stored, data_set, now)
            masks = {} if verdict.obligations is None else verdict.obligations.masks
            if stored.request.action == "release":
                masks = strictest(stored.masks, masks, state.grant.fields)
            issued = issued.model_copy(update={"masks": masks, "outbox": _kept(stored, now)})
            permit = issue(parts.key, use_of(parts, issued), now, PERMIT_SECONDS, jti)
            parts.book.put(issued)
        event = parts.event(stored, "permit", "allowed", digests={"permit": _sha256(permit)})
        try:
            parts.flush_log(issued)
            entry = parts.server.log_event(stored.session_id, event)
        except TrisealError:
            # The permit was given to nobody, so that it holds no use.
            unlogged = parts.book.get(asked.request_id).unlogged
            parts.book.put(stored.model_copy(update={"unlogged": unlogged}))
            raise
        parts.note("permit", peer.partner.id, "A permit for one use was issued.",
                   asked.request_id, entry)  # fmt: skip
        return PermitGiven(call=asked.call, permit=permit, expires=expires)


def redeem(parts: OwnerParts, peer: Peer, asked: Redeem) -> tuple[StoredRequest, Prepared]:
    """Execute once what a permit allows; return the request and the result to deliver.

    Call `delivered` when the result has left. A result that has not left is returned again. Raises
    PermitInvalid, PermitExpired, PermitSpent, RequestClosed, PolicyDenied, ComputationTooNarrow,
    ConsentMissing, UnknownDataSet, and the server's errors; after a temporary one, the same permit
    can be brought again.
    """
    claims = signed_by(asked.permit, parts.public_key)
    found = parts.book.by_digest(peer.session_id, claims.sub)
    _require_redeemer(found, peer, claims, asked)
    return execute(parts, found.request.id, claims, asked.permit, asked.call)


def execute(
    parts: OwnerParts,
    request_id: str,
    claims: Permit,
    permit: str,
    call: int,
    sendable: Callable[[dict[str, Any]], None] = lambda _result: None,
) -> tuple[StoredRequest, Prepared]:
    """Do the same for a permit whose signature and possession the caller has verified.

    `sendable` raises an error if the result could not be sent, before anything is spent.
    """
    with parts.book.exclusive(request_id):
        stored, now = parts.book.get(request_id), parts.now()
        earlier = stored.prepared(claims.jti)
        if earlier is not None and not hmac.compare_digest(
            earlier.permit.encode(), permit.encode()
        ):
            raise PermitInvalid("The permit was altered; bring it as it was given.")
        if earlier is not None and earlier.marked:
            return stored, earlier.model_copy(update={"call": call})
        if any(use.permit == claims.jti for use in stored.uses):
            raise PermitSpent("This permit has been used, and its result was sent; take a new one.")
        try:
            prepared = earlier
            if prepared is None:
                require_use(claims, use_of(parts, stored), now)
                step(stored.state(), Begin(claims.jti), now)
                application = _application(parts, stored)
                with parts.judging:
                    prepared = _prepare(parts, stored, claims, permit, application, now)
                    sendable(prepared.result)
                    outbox = (*stored.outbox, prepared)
                    stored = parts.book.put(stored.model_copy(update={"outbox": outbox}))
            return _spend(parts, stored, prepared.model_copy(update={"call": call}))
        except TrisealError as error:
            _note_failure(parts, request_id, error)
            raise


def delivered(
    parts: OwnerParts, request_id: str, permit_id: str, words: str = "The result was sent."
) -> None:
    """Remove a result from the outbox: it has left, or `words` say why it never will."""
    with parts.book.exclusive(request_id):
        stored = parts.book.get(request_id)
        left = tuple(each for each in stored.outbox if each.permit_id != permit_id)
        parts.book.put(stored.model_copy(update={"outbox": left}))
    parts.note("result", stored.partner.id, words, request_id)


def undelivered(parts: OwnerParts, session_id: str) -> list[tuple[StoredRequest, Prepared]]:
    """Return the results of a session that were marked as used and have not left."""
    return [
        (stored, each)
        for stored in parts.book.requests()
        if stored.session_id == session_id
        for each in stored.outbox
        if each.marked
    ]


def finish(parts: OwnerParts, stored: StoredRequest) -> None:
    """Do what remains after a use was marked: for a decision, send the record and agree.

    Harmless if that has been done. Raises RequestClosed if the approval was revoked or has ended,
    and ServerBusy while it is paused.
    """
    request = stored.request
    if request.action in ("decide", "explain") and stored.join_code is not None:
        if not _stands(parts, request.id):
            if parts.book.get(request.id).state().status == "paused":
                raise ServerBusy("The owner has paused the request; it goes on when this ends.")
            raise RequestClosed("The owner's approval has ended, so that nothing more was sent.")
        _, data = parts.data_set(request.target)
        parts.applications.perform(
            stored.join_code, data.rows[0], request.action, lambda: _stands(parts, request.id)
        )


def _stands(parts: OwnerParts, request_id: str) -> bool:
    """Return True if a decision whose use has begun may still be agreed to."""
    try:
        state = parts.book.get(request_id).state()
    except UnknownName:  # it made room for another request
        return False
    ongoing = state.status in ("active", "used up")
    return ongoing and state.grant is not None and parts.now() < state.grant.not_after


def use_of(parts: OwnerParts, stored: StoredRequest) -> Use:
    """Return the use that a permit for a request is for."""
    request, grant = stored.request, stored.state().grant
    program = None
    if request.computation is not None:
        program = digest(request.computation)
    elif request.action in ("decide", "explain"):
        program = parts.applications.model
    return Use(
        iss=parts.name,
        sub=request.digest,
        aud=parts.name,
        action=request.action,
        program=program,
        fields=() if grant is None else grant.fields,
        masks={
            field: canonical(mask.model_dump(mode="json")).decode()
            for field, mask in stored.masks.items()
        },
        requester=bytes.fromhex(request.requester.key),
    )


def _spend(
    parts: OwnerParts, stored: StoredRequest, prepared: Prepared
) -> tuple[StoredRequest, Prepared]:
    """Have the server mark the permit of a stored result as used; store that the use has begun."""
    begin = Begin(prepared.permit_id)
    begun = stored.after(begin, prepared.at)
    others = tuple(each for each in stored.outbox if each.permit_id != prepared.permit_id)
    entry = _mark(parts, stored, prepared)
    marked = prepared.model_copy(update={"entry": entry, "marked": True})
    use = StoredUse(
        permit=prepared.permit_id, at=prepared.at, entry=entry, version=prepared.version
    )
    changes = {
        "uses": (*stored.uses, use),
        "outbox": (*others, marked),
        "unlogged": (),
        "problem": None,
    }
    begun = parts.book.put(begun.model_copy(update=changes))
    words = "The data was used once, as approved."
    parts.note("use", stored.partner.id, words, stored.request.id, entry)
    return begun, marked


def _mark(parts: OwnerParts, stored: StoredRequest, prepared: Prepared) -> int:
    """Have the server mark a permit as used; return the entry. On failure the result stays here."""
    receipt = hashlib.sha256((stored.receipt or "").encode()).hexdigest()
    request = stored.request
    details = {
        "request_id": request.id,
        "purpose": request.purpose,
        "retention_days": request.retention_days,
    }
    try:
        parts.flush_log(stored)
        return parts.server.use_permit(
            stored.session_id, prepared.permit, receipt, details, prepared.idempotency_key
        )
    except TrisealError as error:
        if not is_final(error):
            raise
        current = parts.book.get(stored.request.id)
        left = tuple(each for each in current.outbox if each.permit_id != prepared.permit_id)
        parts.book.put(current.model_copy(update={"outbox": left}))
        raise


def _application(parts: OwnerParts, stored: StoredRequest) -> str | None:
    """Join the application of a decision and return its id; None for the other actions."""
    if stored.request.action not in ("decide", "explain"):
        return None
    _, data = parts.data_set(stored.request.target)
    if stored.join_code is None or len(data.rows) != 1:
        raise DataSetInvalid("A decision is made from a data set with one record.")
    return parts.applications.prepare(stored.join_code, data.rows[0])


def _prepare(
    parts: OwnerParts,
    stored: StoredRequest,
    claims: Permit,
    permit: str,
    application: str | None,
    now: int,
) -> Prepared:
    """Return the result of a use, before anything is spent."""
    request = stored.request
    data_set, data = parts.data_set(request.target)
    verdict = _verdict(parts, stored, data_set, now, without=claims.jti)
    match request.action:
        case "statistic":
            result = _statistic(parts, stored, data, verdict)
        case "release":
            result = masked_rows(
                data, claims, verdict, parts.masking_key(), request.requester.key, now
            )
        case _:
            result = {"application": application, "program": request.action}
    if len(json.dumps(result)) > LARGEST_RESULT:
        raise DataSetInvalid(
            f"The result has more than {LARGEST_RESULT} bytes; ask for fewer fields or groups."
        )
    return Prepared(
        permit_id=claims.jti,
        permit=permit,
        idempotency_key=new_id(),
        call=1,
        at=now,
        version=data_set.version,
        result=result,
    )


def _statistic(
    parts: OwnerParts, stored: StoredRequest, data: DataSet, verdict: Verdict
) -> dict[str, Any]:
    request = stored.request
    if verdict.obligations is None:
        raise denied(verdict)
    least = verdict.obligations.least_rows
    computation = computation_of(request.computation)
    result = run(computation, data, least)
    earlier = _earlier(parts, stored, data)
    if differs_by_few(earlier, computation, data, least):
        raise ComputationTooNarrow(
            f"Together with an earlier result, this one would say something about fewer than "
            f"{least} rows. Ask for the same rows as before, or for quite different ones."
        )
    return result.model_dump(mode="json")


def _earlier(parts: OwnerParts, stored: StoredRequest, data: DataSet) -> list[Computation]:
    """Return the executed computations on the data set that fit its columns now, each once.

    Those of other institutions count too, since institutions can compare their results.
    """
    found = []
    for request in executed(parts.book.requests(), stored.data_set):
        if request.computation is not None and request.id != stored.request.id:
            computation = computation_of(request.computation)
            try:
                validate(computation, data.description)
            except ComputationInvalid:
                continue
            found.append(computation)
    return list(dict.fromkeys(found))


def _verdict(
    parts: OwnerParts, stored: StoredRequest, data_set: Listed, now: int, without: str = ""
) -> Verdict:
    """Return the policy's verdict on a use now; raises PolicyDenied."""
    state = at(stored.state(), now)
    uses = recent_uses(parts.book.requests(), stored.partner.id, now, without)
    fields = stored.request.fields if state.grant is None else state.grant.fields
    consent: Consent = "paused" if state.status == "paused" else "given"
    access = access_of(stored.request, stored.partner, data_set, fields, consent, uses, now)
    verdict = parts.policies.decide(access)
    if not verdict.allowed:
        raise denied(verdict)
    return verdict


def _require_redeemer(stored: StoredRequest, peer: Peer, claims: Permit, asked: Redeem) -> None:
    if stored.request.requester.key != peer.key:
        raise PermitInvalid("Only the institution that made the request can redeem its permit.")
    require_possession(
        claims,
        bytes.fromhex(peer.key),
        asked.signature,
        SESSION_METHOD,
        peer.session_id,
        asked.permit.encode(),
    )


def _of_peer(parts: OwnerParts, peer: Peer, request_id: str) -> StoredRequest:
    stored = parts.book.get(request_id)
    if stored.session_id != peer.session_id:
        raise ConsentMissing("This request was made in another session; make it again in this one.")
    return stored


def _note_failure(parts: OwnerParts, request_id: str, error: TrisealError) -> None:
    """Store why a use failed, without raising another error."""
    stored = parts.book.get(request_id)
    advice = " The permit was not spent."
    if isinstance(error, PermitSpent):
        advice = ""
    elif not is_final(error):
        advice = " The same permit can be brought again."
    parts.book.put(stored.model_copy(update={"problem": f"{error.message}{advice}"[:1000]}))
    parts.note("failure", stored.partner.id, f"A use failed: {error.message}", request_id)


def _kept(stored: StoredRequest, now: int) -> tuple[Prepared, ...]:
    """Return the outbox without results of which the server no longer knows whether they count."""
    limit = now - PERMIT_SECONDS - KEPT_SECONDS
    return tuple(each for each in stored.outbox if each.marked or each.at > limit)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
