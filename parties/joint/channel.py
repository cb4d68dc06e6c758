"""Sealing between the parties: the server carries what they say, and can neither read nor alter it.

The first word of each party (its public keys) is sealed under a key made of the group secret that
their join codes carry. From the digest of all first words on, what is for all is sealed under a
group key, and what is for one under a key of just the two. All are ChaCha20-Poly1305 (RFC 8439)
with keys by HKDF-SHA-256 (RFC 5869) and X25519 (RFC 7748), and inside each is the sender's Ed25519
signature (RFC 8032), so that one party cannot speak as another. Associated data bind a message to
its application, model, sender, receiver and step; nonces are 96 random bits, fresh for each.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.joint.codes import GROUP_SECRET_BYTES
from utils.errors import MalformedMessage, NotAuthentic

FORMAT = b"triseal joint 1"
KEY_BYTES = 32
NONCE_BYTES = 12
SIGNATURE_BYTES = 64
OVERHEAD = len(FORMAT) + NONCE_BYTES + SIGNATURE_BYTES + 16
"""Bytes that sealing adds to a message."""


def framed(*parts: bytes) -> bytes:
    """Parts in one string that no other parts give: each has its length before it."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


@dataclass(frozen=True)
class Place:
    """Where a message belongs; it opens there and nowhere else. `receiver` None: all parties.

    `model` is empty for the first word, which says itself what model its sender means.
    """

    application: str
    model: str
    sender: str
    receiver: str | None
    step: str

    def associated(self) -> bytes:
        """The associated data."""
        to = b"all" if self.receiver is None else b"one:" + self.receiver.encode()
        names = (self.application, self.model, self.sender, self.step)
        return framed(FORMAT, *(name.encode() for name in names), to)


@dataclass(frozen=True)
class PublicIdentity:
    """What the others know a party by: raw Ed25519 and X25519 public keys."""

    signing: bytes
    exchange: bytes


