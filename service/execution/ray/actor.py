"""The code of an actor on a Ray cluster: a worker, and a cache of messages.

Evaluations run one at a time. Alongside them, in separate threads, an actor reports its progress,
forgets erased applications, and confirms that it is alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

import ray
from ray import ObjectRef

from service.execution.cache import BoundedCache
from service.execution.interface import Evaluated, Introduction, RunProgress
from service.execution.sandbox import end_with_parent
from service.execution.worker import EngineSource, Worker, evaluation_faults
from utils.errors import StoredDataDamaged
from web import request_log as logs

Content: TypeAlias = bytes | ObjectRef
"""A small message itself, or the reference of a large one in the object store."""
Sent = Mapping[tuple[str, str], tuple[str, Content]]
"""SHA-256 and content of each message, by (party, file name)."""

FETCH_SECONDS = 30.0
KEPT_SHARE = 4
"""One part in `KEPT_SHARE` of an actor's memory limit is for cached messages."""


class EvaluationActor:
    """One worker of a cluster."""

    def __init__(self, source: EngineSource) -> None:
        logs.configure()
        end_with_parent()  # Ray's own process on the node, without which the actor is unreachable
        self._worker = Worker(source)
        self._kept = BoundedCache[bytes]((source.memory << 20) // KEPT_SHARE)
        self._at: tuple[str, RunProgress] | None = None

    def introduce(self) -> Introduction:
        """Load the engine; raises EngineUnavailable, DeploymentError."""
        return self._worker.introduce()

    def evaluate(
        self, job: str, program: str, store: str, sent: Sent, seed: bytes | None = None
    ) -> Evaluated:
        """Return the sealed result, with its times.

        Raises the errors of Worker.evaluate, StoredDataDamaged, and Ray's errors if a message
        cannot be fetched.
        """

        def report(found: RunProgress) -> None:
            self._at = (job, found)

        try:
            messages = self._messages(program, store, sent)
            return self._worker.evaluate(program, store, messages, report, seed)
        finally:
            self._at = None

    def load_key(self, program: str, store: str, sent: Sent) -> float:
        """Load an application's key in advance; return the seconds it took.

        Raises the errors of fetching messages, as `evaluate` does.
        """
        return self._worker.load_key(store, self._messages(program, store, sent))

    def progress(self, job: str) -> RunProgress | None:
        """Return the progress of a job; None if it is not running."""
        at = self._at
        return at[1] if at is not None and at[0] == job else None

    def forget(self, store: str) -> None:
        """Drop everything that is cached of an application."""
        self._kept.forget(store)
        self._worker.forget(store)

    def alive(self) -> bool:
        """Return True; a response proves that the actor is alive."""
        return True

    def _messages(self, program: str, store: str, sent: Sent) -> dict[tuple[str, str], bytes]:
        messages: dict[tuple[str, str], bytes] = {}
        absent: dict[tuple[str, str], ObjectRef] = {}
        for key, (sha256, content) in sent.items():
            known = content if isinstance(content, bytes) else self._kept.get(store, sha256)
            if known is None:
                absent[key] = content
            else:
                messages[key] = known
        fetched = ray.get(list(absent.values()), timeout=FETCH_SECONDS)
        with evaluation_faults(program):
            for key, message in zip(absent, fetched, strict=True):
                sha256 = sent[key][0]
                if hashlib.sha256(message).hexdigest() != sha256:
                    raise StoredDataDamaged(
                        "A message was damaged in transit through the cluster; run the program "
                        "again, and tell the server's operator."
                    )
                self._kept.put(store, sha256, message, len(message))
                messages[key] = message
        return messages
