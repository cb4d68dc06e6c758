"""The owner's answers to requests: approval, denial, pause, resumption, revocation.

An approval is logged by the server first, and changes nothing if that fails. It is stored before
its receipt leaves. Whatever takes a right away takes effect at once, even if the server cannot be
reached, and is logged before anything else about the request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from contract.sessions import SessionEventRequest
from governance.access import Verdict, listed
from governance.categories import ROW_COUNT
from governance.policy import ROWS
from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import (
    LONGEST_REASON,
    Activate,
    Approve,
    Deny,
    Event,
    Grant,
    Pause,
    Resume,
    Revoke,
)
from governance.requests import AccessRequest, SignedRequest, Uses
from parties.governance.calls import Ask
from parties.governance.judging import (
    Peer,
    access_of,
    recent_uses,
    request_words,
    require_fits,
    require_grantable,
    uses_words,
)
from parties.governance.owner_parts import OwnerParts
from parties.governance.request_book import StoredRequest
from utils.errors import PolicyDenied
from utils.tokens import new_id

JURISDICTION = "loc:EU"
LONGEST_WORDS = 4000


def receive_request(parts: OwnerParts, peer: Peer, asked: Ask) -> StoredRequest:
    """Store a request that an institution made, with the policy's verdict, and have it logged.

    A request that the policy does not allow is denied at once, with the policy's words. The same
    request again changes nothing. Raises the errors of `require_fits`, UnknownDataSet, and
    QuotaExceeded.
    """
    signed, now = SignedRequest.parse(asked.request.encode()), parts.now()
    request = signed.request
    data_set = parts.describe(request.target)
    require_fits(request, peer, parts.name, data_set, asked.join_code, now)
    with parts.book.exclusive(request.id):
        known = [each for each in parts.book.requests() if each.request.id == request.id]
        if known and known[0].session_id == peer.session_id and known[0].request == request:
            return known[0]
        uses = recent_uses(parts.book.requests(), peer.partner.id, now)
        access = access_of(request, peer.partner, data_set, request.fields, "given", uses, now)
        verdict = parts.policies.decide(access)
        stored = StoredRequest(
            session_id=peer.session_id,
            partner=peer.partner,
            signed=signed.to_bytes().decode(),
            words=request_words(request, data_set.description.tag, peer.partner.id),
            data_set=data_set.id,
            join_code=asked.join_code,
            policy_allows=verdict.allowed,
            **_judged(verdict),
        )
        unlogged = [parts.event(stored, "request")]
        if not verdict.allowed:
            reason = f"The policy: {verdict.reason}"[:LONGEST_REASON]
            stored = stored.after(Deny(reason), now)
            unlogged.append(_answer(parts, stored, "denied", reason))
        stored = stored.model_copy(update={"unlogged": tuple(unlogged)})
        parts.book.add(stored, now)
        parts.note("request", peer.partner.id, stored.words, request.id)
        if not verdict.allowed:
            parts.note("answer", parts.name, f"Denied by the policy: {verdict.reason}", request.id)
        return parts.try_log(stored)


def approve(
    parts: OwnerParts,
    request_id: str,
    fields: Sequence[str] | None = None,
    uses: Uses | None = None,
    not_after: int | None = None,
) -> StoredRequest:
    """Approve a request, or less of it; sign the receipt.

    Raises UnknownName, RequestClosed, InvalidRequest for more than was asked for, PolicyDenied,
    UnknownDataSet, and the server's errors, after which nothing has changed.
    """
    with parts.book.exclusive(request_id):
        stored, now = parts.book.get(request_id), parts.now()
        request = stored.request
        whole = Grant.whole(request)
        grant = Grant(
            fields=whole.fields if fields is None else _in_order(request, fields),
            uses=uses or whole.uses,
            not_after=whole.not_after if not_after is None else not_after,
        )
        approved = stored.after(Approve(grant), now)
        data_set = parts.describe(request.target)
        require_grantable(request, grant, data_set)
        recent = recent_uses(parts.book.requests(), stored.partner.id, now)
        access = access_of(request, stored.partner, data_set, grant.fields, "given", recent, now)
        verdict = parts.policies.decide(access)
        if not verdict.allowed:
            raise denied(verdict)
        categories = {
            name: ROW_COUNT if name == ROWS else parts.policies.category_of(access, name)
            for name in grant.fields
        }
        receipt = Receipt.issue(
            Allowed(
                request=request,
                grant=grant,
                policy_version=verdict.policy_version,
                principal=parts.name,
                controller=stored.partner.id,
                categories=categories,
                jurisdiction=JURISDICTION,
                events=[ReceiptEvent("approved", now, parts.name)],
            ),
            parts.key,
            new_id(),
            now,
        )
        text = receipt.to_bytes()
        reduced = grant != whole
        approved = approved.model_copy(update=_judged(verdict) | {"policy_allows": True})
        event = _answer(
            parts,
            approved,
            "reduced" if reduced else "allowed",
            digests={"receipt": hashlib.sha256(text).hexdigest()},
        )
        parts.flush_log(stored)
        entry = parts.server.log_event(stored.session_id, event)
        # The receipt goes to the institution in the session, in order before any permit.
        active = approved.after(Activate(), now).model_copy(
            update={"receipt": text.decode(), "unlogged": (), "problem": None}
        )
        parts.book.put(active)
        less = f", reduced to {listed(grant.fields)}, {uses_words(grant.uses)}" if reduced else ""
        parts.note("answer", parts.name, f"Approved{less}.", request_id, entry)
        parts.changed(request_id)
        return active


def deny(parts: OwnerParts, request_id: str, reason: str) -> StoredRequest:
    """Deny a request for a reason in words; raises UnknownName, RequestClosed, InvalidRequest."""
    return _answered(parts, request_id, Deny(reason), f"Denied: {reason}")


def pause(parts: OwnerParts, request_id: str) -> StoredRequest:
    """Stop the use for a while; raises UnknownName and RequestClosed."""
    return _answered(parts, request_id, Pause(), "Paused.")


def revoke(parts: OwnerParts, request_id: str, reason: str = "") -> StoredRequest:
    """Withdraw an approval for good; raises UnknownName, RequestClosed and InvalidRequest."""
    words = f"Revoked: {reason}" if reason else "Revoked."
    return _answered(parts, request_id, Revoke(reason), words)


def resume(parts: OwnerParts, request_id: str) -> StoredRequest:
    """End a pause; raises UnknownName, RequestClosed, and the server's errors unchanged."""
    with parts.book.exclusive(request_id):
        stored = parts.book.get(request_id)
        resumed = stored.after(Resume(), parts.now())
        stored = parts.flush_log(stored)
        entry = parts.server.log_event(stored.session_id, _answer(parts, stored, "resumed"))
        resumed = parts.book.put(resumed.model_copy(update={"unlogged": ()}))
        parts.note("resume", parts.name, "Resumed.", request_id, entry)
        parts.changed(request_id)
        return resumed


