"""The key under which an application's relayed messages lie in the database.

A database keeps erased rows for a while: in free space of its pages, in its log, in its replicas
and backups. The messages are sealed there (AES-256-GCM, NIST SP 800-38D) under a key of their own
application, made with its first message, whose only lasting copy is a blob that goes when the
application is erased; what a database still has can then be read by nobody.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.storage.blobs import Blobs
from utils.errors import StoredDataDamaged

KEY_BYTES = 32
NONCE_BYTES = 12
KEPT = 256
"""Keys kept in memory, of the applications that spoke last."""


class RelayKeys:
    """Makes, reads and forgets the keys; safe to use from several threads."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: OrderedDict[str, tuple[str, AESGCM]] = OrderedDict()  # by store
        self._lock = threading.Lock()

    def make(self, store: str) -> str:
        """A new key in an application's store; the name of its blob."""
        return self._blobs.write(store, secrets.token_bytes(KEY_BYTES))

    def seal(self, store: str, key: str, body: bytes, place: str) -> bytes:
        """`body` sealed for one `place`, which no other place opens."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher(store, key).encrypt(nonce, body, place.encode())

    def open(self, store: str, key: str, sealed: bytes, place: str) -> bytes:
        """What was sealed for that place; raises StoredDataDamaged."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher(store, key).decrypt(nonce, rest, place.encode())
        except (InvalidTag, ValueError) as error:
            raise StoredDataDamaged(
                "A message that the server kept is not what was sent. Open a new application."
            ) from error

    def forget(self, store: str) -> None:
        """Drop the key of an application that has been erased."""
        with self._lock:
            self._kept.pop(store, None)

    def _cipher(self, store: str, key: str) -> AESGCM:
        with self._lock:
            known, cipher = self._kept.get(store, (None, None))
            if cipher is not None and known == key:
                self._kept.move_to_end(store)
                return cipher
        cipher = AESGCM(self._blobs.read(store, key))
        with self._lock:
            self._kept[store] = (key, cipher)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return cipher
