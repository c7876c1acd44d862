"""Pooled buffers: really shared memory, really recycled, and safe to use wrongly."""

from __future__ import annotations

import asyncio
import gc
import threading

import ironcliw
import numpy as np
import pytest
from conftest import active, eventually


def test_a_buffer_is_zeroed_writable_and_shared_by_its_views(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        buffer = await rt.pool.allocate(1000)
        assert len(buffer) == buffer.nbytes == 1000
        array = np.asarray(buffer)
        assert array.shape == (1000,) and array.dtype == np.uint8 and array.flags.writeable
        assert not array.any()
        array[7] = 42
        view = memoryview(buffer)
        assert view.nbytes == 1000 and view.format == "B" and not view.readonly
        assert view[7] == 42 and np.shares_memory(array, np.asarray(view))
        assert str(buffer.id) in repr(buffer)

    asyncio.run(main())


def test_memory_is_zeroed_again_when_it_is_recycled(rt: ironcliw.Runtime) -> None:
    for _ in range(10):
        with rt.pool.try_allocate(5000) as buffer:
            array = np.asarray(buffer)
            assert not array.any()
            array.fill(255)
            del array


def test_released_memory_is_recycled(rt: ironcliw.Runtime) -> None:
    with rt.pool.try_allocate(100_000):
        pass
    before = rt.pool.stats()["recycled"]
    with rt.pool.try_allocate(100_000):
        pass
    assert rt.pool.stats()["recycled"] == before + 1


def test_use_after_release_is_an_error(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(64)
    assert not buffer.released
    buffer.release()
    assert buffer.released and buffer.nbytes == 64 and "released" in repr(buffer)
    with pytest.raises(ironcliw.BufferReleased):
        np.asarray(buffer)
    with pytest.raises((ironcliw.BufferReleased, BufferError)):
        memoryview(buffer)
    with pytest.raises(ValueError):
        buffer.release()
    assert issubclass(ironcliw.BufferReleased, ValueError)


def test_a_context_releases_its_buffer_and_tolerates_that_somebody_did(rt: ironcliw.Runtime) -> None:
    with rt.pool.try_allocate(64) as buffer:
        pass
    assert buffer.released
    with rt.pool.try_allocate(64) as buffer:
        buffer.release()
    assert active(rt) == 0


def test_memory_stays_while_a_view_lives(rt: ironcliw.Runtime) -> None:
    buffer = rt.pool.try_allocate(4096)
    view = np.asarray(buffer)[10:20]
    view[:] = 77
    buffer.release()
    others = [rt.pool.try_allocate(4096) for _ in range(50)]
    for other in others:
        np.asarray(other)[:] = 1
    assert (view == 77).all()
    del others, other, buffer
    gc.collect()
    assert active(rt) == 1
    del view
    assert eventually(lambda: active(rt) == 0)


def test_a_buffer_that_dies_goes_back(rt: ironcliw.Runtime) -> None:
    array = np.asarray(rt.pool.try_allocate(4096))
    assert active(rt) == 1
    del array
    assert eventually(lambda: active(rt) == 0)


def test_results_are_pooled_and_go_back_when_the_last_view_dies(
    rt: ironcliw.Runtime, photo: np.ndarray
) -> None:
    small = rt.images.resize(photo, (40, 30)).result()
    assert small.flags.writeable and small.flags.c_contiguous
    row = small[3]
    expected = row.copy()
    del small
    assert active(rt) == 1
    rt.images.resize(photo[::-1], (40, 30)).result()
    assert (row == expected).all()
    del row
    assert eventually(lambda: active(rt) == 0)


def test_ids_are_unique(rt: ironcliw.Runtime) -> None:
    ids = set()
    for _ in range(100):
        with rt.pool.try_allocate(64) as buffer:
            ids.add(buffer.id)
    assert len(ids) == 100


def test_the_limit_holds() -> None:
    with ironcliw.Runtime(memory_limit=4 << 20) as rt:
        first = rt.pool.try_allocate(3 << 20)
        with pytest.raises(ironcliw.PoolExhausted) as caught:
            rt.pool.try_allocate(3 << 20)
        assert isinstance(caught.value, MemoryError)
        with pytest.raises(ironcliw.PoolExhausted):
            rt.pool.allocate(3 << 20).result(timeout=5)
        first.release()
        rt.pool.try_allocate(3 << 20).release()


def test_pressure_rises_with_use_and_falls_again() -> None:
    with ironcliw.Runtime(memory_limit=16 << 20) as rt:
        assert rt.pool.pressure_level == "Low"
        held = [rt.pool.try_allocate(1 << 20) for _ in range(15)]
        assert rt.pool.pressure_level in ("High", "Critical")
        assert rt.pool.stats()["memory_pressure"] == rt.pool.pressure_level
        del held
        assert eventually(lambda: rt.pool.pressure_level == "Low")


def test_trim_gives_idle_memory_back(rt: ironcliw.Runtime) -> None:
    rt.pool.try_allocate(1 << 20).release()
    before = rt.pool.stats()["total_allocated_bytes"]
    freed = rt.pool.trim().result(timeout=10)
    assert freed >= 0
    assert rt.pool.stats()["total_allocated_bytes"] <= before - freed


def test_statistics_add_up(rt: ironcliw.Runtime) -> None:
    before = rt.pool.stats()["allocations"]
    held = [rt.pool.try_allocate(n) for n in (1, 64, 5000, 1 << 20)]
    stats = rt.pool.stats()
    assert stats["total_active"] == 4 and stats["allocations"] == before + 4
    assert stats["active_bytes"] >= sum(len(buffer) for buffer in held)
    assert stats["total_allocated_bytes"] >= stats["active_bytes"]
    assert stats["limit_bytes"] > 0
    for size_class in stats["size_classes"]:
        assert size_class.keys() == {"size", "available", "capacity", "high_water_mark"}
        assert 0 <= size_class["available"] <= size_class["capacity"]


def test_threads_never_share_a_live_buffer(rt: ironcliw.Runtime) -> None:
    wrong: list[int] = []

    def use(mark: int) -> None:
        rng = np.random.default_rng(mark)
        held = []
        for _ in range(300):
            array = np.asarray(rt.pool.try_allocate(int(rng.integers(1, 20_000)), zeroed=False))
            array.fill(mark)
            held.append(array)
            if len(held) > 8 and not (held.pop(int(rng.integers(8))) == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=use, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
