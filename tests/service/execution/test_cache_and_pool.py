"""The cache of applications' data: bounded, and emptied when an application is forgotten."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.execution.cache import BoundedCache
from service.execution.pool import Pool
from utils.errors import EngineUnavailable

NAMES = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, NAMES, st.integers(0, 12)),
        st.tuples(st.sampled_from(["get", "drop", "forget"]), NAMES, NAMES, st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_cache_respects_its_limit_and_drops_forgotten_stores(
    steps: list[tuple[str, str, str, int]],
) -> None:
    kept = BoundedCache[tuple[str, str, int]](20)
    known: dict[tuple[str, str], tuple[str, str, int]] = {}
    forgotten = set()
    for what, store, name, size in steps:
        if what == "put":
            kept.put(store, name, (store, name, size), size)
            known[store, name] = (store, name, size)
        elif what == "get":
            found = kept.get(store, name)
            assert found is None or found == known[store, name]
        else:
            dropped = kept.drop(store) if what == "drop" else kept.forget(store)
            assert {value[0] for value in dropped} <= {store}
            if what == "forget":
                forgotten.add(store)
        there = [v for s in "abcde" for n in "abcde" if (v := kept.get(s, n)) is not None]
        assert sum(value[2] for value in there) <= 20
        assert not forgotten & {value[0] for value in there}
        assert all(kept.forgot(store) for store in forgotten)


def test_least_recently_used_value_is_dropped_first() -> None:
    kept = BoundedCache[int](2)
    kept.put("a", "1", 1)
    kept.put("a", "2", 2)
    assert kept.get("a", "1") == 1
    kept.put("b", "1", 3)
    assert [kept.get(*key) for key in (("a", "1"), ("a", "2"), ("b", "1"))] == [1, None, 3]


def test_pool_waits_for_a_worker_and_raises_if_none_is_ready() -> None:
    ready = {"one": False, "two": False}

    async def play() -> None:
        pool = Pool(list(ready), lambda worker: ready[worker])
        with pytest.raises(EngineUnavailable):
            async with pool.lend("store", 0.01):
                pass
        assert (pool.ready, pool.idle) == (0, ())

        async def work(store: str) -> str:
            async with pool.lend(store, 10) as worker:
                await asyncio.sleep(0)
                return worker

        waiting = [asyncio.create_task(work("store")) for _ in range(8)]
        await asyncio.sleep(0)
        ready["one"] = True
        pool.wake()
        assert set(await asyncio.gather(*waiting)) == {"one"}
        ready["two"] = True
        assert await work("store") == "one", "who had it last has it again"
        stores = [str(number) for number in range(64)]
        chosen = [await work(store) for store in stores]
        assert set(chosen) == {"one", "two"}
        for store in stores:
            pool.forget(store)
        assert [await work(store) for store in stores] == chosen, "its name chooses"
        assert pool.idle == ("one", "two")

    asyncio.run(play())
