"""Evaluations for the executors' tests: blobs with orders for the stand-in engine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import psutil

from engines.envelope import digest_of
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EVALUATION_KEY
from service.execution.interface import Evaluation, Executor, RunProgress
from service.storage.blobs import BlobPlace
from settings import Settings
from trials.stand_in import message, public_model, result_of

T = TypeVar("T")
PARTIES = public_model().schema_.party_names


class Orders:
    """Applications in a folder of blobs, and the messages of each, to compare results with."""

    def __init__(self, folder: Path) -> None:
        self.place = BlobPlace(f"file://{folder}")
        self.blobs = self.place.open()
        self.messages: dict[str, dict[tuple[str, str], bytes]] = {}

    def order(
        self, order: bytes = b"bits", store: str | None = None, key: bytes = b""
    ) -> Evaluation:
        """Return an evaluation, of a new application unless `store` names one."""
        store = store or secrets.token_hex(16)
        own_key = store.encode() + key
        messages = {(PARTIES[0], EVALUATION_KEY): message(PARTIES[0], EVALUATION_KEY, own_key)}
        for party in PARTIES:
            payload = order if party == PARTIES[0] else b"bits"
            messages[party, ENCRYPTED_INPUTS] = message(party, ENCRYPTED_INPUTS, payload)
        self.messages[store] = messages
        names = {key: self.blobs.write(store, content) for key, content in messages.items()}
        return Evaluation(secrets.token_hex(16), DECIDE, store, names)

    def expected(self, evaluation: Evaluation) -> bytes:
        return result_of(evaluation.program, self.messages[evaluation.store])

    def key_digest(self, evaluation: Evaluation) -> str:
        return digest_of(self.messages[evaluation.store][PARTIES[0], EVALUATION_KEY]).hex()


def settings(**changes: Any) -> Settings:
    given = {"engine": "clear", "deployment": Path("deployment"), "evaluation_timeout": 20.0}
    return Settings(_env_file=None, **{**given, **changes})


def nothing(found: RunProgress) -> None:
    """Ignore the progress of an evaluation."""


async def right(executor: Executor, orders: Orders, evaluation: Evaluation) -> bool:
    """Return True if an evaluation returns the expected result."""
    result, *_ = await executor.evaluate(evaluation, nothing)
    return result == orders.expected(evaluation)


async def error_of(work: Coroutine[Any, Any, T]) -> BaseException | None:
    """Return the error that the work raises."""
    try:
        await work
    except Exception as error:
        return error
    return None


def open_things() -> tuple[int, int]:
    """Return the numbers of this process's file descriptors and threads."""
    me = psutil.Process()
    return me.num_fds(), me.num_threads()


def settles_at(wanted: tuple[int, int], seconds: float = 10.0) -> bool:
    """Return True if the numbers have not grown, after finished work has been cleaned up."""
    deadline = time.monotonic() + seconds
    while any(now > then for now, then in zip(open_things(), wanted, strict=True)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
