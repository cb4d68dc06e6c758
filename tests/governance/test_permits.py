"""A permit counts for exactly one use, for its time, and in the hands of its requester."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from governance.permits import (
    LARGEST_PERMIT,
    SKEW_SECONDS,
    TYPE,
    Use,
    issue,
    prove_possession,
    require_possession,
    signed_by,
    verify,
)
from tests.governance.requests_for_tests import NOW, OWNER_KEY, REQUESTER_KEY, public
from utils.errors import PermitExpired, PermitInvalid

OWNER = public(OWNER_KEY)
USE = Use(
    iss="applicant",
    sub="ab" * 16,
    aud="http://server",
    action="decide",
    program="12" * 32,
    inputs={"applicant encrypted_inputs": "34" * 32},
    fields=("month",),
    masks={"month": "band"},
    requester=public(REQUESTER_KEY),
)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, claims, signature = text.split(".")
    return *(json.loads(base64.urlsafe_b64decode(p + "==")) for p in (header, claims)), signature


def test_permit_is_accepted_for_its_use_and_time() -> None:
    text = issue(OWNER_KEY, USE, NOW + 0.9)
    permit = verify(text, OWNER, USE, NOW + 299)
    assert (permit.iat, permit.exp, len(permit.jti)) == (NOW, NOW + 300, 32)
    assert parts(text)[0] == {"alg": "EdDSA", "kid": OWNER.hex(), "typ": TYPE}
    assert verify(issue(OWNER_KEY, USE, NOW), OWNER, USE, NOW).jti != permit.jti


@pytest.mark.parametrize("late", [300, 301, 10**6])
def test_late_permit_is_refused(late: int) -> None:
    with pytest.raises(PermitExpired):
        verify(issue(OWNER_KEY, USE, NOW), OWNER, USE, NOW + late)


def test_permit_from_the_future_is_refused_beyond_the_skew() -> None:
    text = issue(OWNER_KEY, USE, NOW)
    verify(text, OWNER, USE, NOW - SKEW_SECONDS)
    with pytest.raises(PermitInvalid, match="future"):
        verify(text, OWNER, USE, NOW - SKEW_SECONDS - 1)


@pytest.mark.parametrize("seconds", [0, -1, 301])
def test_life_is_limited(seconds: int) -> None:
    with pytest.raises(PermitInvalid):
        issue(OWNER_KEY, USE, NOW, seconds)


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW + 301, NOW + 10**6])
def test_signed_permit_with_another_life_is_refused(exp: int) -> None:
    claims = {**USE.claims(), "jti": "cd" * 16, "iat": NOW, "exp": exp}
    with pytest.raises(PermitInvalid):
        verify(forged(claims=claims), OWNER, USE, NOW - 2)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "bank"},
        {"sub": "ac" * 16},
        {"aud": "http://other"},
        {"action": "explain"},
        {"program": "13" * 32},
        {"program": None},
        {"inputs": {"applicant encrypted_inputs": "35" * 32}},
        {"inputs": {}},
        {"fields": ("month", "amount")},
        {"fields": ()},
        {"masks": {}},
        {"masks": {"month": "drop"}},
        {"requester": OWNER},
        {"requester": None},
    ],
)
def test_permit_of_another_use_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PermitInvalid, match="another use"):
        verify(issue(OWNER_KEY, replace(USE, **change), NOW), OWNER, USE, NOW)


def forged(
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    key: Any = OWNER_KEY,
) -> str:
    """Return a token of any header and claims, with a valid signature of `key`."""
    head = {"alg": "EdDSA", "kid": OWNER.hex(), "typ": TYPE} if header is None else header
    times = {"iat": NOW, "exp": NOW + 300}
    body = {**USE.claims(), "jti": "cd" * 16, **times} if claims is None else claims
    text = f"{encoded(head)}.{encoded(body)}"
    signature = key.sign(text.encode())
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_control_forgeries_differ_in_the_forged_part_only() -> None:
    verify(forged(), OWNER, USE, NOW)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": OWNER.hex(), "typ": TYPE},
        {"alg": "Ed25519", "kid": OWNER.hex(), "typ": TYPE},
        {"alg": "HS256", "kid": OWNER.hex(), "typ": TYPE},
        {"alg": "EdDSA", "kid": OWNER.hex(), "typ": "JWT"},
        {"alg": "EdDSA", "kid": "00" * 32, "typ": TYPE},
        {"alg": "EdDSA", "typ": TYPE},
        {"alg": "EdDSA", "kid": OWNER.hex(), "typ": TYPE, "jku": "http://x"},
        {"alg": "EdDSA", "kid": OWNER.hex(), "typ": TYPE, "crit": ["b64"], "b64": False},
        {},
    ],
)
def test_other_header_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(PermitInvalid):
        verify(forged(header), OWNER, USE, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"jti": "cd"},
        {"jti": None},
        {"iat": NOW + 0.5},
        {"iat": True},
        {"exp": str(NOW + 300)},
        {"exp": 2**50},
        {"action": "delete"},
        {"inputs": {str(n): "34" * 32 for n in range(65)}},
        {"fields": "month"},
        {"cnf": {"jwk": {}}},
    ],
)
def test_claims_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    claims = {**USE.claims(), "jti": "cd" * 16, "iat": NOW, "exp": NOW + 300, **change}
    with pytest.raises(PermitInvalid):
        signed_by(forged(claims=claims), OWNER)


def test_signature_of_another_key_is_refused() -> None:
    with pytest.raises(PermitInvalid, match="not signed"):
        verify(forged(key=REQUESTER_KEY), OWNER, USE, NOW)
    named = {"alg": "EdDSA", "kid": public(REQUESTER_KEY).hex(), "typ": TYPE}
    with pytest.raises(PermitInvalid, match="not signed"):
        verify(forged(named, key=REQUESTER_KEY), OWNER, USE, NOW)


def test_hmac_under_the_public_key_is_refused() -> None:
    claims = {**USE.claims(), "jti": "cd" * 16, "iat": NOW, "exp": NOW + 300}
    header = {"alg": "HS256", "kid": OWNER.hex(), "typ": TYPE}
    for secret in (OWNER, OWNER.hex().encode()):
        text = jwt.encode(header, dict(claims), OctKey.import_key(secret), ["HS256"])
        with pytest.raises(PermitInvalid):
            verify(text, OWNER, USE, NOW)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.b.c", "x" * (LARGEST_PERMIT + 1)])
def test_malformed_permit_is_refused(text: str) -> None:
    with pytest.raises(PermitInvalid):
        verify(text, OWNER, USE, NOW)


def test_altered_characters_are_refused() -> None:
    text = issue(OWNER_KEY, USE, NOW, jti="cd" * 16)
    for place in range(0, len(text), 7):
        altered = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(PermitInvalid):
            verify(altered, OWNER, USE, NOW)


def test_possession_of_the_key_is_proved_for_one_request() -> None:
    permit = verify(issue(OWNER_KEY, USE, NOW), OWNER, USE, NOW)
    key, request = public(REQUESTER_KEY), ("POST", "/redeem?x=1", b"body")
    proof = prove_possession(REQUESTER_KEY, permit.jti, *request)
    require_possession(permit, key, proof, *request)
    for method, target, body in (
        ("GET", "/redeem?x=1", b"body"),
        ("POST", "/redeem?x=2", b"body"),
        ("POST", "/redeem?x=1", b"other"),
    ):
        with pytest.raises(PermitInvalid):
            require_possession(permit, key, proof, method, target, body)
    for wrong in ("", "zz", "00" * 64):
        with pytest.raises(PermitInvalid):
            require_possession(permit, key, wrong, *request)


def test_stolen_permit_is_useless_without_the_requesters_key() -> None:
    permit = verify(issue(OWNER_KEY, USE, NOW), OWNER, USE, NOW)
    request = ("POST", "/redeem", b"")
    thief = OWNER_KEY
    proof = prove_possession(thief, permit.jti, *request)
    with pytest.raises(PermitInvalid):
        require_possession(permit, public(thief), proof, *request)
    with pytest.raises(PermitInvalid):
        require_possession(permit, public(REQUESTER_KEY), proof, *request)
    open_to_all = verify(
        issue(OWNER_KEY, replace(USE, requester=None), NOW),
        OWNER,
        replace(USE, requester=None),
        NOW,
    )
    with pytest.raises(PermitInvalid):
        require_possession(
            open_to_all,
            public(REQUESTER_KEY),
            prove_possession(REQUESTER_KEY, open_to_all.jti, *request),
            *request,
        )


def test_library_reads_the_permit_as_any_token() -> None:
    text = issue(OWNER_KEY, USE, NOW)
    jwk = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": base64.urlsafe_b64encode(OWNER).decode().rstrip("="),
    }
    with pytest.warns(match="9864"):
        found = jwt.decode(text, OKPKey.import_key(jwk), ["EdDSA"])
    assert found.claims["sub"] == USE.sub
