"""What a lease's record carries: its site, frames, task, owner and touches, at each level."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import ironcliw
import jarvis_rust_core
import numpy as np
import pytest
from conftest import eventually
from ironcliw.types import LeakLevel

LEVELS: list[LeakLevel] = ["disabled", "simple", "advanced", "paranoid"]


@pytest.fixture
def traced() -> Iterator[ironcliw.Runtime]:
    with ironcliw.Runtime(leak_level="paranoid") as rt:
        yield rt


def the_leak(rt: ironcliw.Runtime) -> ironcliw.LeakReport:
    (leak,) = rt.leaks.check().result(timeout=10)
    return leak


def lose(rt: ironcliw.Runtime) -> int:
    """Leaks a buffer, and says in which line."""
    rt.pool.try_allocate(3000, tracked=True)
    return sys._getframe().f_lineno - 1


def python_frames(leak: ironcliw.LeakReport) -> list[tuple[str, str]]:
    names = [(frame["function"], f"{frame['file']}:{frame['line']}") for frame in leak.frames]
    return [name for name in names if ".py:" in name[1]]


@pytest.mark.parametrize("level", LEVELS)
def test_a_record_carries_what_its_level_says(level: LeakLevel) -> None:
    with ironcliw.Runtime(leak_level=level) as rt:
        line = lose(rt)
        leak = the_leak(rt)
        if level == "disabled":
            assert leak.site is None
        else:
            assert leak.site == f"{__file__}:{line}"
        assert leak.task is None and leak.owner == "python"
        assert bool(leak.frames) == (level in ("advanced", "paranoid"))
        assert leak.touches == [] and leak.touches_dropped == 0


def test_frames_are_the_callers_innermost_first_pythons_before_rusts(traced: ironcliw.Runtime) -> None:
    line = lose(traced)
    leak = the_leak(traced)
    frames = python_frames(leak)
    assert frames[0] == ("lose", f"{__file__}:{line}")
    assert frames[1][0] == "test_frames_are_the_callers_innermost_first_pythons_before_rusts"
    assert 1 < len(frames) <= 16
    is_python = [".py" in (frame["file"] or "") for frame in leak.frames]
    assert is_python == sorted(is_python, reverse=True) and not all(is_python)
    own = tuple(f"{Path(package.__file__).parent}{os.sep}" for package in (ironcliw, jarvis_rust_core))
    assert not any(place.startswith(own) for _, place in frames)


def test_frames_are_bounded(traced: ironcliw.Runtime) -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        else:
            lose(traced)

    deep(100)
    frames = python_frames(the_leak(traced))
    assert len(frames) == 16
    assert [name for name, _ in frames[1:]] == ["test_frames_are_bounded.<locals>.deep"] * 15


WRAPPED = """
from jarvis_rust_core import RustAdvancedMemoryPool
pool = RustAdvancedMemoryPool()
pool.allocate(1000)
print(*pool.check_leaks())
"""


def test_a_wrapper_of_ours_is_not_the_site() -> None:
    done = subprocess.run([sys.executable, "-c", WRAPPED], capture_output=True, text=True, timeout=60)
    assert " from <string>:4 " in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("level", LEVELS[1:])
def test_frames_and_task_go_right_through_async_code(level: LeakLevel) -> None:
    async def inner(rt: ironcliw.Runtime) -> int:
        await asyncio.sleep(0)
        return lose(rt)

    async def outer(rt: ironcliw.Runtime) -> int:
        return await inner(rt)

    async def main(rt: ironcliw.Runtime) -> int:
        return await asyncio.create_task(outer(rt), name="fetch-7")

    with ironcliw.Runtime(leak_level=level) as rt:
        line = asyncio.run(main(rt))
        leak = the_leak(rt)
    assert leak.task == "fetch-7" and leak.site == f"{__file__}:{line}"
    if level != "simple":
        names = [name.rpartition(".")[2] for name, _ in python_frames(leak)]
        assert names[:3] == ["lose", "inner", "outer"]


def test_touches_are_the_last_eight_newest_first(traced: ironcliw.Runtime) -> None:
    buffer = traced.pool.try_allocate(3000, tracked=True)
    np.asarray(buffer)
    memoryview(buffer).release()
    line = sys._getframe().f_lineno - 1
    np.from_dlpack(buffer)
    buffer.freeze()
    buffer.touch("decoded")
    del buffer
    gc.collect()
    leak = the_leak(traced)
    assert [touch["hint"] for touch in leak.touches] == ["decoded", "freeze", "dlpack", "view", "view"]
    assert leak.touches[3]["site"] == f"{__file__}:{line}"
    assert leak.touches_dropped == 0
    after = [touch["after"] for touch in leak.touches]
    assert after == sorted(after, reverse=True) and after[-1] >= 0


def test_what_is_done_with_a_part_of_a_buffer_touches_the_buffer(traced: ironcliw.Runtime) -> None:
    buffer = traced.pool.try_allocate(3000, tracked=True)
    part = buffer.view(10, 20).slice(0, 5)
    line = sys._getframe().f_lineno - 1
    memoryview(part).release()
    part.touch("parsed")
    part.release()
    with pytest.raises(ironcliw.BufferReleased):
        part.touch("late")
    del buffer, part
    gc.collect()
    leak = the_leak(traced)
    assert [touch["hint"] for touch in leak.touches] == ["parsed", "view", "slice", "slice"]
    assert leak.touches[3]["site"] == f"{__file__}:{line}"


def test_touches_are_bounded_and_the_others_counted(traced: ironcliw.Runtime) -> None:
    buffer = traced.pool.try_allocate(3000, tracked=True)
    for n in range(5):
        buffer.touch(str(n))
    # From here on the ledger has the record.
    assert traced.leaks.check().result(timeout=10) == []
    for n in range(5, 20):
        buffer.touch(str(n))
    buffer.touch()
    del buffer
    leak = the_leak(traced)
    assert [touch["hint"] for touch in leak.touches] == ["touch", *map(str, range(19, 12, -1))]
    assert leak.touches_dropped == 13


@pytest.mark.parametrize("level", LEVELS[:2])
def test_touches_cost_nothing_and_say_nothing_below_advanced(level: LeakLevel) -> None:
    with ironcliw.Runtime(leak_level=level) as rt:
        buffer = rt.pool.try_allocate(3000, tracked=True)
        buffer.touch("unheard")
        np.asarray(buffer)
        del buffer
        assert the_leak(rt).touches == []


def test_a_released_buffer_cannot_be_touched(traced: ironcliw.Runtime) -> None:
    buffer = traced.pool.try_allocate(100)
    buffer.release()
    with pytest.raises(ironcliw.BufferReleased):
        buffer.touch("late")


class Keeper(ironcliw.Actor):
    """Leases in every way that a handler can, and keeps it."""

    def __init__(self) -> None:
        self.held: list[ironcliw.Buffer] = []
        self.rt = self.context.runtime
        self.held.append(self.rt.pool.try_allocate(64))

    def on_message(self, how: Any) -> Any:
        if how == "at once":
            self.held.append(self.rt.pool.try_allocate(128))
            return None
        if isinstance(how, ironcliw.Buffer):
            return None
        return self.later(how)

    async def later(self, how: str) -> None:
        if how == "suspended":
            await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
        self.held.append(self.rt.pool.try_allocate(192))
        self.held.append(await self.rt.pool.allocate(256))


def test_what_an_actors_handler_leases_belongs_to_the_actor(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        keeper = await rt.spawn(Keeper, name="keeper")
        for how in ("at once", "first step", "suspended"):
            await keeper.ask(how)
        outside = rt.pool.try_allocate(1000)
        counts = rt.leaks.counts()
        assert counts[keeper.path] == {64: 1, 128: 1, 192: 2, 256: 2}
        assert counts["python"] == {1024: 1}
        outside.release()
        await keeper.stop()

    asyncio.run(main())
    assert eventually(lambda: rt.pool.stats()["total_active"] == 0)


def test_two_actors_that_are_suspended_at_a_time_are_told_apart(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        keepers = [await rt.spawn(Keeper, name=f"keeper-{n}") for n in range(3)]
        await asyncio.gather(*[keeper.ask("suspended") for keeper in keepers], asyncio.sleep(0))
        counts = rt.leaks.counts()
        for keeper in keepers:
            assert counts[keeper.path] == {64: 1, 192: 1, 256: 1}
        assert "python" not in counts
        for keeper in keepers:
            await keeper.stop()

    asyncio.run(main())


def test_a_buffer_sent_to_an_actor_says_so(traced: ironcliw.Runtime) -> None:
    async def main() -> str:
        keeper = await traced.spawn(Keeper, name="keeper")
        buffer = traced.pool.try_allocate(3000, tracked=True)
        await keeper.ask(buffer)
        del buffer
        await keeper.stop()

        return keeper.path

    path = asyncio.run(main())
    gc.collect()
    assert [touch["hint"] for touch in the_leak(traced).touches] == [f"sent to {path}"]


class Counter(ironcliw.Actor):
    def on_message(self, message: Any, /) -> int:
        return len(message)


def size_of(value: Any) -> int:
    return len(value)


@pytest.mark.parametrize("send", ["ask", "tell", "ask_many", "tell_many"])
@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: [1, {"frame": (b,)}], lambda b: b.view(8, 16)])
def test_a_buffer_in_a_message_says_where_it_was_sent_by_every_way(
    traced: ironcliw.Runtime, send: str, wrap: Callable[[ironcliw.Buffer], Any]
) -> None:
    async def main() -> str:
        counter = await traced.spawn(Counter, name="counter")
        message = wrap(traced.pool.try_allocate(3000, tracked=True))
        await getattr(counter, send)([b"first", message] if send.endswith("_many") else message)
        del message
        await counter.stop()
        return counter.path

    path = asyncio.run(main())
    gc.collect()
    leak = the_leak(traced)
    assert leak.touches[0]["hint"] == f"sent to {path}"
    assert str(leak.touches[0]["site"]).startswith(f"{__file__}:")


class Slow(ironcliw.Actor):
    async def on_message(self, message: Any, /) -> None:
        begun, go = message[:2]
        begun.set()
        await self.context.runtime.scheduler.run(threading.Event.wait, go, 20)


@pytest.mark.parametrize("send", ["tell", "tell_many"])
def test_a_message_that_waits_for_room_is_sent_and_one_that_is_refused_for_want_of_it_is_not(
    traced: ironcliw.Runtime, send: str
) -> None:
    async def main() -> str:
        go = threading.Event()
        waits = await traced.spawn(Slow, name="waits", mailbox=1)
        refuses = await traced.spawn(Slow, name="refuses", mailbox=1, overflow="reject")
        buffer = traced.pool.try_allocate(3000, tracked=True)
        for actor in (waits, refuses):
            # One in hand, one in the mailbox.
            begun = asyncio.Event()
            await actor.tell([begun, go])
            await begun.wait()
            await actor.tell([begun, go])
        message = [asyncio.Event(), go, buffer]
        with pytest.raises(ironcliw.MailboxFull):
            await getattr(refuses, send)([message] if send == "tell_many" else message)
        with pytest.raises(ironcliw.MailboxFull):
            await refuses.ask(message)
        waiting = getattr(waits, send)([message] if send == "tell_many" else message)
        assert not waiting.done()
        go.set()
        await waiting
        for actor in (waits, refuses):
            await actor.stop()
        return waits.path

    path = asyncio.run(main())
    gc.collect()
    assert [touch["hint"] for touch in the_leak(traced).touches] == [f"sent to {path}"]


@pytest.mark.parametrize("name", [None, "thumbnails"])
def test_a_buffer_that_a_job_is_given_names_the_job(traced: ironcliw.Runtime, name: str | None) -> None:
    async def main() -> None:
        buffer = traced.pool.try_allocate(3000, tracked=True)
        assert await traced.scheduler.run(size_of, buffer, name=name) == 3000
        assert await traced.scheduler.map(size_of, [b"1", [buffer]], name=name) == [1, 1]

    asyncio.run(main())
    gc.collect()
    touches = the_leak(traced).touches
    assert [touch["hint"] for touch in touches] == [f"given to {name or 'size_of'}"] * 2
    assert all(str(touch["site"]).startswith(f"{__file__}:") for touch in touches)


def test_a_message_that_is_not_sent_is_not_said_to_be(traced: ironcliw.Runtime) -> None:
    async def main() -> None:
        counter = await traced.spawn(Counter, name="counter")
        buffer = traced.pool.try_allocate(3000, tracked=True)
        with pytest.raises(ironcliw.InvalidInput):
            counter.ask(buffer, timeout=-1.0)
        with pytest.raises(ZeroDivisionError):
            counter.tell_many(buffer if n else 1 // n for n in (1, 0))
        await counter.stop()
        # One that has stopped takes nothing.
        for send in (counter.ask, counter.tell):
            with pytest.raises(ironcliw.ActorStopped):
                await send([buffer])
        for send_all in (counter.ask_many, counter.tell_many):
            with pytest.raises(ironcliw.ActorStopped):
                await send_all([buffer])
        answers = await counter.ask_many([buffer], return_exceptions=True)
        assert isinstance(answers[0], ironcliw.ActorStopped)

    asyncio.run(main())
    gc.collect()
    assert the_leak(traced).touches == []


def test_levels_change_while_threads_lease(rt: ironcliw.Runtime) -> None:
    done = threading.Event()

    def lease() -> None:
        while not done.is_set():
            for size in (64, 1000, 5000):
                with rt.pool.try_allocate(size) as buffer:
                    buffer.touch("used")

    threads = [threading.Thread(target=lease) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        for level in LEVELS:
            rt.leaks.level = level
            assert rt.leaks.check().result(timeout=10) == []
    done.set()
    for thread in threads:
        thread.join()
    assert rt.leaks.check().result(timeout=10) == []


def test_code_that_is_gone_stays_readable_and_is_not_kept_for_ever(traced: ironcliw.Runtime) -> None:
    made = "def vanish(rt):\n    rt.pool.try_allocate(3000, tracked=True)\n"
    scope: dict[str, Any] = {"__name__": "made_up"}
    exec(compile(made, "made_up.py", "exec"), scope)
    scope.pop("vanish")(traced)
    scope.clear()
    gc.collect()
    leak = the_leak(traced)
    assert leak.site == "made_up.py:2" and leak.frames[0]["function"] == "vanish"


MANY_CODES = """
import gc, weakref
import ironcliw
import jarvis_rust_core
codes = []
with ironcliw.Runtime(leak_level="paranoid") as rt:
    for n in range(9_000):
        code = compile("rt.pool.try_allocate(64).release()", f"m{n}.py", "exec")
        exec(code, {"__name__": "made_up", "rt": rt})
        codes.append(weakref.ref(code))
    del code
    gc.collect()
    print(sum(code() is not None for code in codes) < 2_000, rt.leaks.check().result(10))
"""


def test_a_program_that_makes_up_code_is_traced_in_bounded_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_CODES], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True []"


class Greedy(np.ndarray):
    """An array whose base is computed by code that changes the dictionary which the array is in."""

    around: ClassVar[dict[Any, Any]] = {}

    @property
    def base(self) -> None:
        self.around[len(self.around)] = None


def test_a_dictionary_may_change_while_a_job_is_given_it(traced: ironcliw.Runtime) -> None:
    buffer = traced.pool.try_allocate(3000, tracked=True)
    Greedy.around = {"array": np.zeros(3).view(Greedy), "number": 1, "buffer": buffer}
    assert traced.scheduler.run(size_of, Greedy.around).result(timeout=10) == 4
    Greedy.around = {}
    del buffer
    gc.collect()
    assert [touch["hint"] for touch in the_leak(traced).touches] == ["given to size_of"]
