"""Concrete's keys, for both engines that run on it: made and read by parties, kept by servers."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from concrete import fhe

from engines.concrete.structure import Structure
from engines.envelope import Header, digest_of, seal, unseal_as
from engines.interface import KeyPair
from utils.errors import MalformedMessage
from utils.randomness import random_seed

_KEPT_KEYS = 2


class PartyKeys:
    """Makes keys and gives clients that have them; `header` is that of the evaluation key.

    Concrete's serialisation holds secret and evaluation keys together, so the secret file is as
    large as both.
    """

    def __init__(self, specs: Any, header: Header) -> None:
        self._specs = specs
        self._header = header
        self._clients: dict[bytes, fhe.Client] = {}

    def make(self) -> KeyPair:
        """New keys, Concrete's CSPRNG seeded from the operating system."""
        client = fhe.Client(self._specs)
        client.keygen(force=True, secret_seed=random_seed(), encryption_seed=random_seed())
        secret = client.keys.serialize()
        self._clients = {secret: client}
        evaluation = seal(self._header, client.evaluation_keys.serialize())
        return KeyPair(secret=secret, evaluation=evaluation)

    def client(self, secret: bytes) -> fhe.Client:
        """A client with these keys; the last one is kept, since reading them takes a while.

        Raises MalformedMessage where `secret` is no key of this engine.
        """
        if secret not in self._clients:
            client = fhe.Client(self._specs)
            try:
                client.keys = fhe.Keys.deserialize(secret)
            except Exception as error:  # Concrete raises its own errors of many kinds
                raise MalformedMessage(
                    "The secret key file cannot be read; make the keys again."
                ) from error
            self._clients = {secret: client}
        return self._clients[secret]


class EvaluationKeys:
    """Reads evaluation keys and keeps the last few; safe to use from several threads.

    Where a `structure` is given, native code sees only keys that have it.
    """

    def __init__(self, header: Header, structure: Structure | None = None) -> None:
        self._header = header
        self._structure = structure
        self._kept: dict[bytes, Any] = {}  # the newest last
        self._lock = threading.Lock()

    def check(self, message: bytes | memoryview, intact: bool = False) -> None:
        """Conformance of a sealed message; raises MalformedMessage, ForeignMessage.

        Where the structure is known, that is all that can be wrong with a key, and native code,
        which takes five times as long, reads it when the key is first used. Nothing is kept:
        another process evaluates.
        """
        payload = self._conforming(message, intact)
        if self._structure is None:
            _deserialised(payload)

    def read(self, message: bytes) -> Any:
        """The keys in a sealed message; raises MalformedMessage, ForeignMessage."""
        keys = _deserialised(self._conforming(message))
        with self._lock:
            self._kept[digest_of(message)] = keys
            while len(self._kept) > _KEPT_KEYS:
                self._kept.pop(next(iter(self._kept)))
        return keys

    def _conforming(self, message: bytes | memoryview, intact: bool = False) -> memoryview:
        payload = unseal_as(self._header, message, intact)
        if self._structure is not None and not self._structure.holds(payload):
            raise MalformedMessage(
                "The evaluation key is none of this model's; make the keys again."
            )
        return payload

    def accepted(self, message: bytes) -> Any:
        """The keys in a message that `read` accepted before, if only in another process.

        A kept key is known by the digest at the message's end: hashing it all again would cost as
        much as a few bootstraps. Raises like `read`.
        """
        with self._lock:
            kept = self._kept.get(digest_of(message))
        return self.read(message) if kept is None else kept

    def forget(self, digests: Collection[bytes]) -> None:
        """Drop the keys of these messages; an evaluation under way keeps its own to its end."""
        with self._lock:
            for digest in digests:
                self._kept.pop(digest, None)


def _deserialised(payload: memoryview) -> Any:
    try:
        return fhe.EvaluationKeys.deserialize(bytes(payload))
    except Exception as error:  # Concrete raises its own errors of many kinds
        raise MalformedMessage("The evaluation key cannot be read; make the keys again.") from error
