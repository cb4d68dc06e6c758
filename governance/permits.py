"""Permits: an owner's signed, short-lived permission for exactly one use of its data.

A permit is a JSON Web Token (RFC 7519) signed with Ed25519 (RFC 8037) by the owner. Its header is
`{"alg": "EdDSA", "kid": <the owner's public key in hexadecimal>, "typ": "triseal-permit+jwt"}`.
Its claims bind it to the subject, the audience, the program and the inputs or the fields, and with
`cnf` (RFC 7800) to the key of the requester, who proves possession of it (RFC 9449 has the idea) by
signing the request with which the permit is redeemed. Whoever accepts a permit has to remember its
`jti` until it expires, so that it counts once.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from governance.canonical import KEY_PATTERN
from governance.request_state import PERMIT_SECONDS
from governance.requests import MOST_FIELDS, Action, Run
from utils.errors import PermitExpired, PermitInvalid
from utils.signed_requests import signed_bytes

ALGORITHM = "EdDSA"
TYPE = "triseal-permit+jwt"
LARGEST_PERMIT = 16 * 1024
"""Characters of a permit."""
MOST_INPUTS = 64
SKEW_SECONDS = 30
"""Seconds by which the clock of the issuer may be ahead."""
_PROOF_DOMAIN = b"triseal permit use 1\n"

_Text = Annotated[str, Field(min_length=1, max_length=256)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Seconds = Annotated[int, Field(ge=0, lt=2**40)]


class _OnlyEd25519(JWSRegistry):
    """The one algorithm of permits.

    RFC 9864 prefers the name Ed25519 for the same signature; the library warns of the name EdDSA,
    which more verifiers know.
    """

    def get_alg(self, name: str) -> Any:
        if name != ALGORITHM:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


_REGISTRY = _OnlyEd25519()


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Confirmation(_Strict):
    """The requester's public key, as the SHA-256 thumbprint of its JWK (RFC 7638, RFC 9449)."""

    jkt: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


class Permit(_Strict):
    """The claims of a permit.

    `sub` is the digest of the request or the id of the application, `aud` is who may accept it,
    `program` is the SHA-256 of the public model, and `inputs` maps the names of the messages that
    are used to their SHA-256. `masks` maps fields to masks. `run` is the program that the permit is
    for, if that is not the one named as the action: reasons are an explanation.
    """

    iss: _Text
    sub: _Text
    aud: _Text
    jti: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    iat: _Seconds
    exp: _Seconds
    action: Action
    program: _Digest | None = None
    inputs: Annotated[dict[_Text, _Digest], Field(max_length=MOST_INPUTS)] = {}
    fields: Annotated[tuple[_Text, ...], Field(max_length=MOST_FIELDS, strict=False)] = ()
    masks: Annotated[dict[_Text, _Text], Field(max_length=MOST_FIELDS)] = {}
    cnf: Confirmation | None = None
    run: Run | None = None

    @model_validator(mode="after")
    def _is_one_action(self) -> Self:
        if self.run is not None and self.action != "explain":
            raise ValueError("run: only an explanation has another program")
        return self

    @property
    def evaluates(self) -> str:
        """The program that the permit allows to run, or its action if that runs none."""
        return self.run or self.action


@dataclass(frozen=True)
class Use:
    """The use that a permit is for; the claims of the same names, with `requester` for `cnf`.

    `requester` is the requester's public key, 32 bytes.
    """

    iss: str
    sub: str
    aud: str
    action: Action
    program: str | None = None
    inputs: Mapping[str, str] | None = None
    fields: tuple[str, ...] = ()
    masks: Mapping[str, str] | None = None
    requester: bytes | None = None
    run: Run | None = None

    @property
    def evaluates(self) -> str:
        """The program of the use, or its action if that runs none."""
        return self.run or self.action

    def claims(self) -> dict[str, Any]:
        """Return the claims that any permit for the use has."""
        cnf = None if self.requester is None else {"jkt": thumbprint(self.requester)}
        return {
            "iss": self.iss,
            "sub": self.sub,
            "aud": self.aud,
            "action": self.action,
            "program": self.program,
            "inputs": dict(self.inputs or {}),
            "fields": list(self.fields),
            "masks": dict(self.masks or {}),
            "cnf": cnf,
            "run": self.run,
        }


def issue(
    key: Ed25519PrivateKey, use: Use, now: float, seconds: int = PERMIT_SECONDS, jti: str = ""
) -> str:
    """Return a permit for one use, signed with the owner's key.

    It is valid from `now`, in seconds since 1970, for `seconds`, at most 300. `jti` is 128 random
    bits in hexadecimal, made here if empty. Raises PermitInvalid for a use out of bounds.
    """
    if not 1 <= seconds <= PERMIT_SECONDS:
        raise PermitInvalid(f"A permit lives from 1 to {PERMIT_SECONDS} seconds.")
    times = {"iat": int(now), "exp": int(now) + seconds}
    claims = {**use.claims(), "jti": jti or secrets.token_hex(16), **times}
    _permit_of(json.dumps(claims).encode())
    header = {"alg": ALGORITHM, "kid": key.public_key().public_bytes_raw().hex(), "typ": TYPE}
    text = jwt.encode(header, claims, OKPKey.import_key(_jwk(key)), registry=_REGISTRY)
    if len(text) > LARGEST_PERMIT:
        raise PermitInvalid(f"A permit has at most {LARGEST_PERMIT} characters; name fewer fields.")
    return text


