"""The direct exchange of one record between an owner's and an institution's agent.

    POST /exchange
    {"permit": …, "key": …, "ephemeral": …, "signature": …}
    200 {"ephemeral": …, "sealed": …, "signature": …}

Both sides send a fresh X25519 key (RFC 7748). The institution signs its request with the key that
the permit names (governance.permits.prove_possession). The owner signs both keys, the permit's
digest and the sealed record with its identity key. The record is sealed by ChaCha20-Poly1305
(RFC 8439) under a key by HKDF-SHA-256 (RFC 5869) from the shared secret and the permit, so that
only this institution can open it, and only for this permit. Keys and signatures are in
hexadecimal, the sealed record in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from governance.canonical import canonical
from governance.masking import LONGEST_VALUE, Value
from governance.permits import LARGEST_PERMIT, Permit, prove_possession, require_possession
from governance.requests import MOST_FIELDS
from parties.joint.channel import framed
from utils.errors import InvalidRequest, MalformedMessage, NotAuthentic
from utils.strict_json import parse_json

METHOD, PATH = "POST", "/exchange"
EXCHANGE_CALL = 1
"""The call number of a result that the owner's agent sends in the session, because it was
interrupted before it could respond to the direct call."""
LARGEST_CALL = LARGEST_PERMIT + 1024
"""Bytes of the request."""
LARGEST_RECORD = 256 * 1024
"""Bytes of a record in JSON, with its request and entry."""
LARGEST_RESPONSE = 2 * LARGEST_RECORD
_DOMAIN = b"triseal record exchange 1\n"
_NONCE_BYTES, _KEY_BYTES = 12, 32

_Hex256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Hex512 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
_Scalar = (
    StrictBool
    | StrictInt
    | StrictFloat
    | Annotated[StrictStr, Field(max_length=LONGEST_VALUE)]
    | None
)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExchangeCall(_Body):
    """The institution's request; `read_call` parses it."""

    permit: str = Field(min_length=1, max_length=LARGEST_PERMIT, repr=False)
    key: _Hex256
    ephemeral: _Hex256
    signature: _Hex512

    def require_signed(self, permit: Permit) -> None:
        """Raise PermitInvalid unless the call is signed with the key that its permit names.

        `permit` has the verified claims of `self.permit`.
        """
        key = bytes.fromhex(self.key)
        body = _signed_part(self.permit, self.ephemeral)
        require_possession(permit, key, self.signature, METHOD, PATH, body)


class _Response(_Body):
    ephemeral: _Hex256
    sealed: str = Field(max_length=LARGEST_RESPONSE, repr=False)
    signature: _Hex512


class Released(_Body):
    """A masked record, the id of the request, and the use's entry in the server's log."""

    record: dict[str, _Scalar] = Field(max_length=MOST_FIELDS, repr=False)
    request_id: str = Field(max_length=128)
    entry: int | None = Field(default=None, ge=0)


@dataclass(frozen=True)
class OpenCall:
    """A call that was made, with the private key that opens the response."""

    call: ExchangeCall
    secret: X25519PrivateKey = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the body of the HTTP request."""
        return self.call.model_dump_json().encode()


def begin_call(token: str, jti: str, key: Ed25519PrivateKey) -> OpenCall:
    """Return the institution's call that redeems a permit; `jti` is that of the permit."""
    secret = X25519PrivateKey.from_private_bytes(os.urandom(_KEY_BYTES))
    ephemeral = secret.public_key().public_bytes_raw().hex()
    signature = prove_possession(key, jti, METHOD, PATH, _signed_part(token, ephemeral))
    public = key.public_key().public_bytes_raw().hex()
    call = ExchangeCall(permit=token, key=public, ephemeral=ephemeral, signature=signature)
    return OpenCall(call, secret)


