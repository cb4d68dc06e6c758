"""Applications' messages in Ray's object store: put there once, shared by all nodes."""

from __future__ import annotations

import ray
from ray import ObjectRef

from service.execution.cache import BoundedCache
from service.execution.interface import Evaluation
from service.execution.ray.actor import Content, Sent
from service.storage.blobs import BlobPlace, Blobs
from utils.errors import EngineUnavailable

SMALL = 64 << 10
"""Bytes up to which a message travels with the call: Ray would inline such an object anyway."""
SHARE = 4
"""Of the smallest node's object store, one part in so many is for what is kept."""


class MessageObjects:
    """Reads messages from the blobs and hands them to actors; its methods may run in any thread.

    The least recently used leave the object store first, and what is forgotten leaves it at once.
    """

    def __init__(self, place: BlobPlace, room: int) -> None:
        self._place = place
        self._blobs: Blobs | None = None
        self._kept = BoundedCache[ObjectRef](room)

    def of(self, evaluation: Evaluation) -> Sent:
        """The messages of an evaluation; raises StoredDataDamaged, StorageUnavailable.

        EngineUnavailable where the object store is full.
        """
        store = evaluation.store
        sent: dict[tuple[str, str], tuple[str, Content]] = {}
        for key, sha256 in evaluation.messages.items():
            known = self._kept.get(store, sha256)
            sent[key] = (sha256, self._put(store, sha256) if known is None else known)
        return sent

    def drop(self, store: str) -> None:
        """What was put of an application is lost; it is put again when it is next needed."""
        self._kept.drop(store)

    def forget(self, store: str) -> None:
        """An application was erased."""
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
                "The cluster's object store is full; give Ray more of it (ray start "
                "--object-store-memory), or try again later."
            ) from error
        self._kept.put(store, sha256, reference, len(message))
        return reference


def room_for_messages() -> int:
    """Bytes that may be kept in the object store of the cluster that this process is part of."""
    stores = [n["Resources"].get("object_store_memory", 0.0) for n in ray.nodes() if n["Alive"]]
    return int(min(stores, default=0.0)) // SHARE