class Identity:
    """A party's own keys in one application, and the group secret; never leaves its folder."""

    def __init__(self, group_secret: bytes, signing: bytes, exchange: bytes) -> None:
        self.group_secret = group_secret
        self._signing = Ed25519PrivateKey.from_private_bytes(signing)
        self._exchange = X25519PrivateKey.from_private_bytes(exchange)

    @classmethod
    def fresh(cls, group_secret: bytes) -> Self:
        """New keys, with randomness from the operating system."""
        return cls(group_secret, os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` gave; raises MalformedMessage."""
        if len(data) != GROUP_SECRET_BYTES + 2 * KEY_BYTES:
            raise MalformedMessage("The party's identity file is damaged; join a new application.")
        rest = data[GROUP_SECRET_BYTES:]
        return cls(data[:GROUP_SECRET_BYTES], rest[:KEY_BYTES], rest[KEY_BYTES:])

    def to_bytes(self) -> bytes:
        """For the party's own file."""
        keys = self._signing.private_bytes_raw() + self._exchange.private_bytes_raw()
        return self.group_secret + keys

    @property
    def public(self) -> PublicIdentity:
        return PublicIdentity(
            self._signing.public_key().public_bytes_raw(),
            self._exchange.public_key().public_bytes_raw(),
        )

    def sign(self, data: bytes) -> bytes:
        """A signature of SIGNATURE_BYTES."""
        return self._signing.sign(data)

    def shared_with(self, other: PublicIdentity) -> bytes:
        """32 bytes that only the two know; raises NotAuthentic for a key that gives none."""
        try:
            return self._exchange.exchange(X25519PublicKey.from_public_bytes(other.exchange))
        except ValueError as error:
            raise NotAuthentic("Another party's exchange key is not one.") from error


def transcript(application: str, first_words: Mapping[str, bytes]) -> bytes:
    """The digest of all parties' sealed first words, SHA-256."""
    parts = [framed(name.encode(), first_words[name]) for name in sorted(first_words)]
    return hashlib.sha256(framed(FORMAT, application.encode(), *parts)).digest()


class FirstWords:
    """Seals and opens the first word of each party, under the group secret."""

    def __init__(self, application: str, identity: Identity) -> None:
        self._key = _derive(identity.group_secret, application.encode(), b"first words")
        self._identity = identity

    def seal(self, place: Place, payload: bytes) -> bytes:
        """The sealed form of `payload`, signed."""
        return _seal(self._key, self._identity, place, payload)

    def open(self, place: Place, body: bytes) -> tuple[bytes, bytes]:
        """The payload, and its signature for `signed`; raises NotAuthentic."""
        return _open(self._key, place, body)


class Channel:
    """Seals and opens everything after the first words."""

    def __init__(
        self,
        party: str,
        identity: Identity,
        others: Mapping[str, PublicIdentity],
        digest: bytes,
    ) -> None:
        self._identity, self._others = identity, dict(others)
        self._group = _derive(identity.group_secret, digest, b"group")
        self._between: dict[str, bytes] = {}
        self.pairwise: dict[str, bytes] = {}
        """For every other party a key of 32 bytes that only the two know, for the engine."""
        for name, other in others.items():
            secret = identity.shared_with(other) + identity.group_secret
            pair = framed(*(n.encode() for n in sorted((party, name))))
            self._between[name] = _derive(secret, digest, b"between" + pair)
            self.pairwise[name] = _derive(secret, digest, b"engine" + pair)

    def seal(self, place: Place, payload: bytes) -> bytes:
        """Seal this party's `payload` for the place's receiver."""
        return _seal(self._key(place.receiver), self._identity, place, payload)

    def open(self, place: Place, body: bytes) -> bytes:
        """The payload of another party's message; raises NotAuthentic."""
        key = self._group if place.receiver is None else self._between[place.sender]
        payload, signature = _open(key, place, body)
        signed(self._others[place.sender], place, payload, signature)
        return payload

    def _key(self, receiver: str | None) -> bytes:
        return self._group if receiver is None else self._between[receiver]


def signed(sender: PublicIdentity, place: Place, payload: bytes, signature: bytes) -> None:
    """Raises NotAuthentic where this is not the sender's signature of the payload there."""
    try:
        key = Ed25519PublicKey.from_public_bytes(sender.signing)
        key.verify(signature, framed(place.associated(), payload))
    except (InvalidSignature, ValueError) as error:
        raise NotAuthentic(
            f"What came as {place.sender}'s {place.step} was not signed by {place.sender}."
        ) from error


def _seal(key: bytes, identity: Identity, place: Place, payload: bytes) -> bytes:
    associated = place.associated()
    signature = identity.sign(framed(associated, payload))
    nonce = os.urandom(NONCE_BYTES)
    sealed = ChaCha20Poly1305(key).encrypt(nonce, signature + payload, associated)
    return FORMAT + nonce + sealed


def _open(key: bytes, place: Place, body: bytes) -> tuple[bytes, bytes]:
    if len(body) < OVERHEAD or not body.startswith(FORMAT):
        raise NotAuthentic(
            f"What came as {place.sender}'s {place.step} is not a sealed message of this version."
        )
    nonce, sealed = body[len(FORMAT) :][:NONCE_BYTES], body[len(FORMAT) + NONCE_BYTES :]
    try:
        plain = ChaCha20Poly1305(key).decrypt(nonce, sealed, place.associated())
    except InvalidTag as error:
        raise NotAuthentic(
            f"What came as {place.sender}'s {place.step} was not sealed for this place: it was "
            "altered, or its sender has another join code. Nothing was taken from it."
        ) from error
    return plain[SIGNATURE_BYTES:], plain[:SIGNATURE_BYTES]


def _derive(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    info = framed(FORMAT, purpose)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


def commitment(application: str, party: str, step: str, nonce: bytes, value: bytes) -> str:
    """What a party commits to `value` by, before it opens it: SHA-256, in hexadecimal."""
    names: Iterable[bytes] = (name.encode() for name in (application, party, step))
    return hashlib.sha256(framed(FORMAT, b"commitment", *names, nonce, value)).hexdigest()
