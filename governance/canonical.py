"""Canonical JSON, its digest, and documents signed with Ed25519.

The canonical form is that of RFC 8785 (JSON Canonicalization Scheme, 2020), restricted to null,
booleans, strings, integers that JSON parsers represent exactly, lists and objects. Floating-point
numbers are refused, since parsers disagree about them: send a decimal number as a string.

A signed document has a member `proof` with the public key and the Ed25519 signature (RFC 8032),
both in hexadecimal. The signature covers a domain, which separates the kinds of documents, and the
canonical form of all other members.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LARGEST_INTEGER = 2**53 - 1
"""Largest absolute value of an integer: what IEEE 754 represents exactly (RFC 7493, 2.2)."""
DEEPEST = 32
"""Levels of nested lists and objects."""
PROOF = "proof"
KEY_PATTERN = r"^[0-9a-f]{64}$"
SIGNATURE_PATTERN = r"^[0-9a-f]{128}$"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def canonical(value: object) -> bytes:
    """Return the canonical form of a JSON value, in UTF-8.

    Raises ValueError for a value that has none: of another type, a number out of range, text that
    is not valid Unicode, or nested too deeply.
    """
    return _ENCODER.encode(_ordered(value, DEEPEST)).encode()


def digest(value: object) -> str:
    """Return the SHA-256 of the canonical form, in hexadecimal; raises ValueError as it does."""
    return hashlib.sha256(canonical(value)).hexdigest()


def signed(key: Ed25519PrivateKey, domain: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with its `proof`, in place of one that it has; raises ValueError.

    `domain` ends with a line feed, so that none begins with another.
    """
    content = _without_proof(document)
    proof = {
        "key": key.public_key().public_bytes_raw().hex(),
        "signature": key.sign(domain + canonical(content)).hex(),
    }
    return {**content, PROOF: proof}


def signer_of(domain: bytes, document: Mapping[str, Any]) -> str | None:
    """Return the public key, in hexadecimal, that signed a document; None if it is not signed.

    The caller has to compare the key with the one that it expects.
    """
    proof = document.get(PROOF)
    if not isinstance(proof, dict) or proof.keys() != {"key", "signature"}:
        return None
    key, signature = proof["key"], proof["signature"]
    if not _fits(KEY_PATTERN, key) or not _fits(SIGNATURE_PATTERN, signature):
        return None
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), domain + canonical(_without_proof(document))
        )
    except (InvalidSignature, ValueError):
        return None
    return str(key)


def _without_proof(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != PROOF}


def _fits(pattern: str, value: object) -> bool:
    # `$` also matches before a final line feed, hence the whole text.
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _ordered(value: object, levels: int) -> object:
    """Return the value with the members of all objects in the order of RFC 8785, 3.2.3."""
    if isinstance(value, str):
        return _valid(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise ValueError(f"integers are at most {LARGEST_INTEGER}; send a larger one as a text")
        return int(value)
    if not isinstance(value, list | tuple | dict):
        raise ValueError(f"JSON for signing has no {type(value).__name__}; send it as a text")
    if levels == 0:
        raise ValueError(f"it is nested in more than {DEEPEST} levels")
    if isinstance(value, list | tuple):
        return [_ordered(item, levels - 1) for item in value]
    return {name: _ordered(value[name], levels - 1) for name in _names(value)}


def _names(value: Mapping[Any, object]) -> list[str]:
    """Return the names of an object's members in the order of their UTF-16 code units."""
    try:
        simple = "".join(value).isascii()
    except TypeError as error:
        raise ValueError("names of members are texts") from error
    # Code points of ASCII are in the same order, and compared faster.
    return sorted(value, key=None if simple else lambda name: _valid(name).encode("utf-16-be"))


def _valid(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text is not valid Unicode") from error
    return text