def _in_order(request: AccessRequest, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the fields in the order of the request, and those that it does not have at the end."""
    known = [name for name in request.fields if name in fields]
    return (*known, *(name for name in fields if name not in known))


def denied(verdict: Verdict) -> PolicyDenied:
    """Return the error of a verdict that denies."""
    rule = verdict.rules[0] if verdict.rules else ""
    return PolicyDenied(verdict.in_words(), reason=verdict.reason, policy_violation=rule)


def _answered(parts: OwnerParts, request_id: str, event: Event, words: str) -> StoredRequest:
    """Store an answer that takes a right away, then have it logged."""
    with parts.book.exclusive(request_id):
        stored = parts.book.get(request_id)
        after = stored.after(event, parts.now())
        match event:
            case Deny(reason):
                kind, logged = "answer", _answer(parts, stored, "denied", reason)
            case Revoke(reason):
                kind = "revocation"
                details = {"answer": reason} if reason else {}
                logged = parts.event(stored, "revocation", details=details)
            case _:
                kind, logged = "pause", _answer(parts, stored, "paused")
        changes: dict[str, object] = {"unlogged": (*stored.unlogged, logged)}
        if after.state().closed:
            changes["outbox"] = tuple(each for each in stored.outbox if each.marked)
        after = after.model_copy(update=changes)
        parts.book.put(after)
        parts.note(kind, parts.name, words, request_id)
        parts.changed(request_id)
        return parts.try_log(after)


def _answer(
    parts: OwnerParts,
    stored: StoredRequest,
    outcome: str,
    reason: str = "",
    digests: dict[str, str] | None = None,
) -> SessionEventRequest:
    details = {"answer": reason} if reason else {}
    return parts.event(stored, "answer", outcome, digests=digests or {}, details=details)


def _judged(verdict: Verdict) -> dict[str, object]:
    """Return the members of a stored request that come from a verdict."""
    return {
        "policy_words": verdict.in_words()[:LONGEST_WORDS],
        "policy_version": verdict.policy_version,
        "rules": verdict.rules[:64],
        "masks": {} if verdict.obligations is None else verdict.obligations.masks,
    }
