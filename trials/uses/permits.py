"""Permits that are replayed, late, stolen, altered, or brought for something else."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

from governance.permits import ALGORITHM, TYPE, Use, issue
from trials.faults.application import Broken
from trials.uses.episode import FIELDS, Episode, refused
from trials.uses.registry import fault
from utils.errors import (
    ConsentMissing,
    InvalidRequest,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    RequestClosed,
    UnknownName,
)

LATE_SECONDS = 301
_B64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@fault("a permit replayed")
def replayed(episode: Episode, random: Random) -> str:
    """Bring a permit again, also after a restart of the owner, and by the direct exchange."""
    release = random.random() < 0.5
    permit = episode.permit(episode.approved(release, count=3))
    episode.bring(permit)
    if random.random() < 0.3:
        episode.restart_owner()
    code = refused(lambda: episode.bring(permit), PermitSpent)
    if release:
        owner = episode.owner
        refused(lambda: episode.bank.exchange(owner, permit[0], owner.key), PermitSpent)
    return code


@fault("a permit used late")
def late(episode: Episode, random: Random) -> str:
    """Bring an expired permit: by the owner's clock, or, if that is slow, by the server's."""
    request_id = episode.approved(random.random() < 0.5, count=2)
    slow = random.random() < 0.5
    if slow:
        episode.shift_clock(-LATE_SECONDS - 30)
    permit = episode.permit(request_id)
    if not slow:
        episode.shift_clock(LATE_SECONDS)
    code = refused(lambda: episode.bring(permit), PermitExpired)
    episode.shift_clock(LATE_SECONDS + 30 if slow else -LATE_SECONDS)
    if not episode.run_until_over(request_id):
        raise Broken("nothing half-done", "a late permit has cost a use")
    return f"{code}, by the {'server' if slow else 'owner'}"


@fault("a permit of another partner")
def stolen(episode: Episode, random: Random) -> str:
    """Have a second bank bring the first one's permit, or sign for it."""
    other = episode.new_bank()
    release = random.random() < 0.5
    permit, jti = episode.permit(episode.approved(release))
    way = random.choice(("session", "signature", "exchange")[: 3 if release else 2])
    match way:
        case "session":
            session = episode.connect(other)
            code = refused(lambda: other.bring(session, permit, jti), PermitInvalid, UnknownName)
        case "signature":
            proof = other.proof(episode.session, permit, jti)
            code = refused(
                lambda: episode.bank.bring(episode.session, permit, jti, proof), PermitInvalid
            )
        case _:
            owner = episode.owner
            code = refused(lambda: other.exchange(owner, permit, owner.key), PermitInvalid)
    _still_good(episode, (permit, jti))
    return f"{code}, by its {way}"


@fault("a permit for other fields")
def other_fields(episode: Episode, random: Random) -> str:
    """Name more fields, or weaker masks, in a permit."""
    permit = episode.permit(episode.approved(release=True, fields=FIELDS[:1]))
    clear = dict.fromkeys(FIELDS, '{"kind":"clear"}')
    claims: dict[str, Any] = {"fields": list(FIELDS), "masks": clear}
    if random.random() < 0.5:
        claims = {"masks": {FIELDS[0]: '{"kind":"clear"}'}}
    return _altered(episode, random, permit, claims)


@fault("a permit for another program")
def other_program(episode: Episode, random: Random) -> str:
    """Bring the permit of one computation for another."""
    permit = episode.permit(episode.approved())
    other = episode.approved(computation={"kind": "median", "column": "amount"})
    claims: dict[str, Any] = {"program": "ab" * 32}
    if random.random() < 0.5:
        claims = {"sub": episode.stored(other).request.digest}
    return _altered(episode, random, permit, claims)


@fault("a permit with an altered signature", weight=15)
def altered_signature(episode: Episode, random: Random) -> str:
    """Change the signature, its encoding, or the algorithm that a permit names."""
    token, jti = episode.permit(episode.approved(random.random() < 0.5))
    head, body, signature = token.split(".")
    way = random.choice(("a bit", "its spare bits", "cut", "none", "padded"))
    match way:
        case "a bit":
            raw = bytearray(_decoded(signature))
            raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)
            forged = f"{head}.{body}.{_encoded(bytes(raw))}"
        case "its spare bits":  # they are left out when the text is decoded
            last = _B64[_B64.index(signature[-1]) ^ random.randrange(1, 16)]
            forged = f"{head}.{body}.{signature[:-1]}{last}"
        case "cut":
            forged = f"{head}.{body}.{signature[: random.randrange(len(signature))]}"
        case "none":
            named = {"alg": "none", "kid": episode.owner.key, "typ": TYPE}
            forged = f"{_encoded(json.dumps(named).encode())}.{body}."
        case _:
            forged = f"{token}=="
    bank, session = episode.bank, episode.session
    code = refused(lambda: bank.bring(session, forged, jti), PermitInvalid)
    _still_good(episode, (token, jti))
    return f"{code} ({way})"


@fault("a request altered after its approval")
def altered_request(episode: Episode, random: Random) -> str:
    """Send an approved request again with more in it, under the same id."""
    request_id = episode.approved(release=True, fields=FIELDS[:1])
    request = episode.stored(request_id).request
    changes: dict[str, Any] = random.choice(
        (
            {"fields": FIELDS},
            {"purpose": "dpv:FraudPreventionAndDetection"},
            {"not_after": request.not_after + 10**6},
            {"retention_days": 0},
        )
    )
    altered = request.model_copy(update=changes)
    bank, session = episode.bank, episode.session
    code = refused(
        lambda: bank.ask_again(session, altered), RequestClosed, InvalidRequest, ConsentMissing
    )
    if set(episode.run_until_over(request_id)) != {FIELDS[0]}:
        raise Broken("nothing runs without a permit", "the altered request was executed")
    return code


def _altered(
    episode: Episode, random: Random, permit: tuple[str, str], claims: dict[str, Any]
) -> str:
    """Bring a permit with other claims, under the old signature or one of the bank's own."""
    token, jti = permit
    head, body, signature = token.split(".")
    changed = json.loads(_decoded(body)) | claims
    way = random.choice(("the old signature", "the bank's signature"))
    if way == "the old signature":
        forged = f"{head}.{_encoded(json.dumps(changed).encode())}.{signature}"
    else:
        key = episode.bank._identity
        use = Use(
            iss=changed["iss"],
            sub=changed["sub"],
            aud=changed["aud"],
            action=changed["action"],
            program=changed.get("program"),
            fields=tuple(changed["fields"]),
            masks=changed.get("masks", {}),
            requester=key.public,
        )
        forged = issue(key.private, use, changed["iat"], jti=jti)
        if random.random() < 0.5:  # and it says that the owner signed it
            named = {"alg": ALGORITHM, "kid": episode.owner.key, "typ": TYPE}
            _, *rest = forged.split(".")
            forged = ".".join([_encoded(json.dumps(named).encode()), *rest])
    bank, session = episode.bank, episode.session
    code = refused(lambda: bank.bring(session, forged, jti), PermitInvalid)
    _still_good(episode, permit)
    return f"{code} ({way})"


def _still_good(episode: Episode, permit: tuple[str, str]) -> None:
    """Use a permit after an attack: the attack must not have spent it."""
    episode.bring(permit)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
