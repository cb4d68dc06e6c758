"""Long time slices: accepted by the system, and inherited by threads and processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.time_slices import slice_seconds
from utils.time_slices import LONG_SECONDS, take_long_slices

pytestmark = pytest.mark.skipif(
    slice_seconds(threading.get_native_id()) is None,
    reason="the system has no slices of a thread's own, or does not tell them (Linux 6.12 does)",
)


def own() -> float | None:
    return slice_seconds(threading.get_native_id())


def in_a_thread(do: Callable[[], float | None]) -> float | None:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(do).result()


def test_slices_are_inherited_by_threads_and_processes() -> None:
    def take() -> float | None:
        assert own() != LONG_SECONDS
        assert take_long_slices()
        assert own() == LONG_SECONDS
        return in_a_thread(own)

    before = own()
    assert in_a_thread(take) == LONG_SECONDS
    assert own() == before


def test_scheduling_policy_is_kept() -> None:
    def take() -> float | None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        assert not take_long_slices()
        assert os.sched_getscheduler(0) == os.SCHED_IDLE
        return own()

    assert in_a_thread(take) != LONG_SECONDS


def test_slices_of_another_thread_are_set_by_its_id() -> None:
    begun, done = threading.Event(), threading.Event()

    def stay() -> None:
        begun.set()
        done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    begun.wait()
    try:
        assert thread.native_id is not None
        assert take_long_slices(thread.native_id)
        assert slice_seconds(thread.native_id) == LONG_SECONDS
    finally:
        done.set()
        thread.join()


def test_ended_thread_raises_an_error() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    for _ in range(1000):  # the thread ends in Python a moment before it does in the system
        if not Path(f"/proc/self/task/{thread.native_id}").exists():
            break
        time.sleep(0.01)
    with pytest.raises(OSError, match="No such process"):
        take_long_slices(thread.native_id)
