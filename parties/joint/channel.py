"""Sealing of messages between the parties; the server relays them but cannot read or alter them.

The first message of each party, its hello with its public keys, is sealed under a key derived from
the group secret in the join codes. All later keys also depend on the digest of all hellos: a
message for all parties is sealed under a group key, a message for one party under a key that only
sender and receiver know. The cipher is ChaCha20-Poly1305 (RFC 8439), with keys by HKDF-SHA-256
(RFC 5869) and X25519 (RFC 7748). Each sealed message contains the sender's Ed25519 signature
(RFC 8032), so that no party can impersonate another. The associated data bind a message to its
application, model, sender, receiver and step; every message has a fresh random nonce of 96 bits.
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

from governance.permits import Use, issue
from governance.receipts import Allowed, Receipt
from utils.errors import MalformedMessage, NotAuthentic
from utils.tokens import new_id

FORMAT = b"triseal joint 1"
GROUP_SECRET_BYTES = 16
KEY_BYTES = 32
NONCE_BYTES = 12
SIGNATURE_BYTES = 64
OVERHEAD = len(FORMAT) + NONCE_BYTES + SIGNATURE_BYTES + 16
"""Bytes that sealing adds to a message."""
_ALL = ""
"""In place of a party's name: the key of messages to all."""


def framed(*parts: bytes) -> bytes:
    """Join `parts` unambiguously, each prefixed with its length in 8 bytes, little-endian."""
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


@dataclass(frozen=True)
class Place:
    """The context that a message is bound to; it cannot be opened in any other.

    A `receiver` of None stands for all parties. `model` is empty for the hello, which names the
    sender's model in its payload.
    """

    application: str
    model: str
    sender: str
    receiver: str | None
    step: str

    def associated(self) -> bytes:
        """Return the associated data for the cipher and the signature."""
        to = b"all" if self.receiver is None else b"one:" + self.receiver.encode()
        names = (self.application, self.model, self.sender, self.step)
        return framed(FORMAT, *(name.encode() for name in names), to)


@dataclass(frozen=True)
class PublicIdentity:
    """A party's raw Ed25519 and X25519 public keys."""

    signing: bytes
    exchange: bytes