def read_call(body: bytes) -> ExchangeCall:
    """Return the institution's call as an owner receives it; raises InvalidRequest.

    Verify the permit in it and then `require_signed`.
    """
    try:
        if len(body) > LARGEST_CALL:
            raise ValueError
        return ExchangeCall.model_validate(parse_json(body))
    except ValueError:
        # Without the cause, which shows the permit.
        raise InvalidRequest(
            "The exchange needs a JSON object with permit, key, ephemeral and signature."
        ) from None


def seal_record(
    call: ExchangeCall,
    identity: Ed25519PrivateKey,
    record: Mapping[str, Value],
    request_id: str,
    entry: int | None,
) -> bytes:
    """Return the owner's response: the record, sealed for the sender of the call.

    `identity` is the owner's identity key. Raises InvalidRequest for a key of the call that is not
    valid, and MalformedMessage for a record that is too large.
    """
    content = {"record": dict(record), "request_id": request_id, "entry": entry}
    plain = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    if len(plain) > LARGEST_RECORD:
        raise MalformedMessage(f"A record has at most {LARGEST_RECORD} bytes; release less of it.")
    secret = X25519PrivateKey.from_private_bytes(os.urandom(_KEY_BYTES))
    own = secret.public_key().public_bytes_raw()
    theirs = bytes.fromhex(call.ephemeral)
    context = _context(theirs, own, call.permit)
    try:
        key = _key(secret, theirs, context, call.permit)
    except ValueError as error:
        raise InvalidRequest("ephemeral: send a valid X25519 public key.") from error
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, context)
    response = _Response(
        ephemeral=own.hex(),
        sealed=base64.b64encode(sealed).decode(),
        signature=identity.sign(_DOMAIN + framed(context, sealed)).hex(),
    )
    return response.model_dump_json().encode()


def open_record(opened: OpenCall, body: bytes, owner_key: bytes) -> Released:
    """Return the record of an owner's response to a call.

    `owner_key` is the owner's identity key, 32 bytes. Raises NotAuthentic if the response is not
    the owner's to this call, and MalformedMessage.
    """
    try:
        if len(body) > LARGEST_RESPONSE:
            raise ValueError
        response = _Response.model_validate(parse_json(body))
        sealed = base64.b64decode(response.sealed, validate=True)
    except (ValueError, binascii.Error):
        raise MalformedMessage(
            "The response is not a sealed record: check that host and port are those of the "
            "owner's agent."
        ) from None
    theirs = bytes.fromhex(response.ephemeral)
    own = opened.secret.public_key().public_bytes_raw()
    context = _context(own, theirs, opened.call.permit)
    try:
        Ed25519PublicKey.from_public_bytes(owner_key).verify(
            bytes.fromhex(response.signature), _DOMAIN + framed(context, sealed)
        )
        key = _key(opened.secret, theirs, context, opened.call.permit)
        plain = ChaCha20Poly1305(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidSignature, InvalidTag, ValueError) as error:
        raise NotAuthentic(
            "The response was not sent by the owner of the data in reply to this call, or was "
            "altered. Check host and port, and the owner's key by another channel."
        ) from error
    try:
        return Released.model_validate(parse_json(plain))
    except ValidationError:
        raise MalformedMessage("The owner's agent sent a record that cannot be read.") from None
    except ValueError:
        raise MalformedMessage("The owner's agent sent a record that is not JSON.") from None


def _signed_part(token: str, ephemeral: str) -> bytes:
    return canonical({"permit": token, "ephemeral": ephemeral})


def _context(institution: bytes, owner: bytes, token: str) -> bytes:
    """Return what both the seal and the signature are bound to."""
    return framed(institution, owner, hashlib.sha256(token.encode()).digest())


def _key(secret: X25519PrivateKey, other: bytes, context: bytes, token: str) -> bytes:
    """Return the key of one exchange; raises ValueError for an invalid key of the other side."""
    shared = secret.exchange(X25519PublicKey.from_public_bytes(other))
    salt = hashlib.sha256(token.encode()).digest()
    return HKDF(SHA256(), _KEY_BYTES, salt, _DOMAIN + context).derive(shared)
