"""The pool's limits: watermarks, reservations, the line of those who wait, purging, measuring."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import ironcliw
import pytest
from conftest import eventually

KIB = 1 << 10
MIB = 1 << 20


def test_above_the_soft_limit_idle_memory_goes_back_and_leases_succeed() -> None:
    with ironcliw.Runtime(memory_limit=10 * MIB, memory_watermarks=(0.8, 0.5)) as rt:
        held = [rt.pool.try_allocate(MIB, zeroed=False) for _ in range(7)]
        for buffer in held[:2]:
            buffer.release()
        held.append(rt.pool.try_allocate(3 * MIB, zeroed=False))
        stats = rt.pool.stats()
        assert stats["soft_limit"]["crossings"] == 1
        assert stats["soft_limit"]["high_bytes"] == 8 * MIB and stats["soft_limit"]["low_bytes"] == 5 * MIB
        assert stats["total_allocated_bytes"] == stats["active_bytes"] == 8 * MIB


def test_the_limit_can_be_read_and_changed_while_it_runs() -> None:
    with ironcliw.Runtime(memory_limit=4 * MIB) as rt:
        assert rt.pool.limit == 4 * MIB
        rt.pool.try_allocate(MIB, zeroed=False).release()
        assert rt.pool.set_limit(MIB // 2).result(timeout=10) == MIB
        assert rt.pool.limit == MIB // 2
        with pytest.raises(ironcliw.PoolExhausted):
            rt.pool.try_allocate(MIB)
        with pytest.raises(ironcliw.InvalidInput):
            rt.pool.set_limit(1).result(timeout=10)
        with pytest.raises(TypeError):
            rt.pool.set_limit("1 MiB")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_watermarks": (0.7, 0.8)},
        {"memory_watermarks": (float("nan"), 0.5)},
        {"purge_after": -1.0},
        {"purge_after": float("nan")},
        {"memory_limit": MIB, "memory_reservations": {"images": 2 * MIB}},
        {"memory_reservations": {"": 1}},
        {"memory_reservations": {"images": -1}},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        ironcliw.Runtime(**wrong)


def test_reserved_memory_is_there_for_its_owner_alone() -> None:
    with ironcliw.Runtime(memory_limit=4 * MIB, memory_reservations={"images": MIB}) as rt:
        held = [rt.pool.try_allocate(MIB, zeroed=False) for _ in range(3)]
        with pytest.raises(ironcliw.PoolExhausted, match="kept for others"):
            rt.pool.try_allocate(64)
        (reservation,) = rt.pool.stats()["reservations"]
        assert reservation == {"owner": "images", "reserved_bytes": MIB, "cap_bytes": None, "live_bytes": 0}
        rt.pool.reserve("images", 0)
        held.append(rt.pool.try_allocate(MIB, zeroed=False))
        assert rt.pool.stats()["reservations"] == []


def test_a_cap_is_an_error_that_names_the_owner() -> None:
    with ironcliw.Runtime(memory_limit=4 * MIB) as rt:
        rt.pool.reserve("python", MIB, cap=2 * MIB)
        held = [rt.pool.try_allocate(MIB, zeroed=False) for _ in range(2)]
        with pytest.raises(ironcliw.PoolExhausted, match='"python"'):
            rt.pool.try_allocate(64)
        held.clear()
        with pytest.raises(ironcliw.InvalidInput):
            rt.pool.reserve("python", 2 * MIB, cap=MIB)
        with pytest.raises(ironcliw.InvalidInput):
            rt.pool.reserve("images", 4 * MIB)


def test_a_large_request_is_served_although_small_ones_come_and_go() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        small = [rt.pool.try_allocate(64 * KIB, zeroed=False) for _ in range(64)]
        large = asyncio.ensure_future(rt.pool.allocate(2 * MIB, timeout=60))
        # A message to the pool's actor that comes after the request.
        await rt.pool.set_limit(4 * MIB)
        assert rt.pool.stats()["waits"]["waiting"] == 1
        returned = 0
        while not large.done():
            small.pop(0).release()
            returned += 64 * KIB
            try:
                small.append(rt.pool.try_allocate(64 * KIB, zeroed=False))
            except ironcliw.PoolExhausted as refused:
                served = rt.pool.stats()["waits"]["served"] == 1
                assert served or "1 request waits" in str(refused)
            await asyncio.sleep(0.001)
            if returned >= 2 * 2 * MIB:
                break
        assert (await large).nbytes == 2 * MIB
        waits = rt.pool.stats()["waits"]
        assert waits["waiting"] == 0 and waits["served"] == 1 and waits["longest_s"] > 0

    with ironcliw.Runtime(memory_limit=4 * MIB) as rt:
        asyncio.run(main(rt))


def test_requests_wait_in_the_order_of_asking_and_leave_when_cancelled_or_late() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        order: list[int] = []

        async def wait(number: int, size: int, seconds: float) -> None:
            buffer = await rt.pool.allocate(size, timeout=seconds)
            order.append(number)
            buffer.release()

        everything = rt.pool.try_allocate(4 * MIB, zeroed=False)
        cancelled = asyncio.create_task(wait(0, 4 * MIB, 60))
        await asyncio.sleep(0)
        late = asyncio.create_task(wait(1, 4 * MIB, 0.01))
        await asyncio.sleep(0)
        patient = [asyncio.create_task(wait(number, 3 * MIB, 60)) for number in (2, 3, 4)]
        with pytest.raises(TimeoutError):
            await late
        cancelled.cancel()
        everything.release()
        await asyncio.gather(*patient)
        assert order == [2, 3, 4] and cancelled.cancelled()
        waits = rt.pool.stats()["waits"]
        assert waits["timed_out"] == 1 and waits["abandoned"] == 1
        # The last of them was answered before the line was counted anew.
        assert eventually(lambda: rt.pool.stats()["waits"]["waiting"] == 0)
        with pytest.raises(ironcliw.PoolExhausted):
            await rt.pool.allocate(5 * MIB, timeout=60)

    with ironcliw.Runtime(memory_limit=4 * MIB) as rt:
        asyncio.run(main(rt))


def test_a_crash_of_the_pools_actor_costs_nobody_the_place_in_the_line() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        everything = rt.pool.try_allocate(4 * MIB, zeroed=False)
        waits = asyncio.ensure_future(rt.pool.allocate(MIB, timeout=60))
        with pytest.raises(ironcliw.ActorPanicked):
            await rt._crash("memory/pool")
        everything.release()
        assert (await waits).nbytes == MIB

    with ironcliw.Runtime(memory_limit=4 * MIB) as rt:
        asyncio.run(main(rt))


def test_idle_memory_goes_back_by_itself_unless_it_is_told_to_stay() -> None:
    with ironcliw.Runtime(purge_after=0.2) as rt, ironcliw.Runtime(purge_after=None) as keeps:
        for runtime in (rt, keeps):
            for buffer in [runtime.pool.try_allocate(MIB, zeroed=False) for _ in range(8)]:
                buffer.release()
        assert eventually(lambda: rt.pool.stats()["purged_bytes"] == 8 * MIB)
        assert rt.pool.stats()["total_allocated_bytes"] == 0
        assert keeps.pool.stats()["total_allocated_bytes"] == 8 * MIB
    with ironcliw.Runtime(purge_after=0) as rt:
        rt.pool.try_allocate(MIB).release()
        assert rt.pool.stats()["total_allocated_bytes"] == 0


def test_a_measurement_counts_its_block_by_owner_and_nested() -> None:
    with ironcliw.Runtime() as rt:
        before = rt.pool.try_allocate(1000)
        with rt.pool.measure() as outer:
            kept = rt.pool.try_allocate(1000)
            with rt.pool.measure("python") as inner, rt.pool.measure(owner="images") as other:
                rt.pool.try_allocate(100_000).release()
                rt.pool.try_allocate(100_000).release()
            before.release()
            assert outer.live_count == 1
        assert (outer.allocations, outer.releases, outer.peak_count, outer.peak_live_count) == (3, 3, 2, 3)
        assert (inner.allocations, inner.fresh, inner.recycled, inner.peak_count) == (2, 1, 1, 1)
        assert inner.peak_bytes == inner.allocated_bytes // 2 == inner.peak_live_bytes - 2 * 1024
        assert (other.allocations, other.peak_live_bytes, other.owner) == (0, 0, "images")
        assert "3 allocations" in repr(outer)
        kept.release()
        assert outer.releases == 3, "the block was over"
        with pytest.raises(ironcliw.InvalidInput):
            outer.__enter__()


def test_a_measurement_is_exact_on_several_threads() -> None:
    with ironcliw.Runtime() as rt:
        start = threading.Barrier(4)

        def work() -> None:
            start.wait()
            for _ in range(500):
                rt.pool.try_allocate(3000, zeroed=False).release()

        threads = [threading.Thread(target=work) for _ in range(4)]
        with rt.pool.measure() as m:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert m.allocations == m.releases == 2000 and 1 <= m.peak_count <= 4
