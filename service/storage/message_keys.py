"""The keys that encrypt applications' relayed messages in the database.

A database retains erased rows for a while: in free space of its pages, in its log, in replicas and
backups. So the messages are encrypted (AES-256-GCM, NIST SP 800-38D) under a key per application,
created with its first message. The only durable copy of the key is a blob that is removed when the
application is erased; the rows that remain can then no longer be decrypted.
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
"""Keys cached in memory, for the most recently used applications."""


class RelayKeys:
    """Creates, caches and forgets the keys; thread-safe."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._kept: OrderedDict[str, tuple[str, AESGCM]] = OrderedDict()  # by store
        self._lock = threading.Lock()

    def make(self, store: str) -> str:
        """Create a key in an application's store; return the name of its blob."""
        return self._blobs.write(store, secrets.token_bytes(KEY_BYTES))

    def seal(self, store: str, key: str, body: bytes, place: str) -> bytes:
        """Encrypt `body`, bound to `place`: it can be decrypted for the same place only."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher(store, key).encrypt(nonce, body, place.encode())

    def open(self, store: str, key: str, sealed: bytes, place: str) -> bytes:
        """Decrypt a body that was sealed for `place`; raises StoredDataDamaged."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher(store, key).decrypt(nonce, rest, place.encode())
        except (InvalidTag, ValueError) as error:
            raise StoredDataDamaged(
                "A message stored on the server has been damaged. Open a new application."
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
