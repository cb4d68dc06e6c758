"""Requests that a witness signs instead of sending a token.

The header is `Authorization: Witness <key> <seconds> <signature>`: the public key and the Ed25519
signature (RFC 8032) in hexadecimal, and the time in seconds since 1970. The signature covers
method, path with query, time and SHA-256 of the body. A captured request can be repeated within
WINDOW_SECONDS; every signed call may be repeated without harm.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from utils.errors import NotAuthorised

SCHEME = "Witness"
WINDOW_SECONDS = 60
"""Longest difference between the clocks of a witness and the server."""
_DOMAIN = b"triseal witness request 1\n"
_HEADER = re.compile(rf"{SCHEME} ([0-9a-f]{{64}}) (0|[1-9][0-9]{{0,11}}) ([0-9a-f]{{128}})")


def authorization(key: Ed25519PrivateKey, method: str, target: str, body: bytes, now: float) -> str:
    """Return the header's value for a request to `target`, its path with query."""
    public, seconds = key.public_key().public_bytes_raw(), int(now)
    signature = key.sign(_signed(method, target, seconds, body))
    return f"{SCHEME} {public.hex()} {seconds} {signature.hex()}"


def signer_of(
    header: str, method: str, target: str, body: bytes, now: float, known: Iterable[str]
) -> str:
    """Return the public key, one of `known`, that signed a request; raises NotAuthorised."""
    match = _HEADER.fullmatch(header)
    if match is None:
        raise NotAuthorised(
            f"Sign the request as a witness: `Authorization: {SCHEME} <key> <seconds> <signature>`."
        )
    key, seconds = match[1], int(match[2])
    # Every key is compared, so that the time does not tell which one was close.
    if sum(hmac.compare_digest(key, each) for each in known) != 1:
        raise NotAuthorised(
            "This server does not know the witness; ask its operator to add the key to "
            "TRISEAL_WITNESSES."
        )
    if abs(now - seconds) > WINDOW_SECONDS:
        raise NotAuthorised(
            f"The request was signed more than {WINDOW_SECONDS} seconds ago, or the clocks differ; "
            "set the clocks of the witness and the server."
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(match[3]), _signed(method, target, seconds, body)
        )
    except (InvalidSignature, ValueError) as error:
        raise NotAuthorised("The signature does not belong to this request.") from error
    return key


def signed_bytes(domain: bytes, method: str, target: str, context: str, body: bytes) -> bytes:
    """Return the bytes that a signature of a request covers.

    `domain` ends with a line feed and separates the kinds of signatures; `context` (without a line
    feed) is what else the signature is bound to.
    """
    digest = hashlib.sha256(body).hexdigest()
    return domain + f"{method}\n{target}\n{context}\n{digest}".encode()


def _signed(method: str, target: str, seconds: int, body: bytes) -> bytes:
    return signed_bytes(_DOMAIN, method, target, str(seconds), body)