def verify(text: str, key: bytes, use: Use, now: float) -> Permit:
    """Return the claims of a permit for exactly this use, signed with the owner's key (32 bytes).

    The caller has to refuse a `jti` that it has accepted before. Raises PermitInvalid and
    PermitExpired.
    """
    permit = signed_by(text, key)
    require_use(permit, use, now)
    return permit


def require_use(permit: Permit, use: Use, now: float) -> None:
    """Raise PermitInvalid, naming the first claim that differs from the use, or PermitExpired."""
    wanted = use.claims()
    found = permit.model_dump(mode="json")
    for claim, value in wanted.items():
        if found[claim] != value:
            raise PermitInvalid(
                f"The permit is for another use: its claim {claim} differs. Ask its owner for a "
                "permit for this use."
            )
    require_time(permit, now)


def key_named_in(text: str) -> str:
    """Return the public key, in hexadecimal, that a permit says it is signed with, unverified.

    Raises PermitInvalid.
    """
    if len(text) > LARGEST_PERMIT:
        raise PermitInvalid(f"A permit has at most {LARGEST_PERMIT} characters.")
    try:
        named = jws.extract_compact(text.encode()).headers().get("kid")
    except (JoseError, ValueError) as error:
        raise _not_signed() from error
    if not isinstance(named, str) or re.fullmatch(KEY_PATTERN, named) is None:
        raise _not_signed()
    return named


def signed_by(text: str, key: bytes) -> Permit:
    """Return the claims of a permit that is signed with the owner's key, whatever it is for.

    Raises PermitInvalid.
    """
    if len(text) > LARGEST_PERMIT:
        raise PermitInvalid(f"A permit has at most {LARGEST_PERMIT} characters.")
    header = {"alg": ALGORITHM, "kid": key.hex(), "typ": TYPE}
    try:
        # Header and algorithm are fixed, so that nothing in the token selects how it is verified.
        found = jws.deserialize_compact(
            text.encode(), OKPKey.import_key(_public_jwk(key)), registry=_REGISTRY
        )
    except (JoseError, ValueError) as error:
        raise _not_signed() from error
    if found.headers() != header:
        raise _not_signed()
    return _permit_of(found.payload or b"")


def require_time(permit: Permit, now: float) -> None:
    """Raise PermitExpired, or PermitInvalid for one from the future or with too long a life."""
    if not permit.iat < permit.exp <= permit.iat + PERMIT_SECONDS:
        raise PermitInvalid(f"The permit is not one of at most {PERMIT_SECONDS} seconds.")
    if now >= permit.exp:
        raise PermitExpired(
            "The permit has expired; ask its owner for a new one. If it is new, the clock of the "
            "owner's machine is slow: set it."
        )
    if permit.iat > now + SKEW_SECONDS:
        raise PermitInvalid(
            "The permit was issued in the future: the clock of its owner's machine is fast; set it."
        )


def prove_possession(
    key: Ed25519PrivateKey, jti: str, method: str, target: str, body: bytes
) -> str:
    """Return the requester's signature of a request that redeems a permit, in hexadecimal.

    `target` is the path with query.
    """
    return key.sign(signed_bytes(_PROOF_DOMAIN, method, target, jti, body)).hex()


def require_possession(
    permit: Permit, key: bytes, signature: str, method: str, target: str, body: bytes
) -> None:
    """Raise PermitInvalid unless the request is signed with the key that the permit names.

    `key` is the sender's public key (32 bytes).
    """
    wrong = PermitInvalid(
        "The request is not signed with the key that the permit was issued to; only the requester "
        "itself can redeem a permit."
    )
    if permit.cnf is None or permit.cnf.jkt != thumbprint(key):
        raise wrong
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            bytes.fromhex(signature), signed_bytes(_PROOF_DOMAIN, method, target, permit.jti, body)
        )
    except (InvalidSignature, ValueError) as error:
        raise wrong from error


@lru_cache(maxsize=1024)
def thumbprint(key: bytes) -> str:
    """Return the SHA-256 thumbprint of a public key's JWK (RFC 7638), in base64url."""
    return OKPKey.import_key(_public_jwk(key)).thumbprint()


def _permit_of(payload: bytes) -> Permit:
    try:
        return Permit.model_validate_json(payload)
    except ValidationError as error:
        names = ", ".join(str(fault["loc"][0]) if fault["loc"] else "-" for fault in error.errors())
        raise PermitInvalid(f"The permit's claims are not valid: {names[:200]}.") from None


def _not_signed() -> PermitInvalid:
    return PermitInvalid("The permit is not signed by the owner of the data, or was altered.")


def _jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    return {
        **_public_jwk(key.public_key().public_bytes_raw()),
        "d": _base64(key.private_bytes_raw()),
    }


def _public_jwk(key: bytes) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64(key)}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
