"""Python work on the runtime's own threads."""

from __future__ import annotations

import asyncio
import threading

import ironcliw
import pytest
from conftest import eventually


class Refusal(Exception):
    """An exception of the user's own."""


def test_results_come_back(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        assert await rt.scheduler.run(pow, 3, 4) == 81
        assert await rt.scheduler.run(lambda: None) is None
        results = await asyncio.gather(*[rt.scheduler.run(divmod, n, 7) for n in range(200)])
        assert results == [divmod(n, 7) for n in range(200)]

    asyncio.run(main())


def test_the_users_exception_passes_through_unchanged(rt: ironcliw.Runtime) -> None:
    refusal = Refusal("no")

    def refuse() -> None:
        raise refusal

    async def main() -> None:
        with pytest.raises(Refusal) as caught:
            await rt.scheduler.run(refuse)
        assert caught.value is refusal
        assert refusal.__traceback__ is not None

    asyncio.run(main())
    with pytest.raises(Refusal):
        rt.scheduler.run(refuse).result(timeout=10)
    assert rt.scheduler.run(int, "5").result(timeout=10) == 5


def test_work_runs_on_another_thread_and_leaves_the_loop_free(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        go = threading.Event()
        waiting = rt.scheduler.run(go.wait, 10)
        assert await rt.scheduler.run(threading.get_ident) != threading.get_ident()
        await asyncio.sleep(0.02)
        assert not waiting.done()
        go.set()
        assert await waiting is True

    # One thread waits, so another has to be there.
    with ironcliw.Runtime(scheduler_threads=2) as rt:
        asyncio.run(main())


def test_statistics_add_up() -> None:
    with ironcliw.Runtime(scheduler_threads=2) as rt:
        for n in range(10):
            rt.scheduler.run(abs, n).result(timeout=10)
        with pytest.raises(ZeroDivisionError):
            rt.scheduler.run(divmod, 1, 0).result(timeout=10)
        assert eventually(lambda: rt.scheduler.stats()["total_completed"] == 11)
        stats = rt.scheduler.stats()
        assert stats["total_spawned"] == 11
        assert stats["active_tasks"] == stats["queue_depth"] == 0
        assert stats["active_workers"] == 2


def test_what_is_not_callable_is_a_type_error(rt: ironcliw.Runtime) -> None:
    with pytest.raises(TypeError):
        rt.scheduler.run(5)  # type: ignore[arg-type]
