"""The child process of a proxy: it creates one executor, even for concurrent calls."""

from __future__ import annotations

import asyncio
import socket
import time

from service.execution.interface import (
    Evaluated,
    Evaluation,
    Executor,
    Introduction,
    Reporter,
)
from service.execution.pipe import MessagePipe
from service.execution.ray.executor_process import _Calls
from trials.stand_in import public_model


class Recording(Executor):
    """Records its calls, and is ready once it has been started."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @property
    def capacity(self) -> int:
        return 1

    @property
    def ready(self) -> bool:
        return "start" in self.asked

    async def start(self) -> Introduction:
        self.asked.append("start")
        return Introduction(public_model(), b"")

    async def evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        self.asked.append("evaluate")
        return Evaluated(b"", 0.0, 0.0)

    async def load_key(self, evaluation: Evaluation) -> float | None:
        self.asked.append("load_key")
        return 0.0

    def cancel(self, job: str) -> None:
        self.asked.append("cancel")

    async def forget(self, store: str) -> None:
        self.asked.append("forget")

    async def stop(self) -> None:
        self.asked.append("stop")


def test_concurrent_calls_share_one_executor() -> None:
    made: list[Recording] = []

    def make() -> Executor:
        time.sleep(0.05)  # so that all calls arrive before it exists
        made.append(Recording())
        return made[-1]

    async def play() -> list[tuple[object, ...]]:
        near, far = socket.socketpair()
        pipe, server = await MessagePipe.over(near), await MessagePipe.over(far)
        calls = _Calls(pipe, make)
        await asyncio.gather(
            calls.handle("start", 1, None),
            calls.handle("forget", 2, "0" * 32),
            calls.handle("load_key", 3, None),
        )
        received = [await server.receive() for _ in range(6)]
        pipe.close()
        server.close()
        return received

    received = asyncio.run(play())
    (executor,) = made
    assert sorted(executor.asked) == ["forget", "load_key", "start"]
    assert {message[1] for message in received if message[0] == "answer"} == {1, 2, 3}
    assert ("state", 1, True) in received