class Identity:
    """A party's private keys in one application, and the group secret; never leaves its folder."""

    def __init__(self, group_secret: bytes, signing: bytes, exchange: bytes) -> None:
        self.group_secret = group_secret
        self._signing = Ed25519PrivateKey.from_private_bytes(signing)
        self._exchange = X25519PrivateKey.from_private_bytes(exchange)

    @classmethod
    def fresh(cls, group_secret: bytes) -> Self:
        """Create new keys, with randomness from the operating system."""
        return cls(group_secret, os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore an identity from `to_bytes`; raises MalformedMessage."""
        if len(data) != GROUP_SECRET_BYTES + 2 * KEY_BYTES:
            raise MalformedMessage("The party's identity file is damaged; join a new application.")
        rest = data[GROUP_SECRET_BYTES:]
        return cls(data[:GROUP_SECRET_BYTES], rest[:KEY_BYTES], rest[KEY_BYTES:])

    def to_bytes(self) -> bytes:
        """Serialise the keys and the group secret for the party's own file."""
        keys = self._signing.private_bytes_raw() + self._exchange.private_bytes_raw()
        return self.group_secret + keys

    def without_exchange(self) -> Identity:
        """Return the same with another exchange key: it signs, and shares nothing any more."""
        return Identity(self.group_secret, self._signing.private_bytes_raw(), os.urandom(KEY_BYTES))

    @property
    def public(self) -> PublicIdentity:
        return PublicIdentity(
            self._signing.public_key().public_bytes_raw(),
            self._exchange.public_key().public_bytes_raw(),
        )

    def sign(self, data: bytes) -> bytes:
        """Return a signature of SIGNATURE_BYTES bytes."""
        return self._signing.sign(data)

    def permit(self, use: Use, now: float) -> str:
        """Return a permit for a use of the party's data, signed with the signing key."""
        return issue(self._signing, use, now)

    def receipt(self, allowed: Allowed, now: float) -> Receipt:
        """Return a consent receipt with a fresh id, signed with the signing key."""
        return Receipt.issue(allowed, self._signing, new_id(), int(now))

    def shared_with(self, other: PublicIdentity) -> bytes:
        """Return 32 bytes known to the two parties only; raises NotAuthentic for an invalid key."""
        try:
            return self._exchange.exchange(X25519PublicKey.from_public_bytes(other.exchange))
        except ValueError as error:
            raise NotAuthentic("Another party's exchange key is not valid.") from error


def transcript(application: str, first_words: Mapping[str, bytes]) -> bytes:
    """Return the SHA-256 digest of all parties' sealed hellos."""
    parts = [framed(name.encode(), first_words[name]) for name in sorted(first_words)]
    return hashlib.sha256(framed(FORMAT, application.encode(), *parts)).digest()


class FirstWords:
    """Seals and opens the hello of each party, under a key derived from the group secret."""

    def __init__(self, application: str, identity: Identity) -> None:
        self._key = _derive(identity.group_secret, application.encode(), b"first words")
        self._identity = identity

    def seal(self, place: Place, payload: bytes) -> bytes:
        """Sign and seal `payload`."""
        return _seal(self._key, self._identity, place, payload)

    def open(self, place: Place, body: bytes) -> tuple[bytes, bytes]:
        """Return the payload, and its signature for `signed`; raises NotAuthentic."""
        return _open(self._key, place, body)


class Channel:
    """Seals and opens every message after the hellos."""

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
        """For the engine: by other party, a key of 32 bytes that only the two parties know."""
        for name, other in others.items():
            secret = identity.shared_with(other) + identity.group_secret
            pair = framed(*(n.encode() for n in sorted((party, name))))
            self._between[name] = _derive(secret, digest, b"between" + pair)
            self.pairwise[name] = _derive(secret, digest, b"engine" + pair)

    @classmethod
    def resumed(
        cls,
        identity: Identity,
        others: Mapping[str, PublicIdentity],
        keys: Mapping[str, bytes],
    ) -> Self:
        """Return the channel of which `keys()` were kept; without `pairwise`."""
        channel = cls.__new__(cls)
        channel._identity, channel._others, channel.pairwise = identity, dict(others), {}
        channel._group = keys[_ALL]
        channel._between = {name: key for name, key in keys.items() if name != _ALL}
        return channel

    def review_key(self, other: str) -> bytes:
        """Return a key of 32 bytes that only the two parties know, for the texts of a review."""
        return _derive(self._between[other], b"", b"review")

    def keys(self) -> dict[str, bytes]:
        """Return the keys that seal messages, from which `pairwise` does not follow; secret."""
        return {_ALL: self._group, **self._between}

    def seal(self, place: Place, payload: bytes) -> bytes:
        """Sign `payload` and seal it for the receiver of `place`."""
        return _seal(self._key(place.receiver), self._identity, place, payload)

    def open(self, place: Place, body: bytes) -> bytes:
        """Return the payload of another party's message; raises NotAuthentic."""
        key = self._group if place.receiver is None else self._between[place.sender]
        payload, signature = _open(key, place, body)
        signed(self._others[place.sender], place, payload, signature)
        return payload

    def _key(self, receiver: str | None) -> bytes:
        return self._group if receiver is None else self._between[receiver]


def signed(sender: PublicIdentity, place: Place, payload: bytes, signature: bytes) -> None:
    """Verify the sender's signature of `payload` at `place`; raises NotAuthentic."""
    try:
        key = Ed25519PublicKey.from_public_bytes(sender.signing)
        key.verify(signature, framed(place.associated(), payload))
    except (InvalidSignature, ValueError) as error:
        raise NotAuthentic(
            f"The message received as {place.sender}'s {place.step} was not signed by "
            f"{place.sender}."
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
            f"The message received as {place.sender}'s {place.step} is not a sealed message of "
            "this version."
        )
    nonce, sealed = body[len(FORMAT) :][:NONCE_BYTES], body[len(FORMAT) + NONCE_BYTES :]
    try:
        plain = ChaCha20Poly1305(key).decrypt(nonce, sealed, place.associated())
    except InvalidTag as error:
        raise NotAuthentic(
            f"The message received as {place.sender}'s {place.step} cannot be opened: it was "
            "altered or moved, or its sender used another join code. It was ignored."
        ) from error
    return plain[SIGNATURE_BYTES:], plain[:SIGNATURE_BYTES]


def _derive(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    info = framed(FORMAT, purpose)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


def commitment(application: str, party: str, step: str, nonce: bytes, value: bytes) -> str:
    """Return a party's commitment to `value`: SHA-256 in hexadecimal, opened with `nonce`."""
    names: Iterable[bytes] = (name.encode() for name in (application, party, step))
    return hashlib.sha256(framed(FORMAT, b"commitment", *names, nonce, value)).hexdigest()
