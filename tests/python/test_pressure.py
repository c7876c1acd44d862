"""Memory pressure as Python sees it: an iterator that loses nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ironcliw
import pytest
from conftest import eventually

LIMIT = 16 << 20
PATIENCE = 20


def alone() -> ironcliw.Runtime:
    """One that the machine's memory does not matter to."""
    rt = ironcliw.Runtime(memory_limit=LIMIT)
    rt.pool.watches_system = False
    return rt


@contextmanager
def used(rt: ironcliw.Runtime, mebibytes: int) -> Iterator[None]:
    """Has the pool hold so many MiB of its 16."""
    held = [rt.pool.try_allocate(1 << 20) for _ in range(mebibytes)]
    try:
        yield
    finally:
        for buffer in held:
            buffer.release()


def triggers() -> int:
    """Triggers for stalls of memory that this process has registered."""
    links = []
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):
            # That of the listing itself is closed.
            with suppress(OSError):
                links.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum(link.endswith(("pressure/memory", "memory.pressure")) for link in links)


async def reached(rt: ironcliw.Runtime, level: str) -> None:
    for _ in range(100 * PATIENCE):
        if rt.pool.stats()["pressure"]["level"] == level:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"pressure did not become {level}")


def test_the_present_level_comes_first_and_then_every_change() -> None:
    async def main() -> None:
        async with alone() as rt:
            levels = rt.pool.pressure()
            assert aiter(levels) is levels
            assert await anext(levels) == "Low"
            with used(rt, 11):
                assert await anext(levels) == "Medium"
            assert await anext(levels) == "Low"
            with used(rt, 14):
                assert await anext(levels) == "High"
                # Another one begins with what is.
                assert await anext(rt.pool.pressure()) == "High"
                assert rt.pool.pressure_level == "High"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_who_is_slow_gets_the_latest_level() -> None:
    async def main() -> None:
        async with alone() as rt:
            levels = rt.pool.pressure()
            assert await anext(levels) == "Low"
            for mebibytes, level in ((11, "Medium"), (14, "High"), (16, "Critical")):
                with used(rt, mebibytes):
                    await reached(rt, level)
                    if level == "Critical":
                        assert await anext(levels) == "Critical"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_the_loop_ends_when_the_runtime_closes() -> None:
    async def main() -> list[str]:
        rt = alone()
        begun = asyncio.Event()
        seen: list[str] = []

        async def listen() -> None:
            async for level in rt.pool.pressure():
                seen.append(level)
                begun.set()

        listeners = [asyncio.create_task(listen()) for _ in range(3)]
        levels = rt.pool.pressure()
        await begun.wait()
        await rt.close()
        await asyncio.gather(*listeners)
        with pytest.raises(StopAsyncIteration):
            await anext(levels)
        assert "over" in repr(levels)
        with pytest.raises(ironcliw.RuntimeClosed):
            rt.pool.pressure()
        return seen

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == ["Low"] * 3


