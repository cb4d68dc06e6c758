"""Requests that a witness, or the agent of a data owner, signs instead of sending a token.

The header is `Authorization: Witness <key> <seconds> <signature>`, with `Owner` for the agent of a
data owner: the public key and the Ed25519 signature (RFC 8032) in hexadecimal, and the time in
seconds since 1970. The signature covers method, path with query, time and SHA-256 of the body. A
captured request can be repeated within WINDOW_SECONDS; every signed call may be repeated without
harm.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from utils.errors import NotAuthorised

SCHEME, OWNER = "Witness", "Owner"
WINDOW_SECONDS = 60
"""Longest difference between the clocks of a witness and the server."""
_DOMAINS = {SCHEME: b"triseal witness request 1\n", OWNER: b"triseal owner request 1\n"}
_SIGNERS = {SCHEME: "witness", OWNER: "agent of a data owner"}
_SETTINGS = {SCHEME: "TRISEAL_WITNESSES", OWNER: "TRISEAL_OWNERS"}
_FIELDS = r"([0-9a-f]{64}) (0|[1-9][0-9]{0,11}) ([0-9a-f]{128})"


def authorization(
    key: Ed25519PrivateKey,
    method: str,
    target: str,
    body: bytes,
    now: float,
    scheme: str = SCHEME,
) -> str:
    """Return the header's value for a request to `target`, its path with query."""
    public, seconds = key.public_key().public_bytes_raw(), int(now)
    signature = key.sign(_signed(scheme, method, target, seconds, body))
    return f"{scheme} {public.hex()} {seconds} {signature.hex()}"


def signer_of(
    header: str,
    method: str,
    target: str,
    body: bytes,
    now: float,
    known: Iterable[str] | None,
    scheme: str = SCHEME,
) -> str:
    """Return the public key, one of `known` (None: any key), that signed a request.

    Raises NotAuthorised.
    """
    match = re.fullmatch(f"{scheme} {_FIELDS}", header)
    if match is None:
        raise NotAuthorised(
            f"Sign the request as a {_SIGNERS[scheme]}: "
            f"`Authorization: {scheme} <key> <seconds> <signature>`."
        )
    key, seconds = match[1], int(match[2])
    # Every key is compared, so that the time does not tell which one was close.
    if known is not None and sum(hmac.compare_digest(key, each) for each in known) != 1:
        raise NotAuthorised(
            f"This server does not know the {_SIGNERS[scheme]}; ask its operator to add the key to "
            f"{_SETTINGS[scheme]}."
        )
    if abs(now - seconds) > WINDOW_SECONDS:
        raise NotAuthorised(
            f"The request was signed more than {WINDOW_SECONDS} seconds ago, or the clocks differ; "
            f"set the clocks of the {_SIGNERS[scheme]} and the server."
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(match[3]), _signed(scheme, method, target, seconds, body)
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


def _signed(scheme: str, method: str, target: str, seconds: int, body: bytes) -> bytes:
    return signed_bytes(_DOMAINS[scheme], method, target, str(seconds), body)
