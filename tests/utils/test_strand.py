"""Calls of a strand: in order, one at a time, with errors and cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.strand import Strand

WAIT = 20.0


@settings(max_examples=30, deadline=None)
@given(pauses=st.lists(st.sampled_from([0.0, 0.0005, 0.002]), max_size=12))
def test_calls_keep_their_order_and_do_not_overlap(pauses: list[float]) -> None:
    made: list[int] = []
    inside = threading.Lock()

    def call(number: int, pause: float) -> None:
        assert inside.acquire(blocking=False), "two at once"
        time.sleep(pause)
        made.append(number)
        inside.release()

    async def main() -> None:
        strand = Strand()
        calls = [strand.call(partial(call, *each)) for each in enumerate(pauses)]
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert made == list(range(len(pauses)))


def test_error_reaches_its_caller_and_the_next_call_runs() -> None:
    async def main() -> bool:
        strand, made = Strand(), threading.Event()
        failing, next_one = strand.call(lambda: {}["x"]), strand.call(made.set)
        with pytest.raises(KeyError):
            await failing
        await next_one
        return made.is_set()

    assert asyncio.run(main())


def test_cancelled_calls_are_skipped_unless_started() -> None:
    made: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(WAIT)
        made.append("held")

    async def main() -> None:
        strand = Strand()
        held = strand.call(hold)
        taken_back, last = (strand.call(partial(made.append, name)) for name in ("no", "last"))
        await asyncio.to_thread(begun.wait, WAIT)
        held.cancel()
        taken_back.cancel()
        await asyncio.sleep(0)  # lets the event loop pass the cancellation on
        go_on.set()
        await last

    asyncio.run(main())
    assert made == ["held", "last"]


def test_idle_strand_holds_no_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        strands = [Strand() for _ in range(100)]  # more than the pool has threads
        for strand in strands:
            await strand.call(lambda: None)
        await asyncio.wait_for(loop.run_in_executor(None, lambda: None), WAIT)

    asyncio.run(main())
    assert threading.active_count() < 100