def test_a_level_whose_await_was_cancelled_is_told_again() -> None:
    async def main() -> None:
        async with alone() as rt:
            levels = rt.pool.pressure()
            assert await anext(levels) == "Low"
            # Waits in vain, many times: nothing piles up, and nothing is lost.
            for _ in range(200):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(levels), 0.0001)
            waiting = levels.__anext__()
            with used(rt, 14):
                await reached(rt, "High")
                # Answered, and never taken.
                del waiting
                assert await anext(levels) == "High"

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_several_loops_hear_of_the_same_changes() -> None:
    with alone() as rt:
        ready = threading.Barrier(4)
        heard: list[list[str]] = []

        async def listen() -> None:
            seen = []
            async for level in rt.pool.pressure():
                seen.append(level)
                if len(seen) == 1:
                    ready.wait()
                if seen[-2:] == ["High", "Low"]:
                    break
            heard.append(seen)

        threads = [threading.Thread(target=asyncio.run, args=(listen(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        ready.wait()
        with used(rt, 14):
            assert eventually(lambda: rt.pool.stats()["pressure"]["level"] == "High")
            assert eventually(lambda: rt.pool.stats()["pressure"]["rises"]["High"] == 1)
            # Each is told before the level may fall again.
            assert rt.ping().result() > 0
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert heard == [["Low", "High", "Low"]] * 3


def test_an_iterator_that_is_dropped_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with alone() as rt:

            class Holder:
                """Held by a task that waits for a level."""

            async def listen(holder: Holder) -> None:
                async for _level in rt.pool.pressure():
                    assert holder

            holders = []
            for _ in range(100):
                holder = Holder()
                holders.append(weakref.ref(holder))
                task = asyncio.create_task(listen(holder))
                await asyncio.sleep(0)
                task.cancel()
                # Not `raises`, which keeps the last exception and the frames in it.
                await asyncio.wait([task])
                del holder, task
            gc.collect()
            assert [holder for holder in holders if holder() is not None] == []
            # An await that outlives its iterator is answered.
            levels = rt.pool.pressure()
            await anext(levels)
            call = levels.__anext__()
            del levels
            with pytest.raises(StopAsyncIteration):
                await call

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_what_pressure_did_is_counted_and_its_cause_is_told() -> None:
    with alone() as rt:
        with rt.pool.try_allocate(1 << 20):
            pass
        before = rt.pool.stats()["pressure"]
        assert set(before["by_cause"]) == {"pool", "psi", "machine", "cgroup"}
        with used(rt, 14):
            assert eventually(lambda: rt.pool.stats()["pressure"]["level"] == "High")
            stats = rt.pool.stats()["pressure"]
            assert stats["by_cause"]["pool"] == "High"
            assert stats["rises"]["High"] == before["rises"]["High"] + 1
            assert stats["refused"] == 0 and not stats["refusing"]
            assert rt.snapshot()["pool"]["pressure"]["level"] == "High"
        assert rt.pool.refuses_under_pressure
        rt.pool.refuses_under_pressure = False
        assert not rt.pool.refuses_under_pressure


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_may_drop_an_iterator_and_is_told_that_it_is_another_processs() -> None:
    # Of runtimes of other tests, which are open still.
    others = triggers()
    with ironcliw.Runtime(memory_limit=LIMIT) as rt:
        levels = rt.pool.pressure()
        assert levels.__anext__().result() == "Low"  # type: ignore[attr-defined]
        rt.ping().result()
        inherited = triggers()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                try:
                    levels.__anext__()
                except ironcliw.RuntimeClosed:
                    del levels
                    # What the kernel watches for the parent's sake is closed here, and open there.
                    assert triggers() == 0
                    with ironcliw.Runtime(memory_limit=LIMIT) as own:
                        assert eventually(lambda: triggers() == inherited - others)
                        assert own.pool.pressure_level in ("Low", "Medium", "High", "Critical")
                    assert eventually(lambda: triggers() == 0)
                    code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert triggers() == inherited
    assert eventually(lambda: triggers() == others)


# A real control group


INSIDE = """
import asyncio, os, sys
import ironcliw

folder, limit = sys.argv[1], int(sys.argv[2])
with open(os.path.join(folder, "cgroup.procs"), "w") as procs:
    procs.write(str(os.getpid()))

async def main():
    async with ironcliw.Runtime(memory_limit=limit // 2) as rt:
        held = []
        async for level in rt.pool.pressure():
            print(level, rt.pool.stats()["pressure"]["cause"])
            if level == "Critical":
                try:
                    rt.pool.try_allocate(1 << 20)
                except ironcliw.PoolExhausted as error:
                    print("refused:", error)
                try:
                    await rt.pool.allocate(1 << 20, timeout=0.05)
                except ironcliw.DeadlineExceeded:
                    print("waited")
                held.clear()
            elif level == "Low" and held == []:
                if "begun" in globals():
                    break
                globals()["begun"] = asyncio.create_task(rise(held))
        await rt.pool.allocate(1 << 20)
        print("over", rt.pool.stats()["pressure"])

async def rise(held):
    held.append(b"")
    while held:
        held.append(b"x" * (1 << 20))
        await asyncio.sleep(0.005)

asyncio.run(asyncio.wait_for(main(), 60))
"""


def memory_group(limit: int) -> Path | None:
    """A new control group with this limit below our own; None where there is no right to make one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if "memory" in controllers.split(","):
            parent, file = Path("/sys/fs/cgroup/memory") / own.lstrip("/"), "memory.limit_in_bytes"
        elif not controllers:
            parent, file = Path("/sys/fs/cgroup") / own.lstrip("/"), "memory.max"
        else:
            continue
        folder = parent / f"ironcliw-python-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / file).exists():
                (folder / file).write_text(str(limit))
                return folder
        except OSError:
            pass
        folder.rmdir()
    return None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")
def test_in_a_control_group_levels_come_and_go_and_new_memory_is_refused_in_between() -> None:
    limit = 256 << 20
    folder = memory_group(limit)
    if folder is None:
        pytest.skip("no right to make a control group with a limit on memory here")
    try:
        command = [sys.executable, "-c", INSIDE, str(folder), str(limit)]
        child = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        assert eventually(lambda: not folder.exists() or removed(folder))
    told = child.stdout.splitlines()
    assert child.returncode == 0, child.stdout + child.stderr
    assert told[0] == "Low None" and "Critical cgroup" in told and "waited" in told, told
    refused = [line for line in told if line.startswith("refused: memory pressure is Critical (cgroup)")]
    assert len(refused) >= 1, told
    assert told[-1].startswith("over "), told


def removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
