"""The ledger: counts are exact at every level, and a buffer in use is no leak."""

from __future__ import annotations

import asyncio

import ironcliw
import numpy as np
import pytest
from conftest import eventually

LEVELS = ["disabled", "simple", "advanced", "paranoid"]


def live(rt: ironcliw.Runtime) -> int:
    return sum(number for classes in rt.leaks.counts().values() for number in classes.values())


@pytest.mark.parametrize("level", LEVELS)
def test_counts_are_exact_at_every_level(level: str) -> None:
    with ironcliw.Runtime(leak_level=level) as rt:
        assert rt.leaks.level == level
        assert live(rt) == 0
        held = [rt.pool.try_allocate(3000) for _ in range(100)]
        assert live(rt) == 100
        for buffer in held[:60]:
            buffer.release()
        assert live(rt) == 40
        assert all(size >= 3000 for classes in rt.leaks.counts().values() for size in classes)
        del held, buffer
        assert eventually(lambda: live(rt) == 0)
        assert rt.leaks.check().result(timeout=10) == []


def test_the_level_changes_at_run_time(rt: ironcliw.Runtime) -> None:
    for level in LEVELS:
        rt.leaks.level = level
        assert rt.leaks.level == level
    with pytest.raises(ironcliw.InvalidInput):
        rt.leaks.level = "sometimes"


def test_a_buffer_in_use_is_no_leak(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        buffer = rt.pool.try_allocate(4096, tracked=True)
        view = np.asarray(buffer)
        assert await rt.leaks.check() == []
        buffer.release()
        assert await rt.leaks.check() == []
        del view

    asyncio.run(main())


@pytest.mark.parametrize("level", LEVELS[1:])
def test_a_tracked_buffer_that_dies_unreleased_is_a_leak(level: str) -> None:
    with ironcliw.Runtime(leak_level=level) as rt:
        for _ in range(3):
            rt.pool.try_allocate(3000, tracked=True)
        assert eventually(lambda: live(rt) == 0)
        (leak,) = rt.leaks.check().result(timeout=10)
        assert leak.kind == "dropped_unreleased" and leak.equal == 3 and leak.bytes >= 9000
        assert leak.age >= 0 and leak.owner
        assert str(leak) == leak.message and "3" in leak.message and leak.owner in leak.message


def test_a_plain_buffer_that_dies_is_none(rt: ironcliw.Runtime) -> None:
    for _ in range(100):
        rt.pool.try_allocate(3000)
    assert rt.leaks.check().result(timeout=10) == []


def test_results_are_booked_on_their_owner(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    buffer = rt.pool.try_allocate(100)
    image = rt.images.resize(photo, (20, 20)).result()
    owners = rt.leaks.counts()
    assert len(owners) == 2, owners
    assert any("image" in owner for owner in owners)
    del buffer, image


def test_ordinary_work_leaks_nothing(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        for _ in range(5):
            await asyncio.gather(*[rt.images.resize(photo, (32, 32)) for _ in range(40)])
        assert await rt.leaks.check() == []

    asyncio.run(main())
    assert eventually(lambda: live(rt) == 0)
