"""Applications' messages in Ray's object store: stored once, available on all nodes."""

from __future__ import annotations

import ray
from ray import ObjectRef

from service.execution.cache import BoundedCache
from service.execution.interface import Evaluation
from service.execution.ray.actor import Content, Sent
from service.storage.blobs import BlobPlace, Blobs
from utils.errors import EngineUnavailable

SMALL = 64 << 10
"""Messages up to this many bytes are sent with the call; Ray would inline them anyway."""
SHARE = 4
"""Messages may fill one part in `SHARE` of the smallest node's object store."""


class MessageObjects:
    """Reads messages from the blobs and passes them to actors; methods may run in any thread.

    The least recently used messages leave the object store first, forgotten ones at once.
    """

    def __init__(self, place: BlobPlace, room: int) -> None:
        self._place = place
        self._blobs: Blobs | None = None
        self._kept = BoundedCache[ObjectRef](room)

    def of(self, evaluation: Evaluation) -> Sent:
        """Return the messages of an evaluation, or references to them.

        Raises StoredDataDamaged, StorageUnavailable, and EngineUnavailable if the object store is
        full.
        """
        store = evaluation.store
        sent: dict[tuple[str, str], tuple[str, Content]] = {}
        for key, sha256 in evaluation.messages.items():
            known = self._kept.get(store, sha256)
            sent[key] = (sha256, self._put(store, sha256) if known is None else known)
        return sent

    def drop(self, store: str) -> None:
        """Drop an application's references after a loss; messages are stored again when needed."""
        self._kept.drop(store)

    def forget(self, store: str) -> None:
        """Drop the messages of an application that was erased, for good."""
        self._kept.forget(store)

    def _put(self, store: str, sha256: str) -> Content:
        if self._blobs is None:
            self._blobs = self._place.open()
        message = self._blobs.read(store, sha256)
        if len(message) <= SMALL:
            return message
        try:
            reference = ray.put(message)
        except ray.exceptions.ObjectStoreFullError as error:
            raise EngineUnavailable(
                "The cluster's object store is full; enlarge it (ray start --object-store-memory), "
                "or try again later."
            ) from error
        self._kept.put(store, sha256, reference, len(message))
        return reference


def room_for_messages() -> int:
    """Return the bytes that messages may use in the object store of this process's cluster."""
    stores = [n["Resources"].get("object_store_memory", 0.0) for n in ray.nodes() if n["Alive"]]
    return int(min(stores, default=0.0)) // SHARE
