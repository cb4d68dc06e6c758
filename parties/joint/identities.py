"""Identity keys: the signature by which a party's hello shows which institution sent it.

An institution's identity key is an Ed25519 key (RFC 8032) that lasts for all applications, and the
other parties pin its public half by the party's name. A party without such a key, for example the
applicant, makes one for each application. The signature covers the application, the party and all
other fields of the hello, so that it vouches for the signing and exchange keys in it and nowhere
else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from parties.joint.channel import KEY_BYTES, framed
from parties.joint.messages import Hello
from utils.errors import IdentityKeyInvalid, IdentityMismatch
from utils.fingerprints import grouped

_DOMAIN = b"triseal identity of a hello 1"
_SHOWN_DIGITS = 16


class Identified(Protocol):
    """A hello that names an identity key and is signed by it."""

    @property
    def identity_key(self) -> bytes: ...

    @property
    def identity_signature(self) -> bytes: ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self: ...

    def model_dump_json(self, *, exclude: set[str]) -> str: ...


H = TypeVar("H", bound=Identified)


class IdentityKey:
    """A party's private identity key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def fresh(cls) -> Self:
        """Create a key, with randomness from the operating system."""
        return cls(Ed25519PrivateKey.from_private_bytes(os.urandom(KEY_BYTES)))

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Restore a key from `to_pem`; raises IdentityKeyInvalid."""
        try:
            private = load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise IdentityKeyInvalid(
                "This is not an identity key: it must be an Ed25519 private key in PEM, without a "
                "password."
            )
        return cls(private)

    def to_pem(self) -> bytes:
        """Serialise the key for the institution's own file: PKCS #8 (RFC 8410) in PEM."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def private(self) -> Ed25519PrivateKey:
        """The private key, which signs an agent's requests, receipts and permits."""
        return self._private

    def signed(self, application: str, party: str, hello: H, domain: bytes = _DOMAIN) -> H:
        """Return `party`'s hello with this key and its signature in place of those given."""
        named = hello.model_copy(update={"identity_key": self.public})
        signature = self._private.sign(_statement(application, party, named, domain))
        return named.model_copy(update={"identity_signature": signature})


@dataclass(frozen=True)
class Trust:
    """A party's own identity key, and the pinned public keys of others by party.

    An `own` of None stands for a new key in every application.
    """

    own: IdentityKey | None = field(default=None, repr=False)
    pins: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class PartyIdentity:
    """Another party's public key, None before its hello, and whether it is pinned."""

    party: str
    key: bytes | None
    pinned: bool

    @property
    def words(self) -> str:
        """A few words for a person."""
        if self.pinned:
            return f"pinned, key {shown(self.key)}" if self.key else "pinned"
        return "not pinned: whoever has its join code can act for it"


def shown(key: bytes) -> str:
    """Return the first 16 hexadecimal digits of a public key, in groups of 4."""
    return grouped(key.hex(), _SHOWN_DIGITS)


def require_identity(application: str, party: str, hello: Hello, pin: bytes | None) -> None:
    """Raise IdentityMismatch unless the hello is signed by its identity key and fits the pin."""
    if pin is not None and hello.identity_key != pin:
        raise IdentityMismatch(
            f"The key {shown(hello.identity_key)} was used to join as {party}, but the key pinned "
            f"for {party} is {shown(pin)}: somebody else plays this party, or it has a new key. "
            f"Ask {party} by another channel. If its key is new, correct the trust file; then open "
            "a new application."
        )
    if not is_signed(application, party, hello):
        raise IdentityMismatch(
            f"The hello of {party} is not signed by the identity key that it names, "
            f"{shown(hello.identity_key)}: somebody else plays this party, or repeats an old "
            f"message. Ask {party} by another channel, and open a new application."
        )


def is_signed(application: str, party: str, hello: Identified, domain: bytes = _DOMAIN) -> bool:
    """Return True if `party`'s hello is signed by the identity key that it names."""
    try:
        key = Ed25519PublicKey.from_public_bytes(hello.identity_key)
        key.verify(hello.identity_signature, _statement(application, party, hello, domain))
    except (InvalidSignature, ValueError):
        return False
    return True


def _statement(application: str, party: str, hello: Identified, domain: bytes) -> bytes:
    """Return the bytes that an identity key signs: all that the hello says, and its context."""
    content = hello.model_dump_json(exclude={"identity_signature"}).encode()
    return framed(domain, application.encode(), party.encode(), content)
