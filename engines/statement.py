"""The statement that a witness signs about one result, and its verification.

A witness evaluates a program a second time (witness/) and signs, with Ed25519 (RFC 8032), which
application, program, model and messages a result belongs to. A party builds the same statement
from what it knows itself: its own application, the model that it loaded, the messages that all
parties agreed to and the result that it fetched. The signature of any other statement fails, so a
party needs nothing from the server but the signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from utils.errors import ResultNotWitnessed

_DOMAIN = b"triseal witness statement 1\n"
"""Prefix of all signed statements; a witness's key signs nothing else that begins with it."""


@dataclass(frozen=True)
class Statement:
    """A claim that `result_sha256` is the result of a program on an application's messages.

    `messages` maps `slot_name` of every message that the program uses to its SHA-256. All digests
    are in hexadecimal.
    """

    application: str
    program: str
    model_sha256: str
    messages: Mapping[str, str]
    result_sha256: str

    def to_bytes(self) -> bytes:
        """Return the bytes to sign: a domain and JSON with sorted keys, without spaces."""
        fields = {
            "application": self.application,
            "program": self.program,
            "model": self.model_sha256,
            "messages": dict(self.messages),
            "result": self.result_sha256,
        }
        return _DOMAIN + _canonical(fields)

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """Return the signature, 64 bytes."""
        return key.sign(self.to_bytes())


def verify_statement(statement: Statement, key: bytes, signature: bytes, witness: str) -> None:
    """Verify the signature of the witness named `witness`, whose public key is `key` (32 bytes).

    Raises ResultNotWitnessed if the key or the signature is not valid.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, statement.to_bytes())
    except (InvalidSignature, ValueError) as error:
        raise ResultNotWitnessed(
            f"The signature of the witness {witness[:40]} does not belong to this application's "
            f"{statement.program[:16]}, its agreed records and this result. Nothing was opened. "
            f"Open a new application, and ask {witness[:40]} for the cause."
        ) from error


def slot_name(party: str, file_name: str) -> str:
    """Return the name of a message in a statement, such as `bank/encrypted_inputs`."""
    return f"{party}/{file_name}"


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
