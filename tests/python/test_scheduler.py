"""Python work on the runtime's own threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import io
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ironcliw
import pytest
from conftest import eventually
from ironcliw.types import SchedulerPoolStats

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS.append(uvloop.new_event_loop)


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


def held(rt: ironcliw.Runtime, pool: str | None = None) -> threading.Event:
    """Keeps the only thread of a pool until the event is set."""
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go.wait(20)

    rt.scheduler.run(hold, pool=pool)
    assert begun.wait(10)
    return go


@pytest.fixture
def one() -> Iterator[ironcliw.Runtime]:
    """A runtime whose scheduler has one thread: what is queued behind a held one waits."""
    # Not nice: other programs of the machine are not to decide how long a test takes.
    with ironcliw.Runtime(scheduler_threads=1, image_workers=1, niceness=0, pin=False) as runtime:
        yield runtime


def default_pool(rt: ironcliw.Runtime) -> SchedulerPoolStats:
    return rt.scheduler.stats()["pools"][0]


def test_what_is_more_urgent_is_begun_first(one: ironcliw.Runtime) -> None:
    go, order = held(one), []
    calls = [
        one.scheduler.run(order.append, priority, priority=priority)
        for priority in ("low", "normal", "high", "low", "normal", "high")
    ]
    go.set()
    for call in calls:
        call.result(timeout=10)
    assert order == ["high", "high", "normal", "normal", "low", "low"]
    with pytest.raises(ironcliw.InvalidInput, match="urgent"):
        one.scheduler.run(int, priority="urgent")  # type: ignore[arg-type]


def test_a_function_that_has_not_begun_by_its_timeout_is_skipped(one: ironcliw.Runtime) -> None:
    go, ran = held(one), []
    call = one.scheduler.run(ran.append, 1, timeout=0.02)
    with pytest.raises(ironcliw.DeadlineExceeded):
        call.result(timeout=10)
    go.set()
    one.scheduler.run(int).result(timeout=10)
    assert ran == [] and default_pool(one)["expired"] == 1


def test_a_cancelled_function_that_waits_is_skipped_and_a_dropped_one_is_run(one: ironcliw.Runtime) -> None:
    go, ran = held(one), []
    cancelled = one.scheduler.run(ran.append, "cancelled")
    one.scheduler.run(ran.append, "dropped")
    assert cancelled.cancel()
    go.set()
    one.scheduler.run(int).result(timeout=10)
    assert ran == ["dropped"]
    stats = default_pool(one)
    assert stats["cancelled"] == 1 and stats["submitted"] == stats["completed"] + 1


def test_a_running_function_can_ask_whether_it_is_wanted(one: ironcliw.Runtime) -> None:
    seen: queue.SimpleQueue[object] = queue.SimpleQueue()

    def work(begun: threading.Event) -> None:
        job = ironcliw.current_job()
        assert not job.cancelled
        job.check()
        begun.set()
        try:
            while True:
                job.check()
                time.sleep(0.001)
        except BaseException as error:
            seen.put((type(error), job.cancelled))
            raise

    begun = threading.Event()
    call = one.scheduler.run(work, begun)
    assert begun.wait(10) and call.cancel()
    assert seen.get(timeout=10) == (asyncio.CancelledError, True)
    call = one.scheduler.run(work, threading.Event(), timeout=0.03)
    with pytest.raises(ironcliw.DeadlineExceeded):
        call.result(timeout=10)
    assert seen.get(timeout=10) == (ironcliw.DeadlineExceeded, True)


def test_a_cancelled_task_and_wait_for_reach_the_function(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        ended = threading.Event()

        def work() -> None:
            while not ironcliw.current_job().cancelled:
                time.sleep(0.001)
            ended.set()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rt.scheduler.run(work), 0.02)
        assert await asyncio.to_thread(ended.wait, 10)

    asyncio.run(main())


def test_a_job_knows_its_terms_and_outside_there_is_an_idle_one(one: ironcliw.Runtime) -> None:
    def look() -> tuple[object, ...]:
        job = ironcliw.current_job()
        return job.name, job.pool, job.priority, job.remaining, repr(job)

    name, pool, priority, remaining, text = one.scheduler.run(
        look, name="a look", priority="high", timeout=60
    ).result(timeout=10)
    assert (name, pool, priority) == ("a look", "default", "high")
    assert isinstance(remaining, float) and 50 < remaining <= 60
    assert text == '<ironcliw.Job "a look" in default, high priority, wanted>'
    idle = ironcliw.current_job()
    assert (idle.name, idle.remaining, idle.cancelled) == (None, None, False)
    idle.check()
    idle.progress(1, 2)


@pytest.mark.parametrize("new_event_loop", LOOPS)
def test_progress_is_told_on_the_loops_thread_and_before_the_result(
    rt: ironcliw.Runtime, new_event_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    told: list[tuple[int, int, int]] = []

    def work(steps: int) -> int:
        job = ironcliw.current_job()
        for step in range(steps):
            job.progress(step + 1, steps)
        return steps

    async def main() -> None:
        def tell(done: int, total: int) -> None:
            told.append((done, total, threading.get_ident()))

        for _ in range(20):
            told.clear()
            assert await rt.scheduler.run(work, 10_000, progress=tell) == 10_000
            assert told[-1] == (10_000, 10_000, threading.get_ident())
            # Each time the last one, however many there were; and no flood.
            assert len(told) < 20
            assert {thread for *_, thread in told} == {threading.get_ident()}
        count = len(told)
        await asyncio.sleep(0.12)
        assert len(told) == count

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_a_slow_functions_every_report_is_told(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        told = []
        steps = [threading.Event() for _ in range(3)]

        def work() -> None:
            for step, event in enumerate(steps):
                ironcliw.current_job().progress(step)
                event.wait(10)
            raise Refusal

        call = rt.scheduler.run(work, progress=lambda done, total: told.append((done, total)))
        for step, event in enumerate(steps):
            while len(told) <= step:  # noqa: ASYNC110 what is told is what is tested
                await asyncio.sleep(0.005)
            event.set()
        with pytest.raises(Refusal):
            await call
        assert told == [(0, None), (1, None), (2, None)]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_after_a_cancellation_no_progress_is_told(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        told, go, done = [], threading.Event(), threading.Event()

        def work() -> None:
            go.wait(10)
            ironcliw.current_job().progress(1)
            done.set()

        call = rt.scheduler.run(work, progress=lambda *what: told.append(what))
        call.cancel()
        go.set()
        await asyncio.to_thread(done.wait, 1)
        await asyncio.sleep(0.12)
        assert told == []

    asyncio.run(main())


def test_a_progress_callback_may_look_at_its_call(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        seen: list[object] = []

        def look(done: int, total: int) -> None:
            if call.done():
                with pytest.raises(asyncio.InvalidStateError, match="being taken"):
                    call.result()
            seen.append(done)

        def work() -> str:
            ironcliw.current_job().progress(1)
            return "the result"

        call = rt.scheduler.run(work, progress=look)
        assert eventually(call.done)
        assert await call == "the result" == call.result() and seen == [1]

    asyncio.run(main())


def test_a_call_that_its_own_progress_callback_holds_is_not_kept(rt: ironcliw.Runtime) -> None:
    async def main(reports: int) -> weakref.ref[Thing]:
        def work() -> None:
            for n in range(reports):
                ironcliw.current_job().progress(n)

        holder, calls = Thing(), []
        call = rt.scheduler.run(work, progress=lambda *_, held=(holder, calls): held)
        calls.append(call)
        # Nobody takes the result.
        await asyncio.to_thread(eventually, call.done)
        await asyncio.sleep(0.12)
        return weakref.ref(holder)

    for reports in (0, 1, 100):
        gone = asyncio.run(main(reports))
        rt.ping().result(timeout=10)
        gc.collect()
        assert gone() is None


def test_an_error_of_the_progress_callback_is_the_loops_and_not_the_jobs(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

        def refuse(done: int, total: int) -> None:
            raise Refusal

        def work() -> int:
            ironcliw.current_job().progress(1)
            return 7

        assert await rt.scheduler.run(work, progress=refuse) == 7
        assert [type(complaint["exception"]) for complaint in complaints] == [Refusal]

    asyncio.run(main())


def test_without_a_loop_progress_is_told_on_the_jobs_thread(one: ironcliw.Runtime) -> None:
    told: list[tuple[object, ...]] = []

    def work() -> int:
        for step in range(1000):
            ironcliw.current_job().progress(step)
        return threading.get_ident()

    call = one.scheduler.run(work, progress=lambda *what: told.append((*what, threading.get_ident())))
    thread = call.result(timeout=10)
    assert told[-1] == (999, None, thread) and len(told) < 20


def test_a_progress_bar_is_drawn_on_a_terminal_only(one: ironcliw.Runtime) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def work() -> None:
        for step in range(4):
            ironcliw.current_job().progress(step + 1, 4)

    for stream, is_drawn in ((Terminal(), True), (io.StringIO(), False)):
        with contextlib.redirect_stderr(stream):
            one.scheduler.run(work, name="stones", progress=True).result(timeout=10)
            one.scheduler.map(abs, range(10), progress=True).result(timeout=10)
        text = stream.getvalue()
        assert text.endswith("\n") is is_drawn and ("stones [" in text) is is_drawn
        assert ("4/4" in text and "abs [" in text and "10/10" in text) is is_drawn
    with pytest.raises(TypeError, match="progress"):
        one.scheduler.run(work, progress=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
def test_a_map_gives_its_results_in_order(rt: ironcliw.Runtime, chunk: int | None) -> None:
    async def main() -> None:
        told: list[tuple[int, int]] = []
        results = await rt.scheduler.map(
            lambda n: n * n, iter(range(300)), chunk=chunk, progress=lambda *what: told.append(what)
        )
        assert results == [n * n for n in range(300)]
        assert told[-1] == (300, 300) and told == sorted(told)
        assert await rt.scheduler.map(str, []) == []
        many = await asyncio.gather(*[rt.scheduler.map(abs, range(-n, 0)) for n in range(20)])
        assert many == [list(range(n, 0, -1)) for n in range(20)]

    asyncio.run(main())


def test_the_first_exception_of_a_map_wins_and_the_rest_is_skipped(one: ironcliw.Runtime) -> None:
    ran = []

    def work(n: int) -> None:
        ran.append(n)
        if n == 3:
            raise Refusal(n)

    with pytest.raises(Refusal, match="3"):
        one.scheduler.map(work, range(1000), chunk=2).result(timeout=10)
    one.scheduler.run(int).result(timeout=10)
    assert ran == [0, 1, 2, 3]
    stats = default_pool(one)
    assert stats["cancelled"] == 498 and stats["running"] == 0

    def broken() -> Iterator[int]:
        yield 1
        raise Refusal("the iterable's own")

    with pytest.raises(Refusal, match="own"):
        one.scheduler.map(work, broken())
    with pytest.raises(ironcliw.InvalidInput, match="chunk"):
        one.scheduler.map(work, [1], chunk=0)


def test_a_cancelled_map_ends_between_two_items(one: ironcliw.Runtime) -> None:
    ran, begun, go = [], threading.Event(), threading.Event()

    def work(n: int) -> None:
        ran.append(n)
        begun.set()
        go.wait(10)

    call = one.scheduler.map(work, range(100), chunk=50)
    assert begun.wait(10) and call.cancel()
    go.set()
    one.scheduler.run(int).result(timeout=10)
    assert ran == [0]


def test_context_variables_are_carried_and_stay_the_functions_own(rt: ironcliw.Runtime) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")

    def look(change: str) -> str:
        found = request.get("none")
        request.set(change)
        return found

    async def handle(name: str) -> None:
        request.set(name)
        assert await rt.scheduler.run(look, "theirs") == name
        assert set(await rt.scheduler.map(look, [name] * 40, chunk=1)) == {name}
        assert request.get() == name

    async def main() -> None:
        await asyncio.gather(*[handle(f"request {n}") for n in range(20)])
        assert request.get("none") == "none"

    asyncio.run(main())


def test_named_pools_are_made_resized_and_removed(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        await rt.scheduler.create_pool("io", threads=2, pin=False)
        name = await rt.scheduler.run(lambda: ironcliw.current_job().pool, pool="io")
        assert name == "io"
        assert await rt.scheduler.map(abs, [-1, -2], pool="io") == [1, 2]
        await rt.scheduler.resize_pool("io", 3)
        pools = {pool["name"]: pool for pool in rt.scheduler.stats()["pools"]}
        assert list(pools) == ["default", "io"]
        io = pools["io"]
        assert (io["threads"], io["resizes"]) == (3, 1) and io["run"]["count"] == io["completed"] > 1
        with pytest.raises(ironcliw.InvalidInput, match="io"):
            await rt.scheduler.create_pool("io")
        await rt.scheduler.remove_pool("io")
        with pytest.raises(ironcliw.InvalidInput, match="io"):
            rt.scheduler.run(int, pool="io")
        for wrong in ({"threads": 0}, {"threads": 5000}, {"queue": 0}, {"niceness": 50}, {"cores": []}):
            with pytest.raises(ironcliw.InvalidInput):
                await rt.scheduler.create_pool("wrong", **wrong)
        with pytest.raises(ironcliw.InvalidInput):
            rt.scheduler.create_pool("wrong", pin=False, cores=[0])
        with pytest.raises(ironcliw.InvalidInput):
            await rt.scheduler.remove_pool("default")
        with pytest.raises(ironcliw.InvalidInput):
            rt.scheduler.remove_pool("io", remaining="keep")  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_full_pool_refuses_and_a_removed_one_answers_what_waits(rt: ironcliw.Runtime) -> None:
    rt.scheduler.create_pool("small", threads=1, queue=2).result(timeout=10)
    go = held(rt, "small")
    waiting = [rt.scheduler.run(int, pool="small") for _ in range(2)]
    with pytest.raises(ironcliw.MailboxFull):
        rt.scheduler.run(int, pool="small").result(timeout=10)
    with pytest.raises(ironcliw.MailboxFull):
        rt.scheduler.map(int, [1, 2], chunk=1, pool="small").result(timeout=10)
    rt.scheduler.remove_pool("small", remaining="refuse").result(timeout=10)
    for call in waiting:
        with pytest.raises(ironcliw.ActorStopped):
            call.result(timeout=10)
    go.set()


def test_a_function_may_use_the_scheduler_again_from_its_threads(one: ironcliw.Runtime) -> None:
    def inner() -> tuple[str | None, str]:
        return ironcliw.current_job().name, threading.current_thread().name

    def outer() -> tuple[object, ...]:
        nested = one.scheduler.run(inner, name="inner").result(timeout=10)
        mapped = one.scheduler.map(str, range(5)).result(timeout=10)
        in_loop = asyncio.run(asyncio.wait_for(one.scheduler.run(pow, 2, 5), 10))
        return nested[0], mapped, in_loop, ironcliw.current_job().name

    answer = one.scheduler.run(outer, name="outer").result(timeout=10)
    assert answer == ("inner", ["0", "1", "2", "3", "4"], 32, "outer")


def test_a_function_may_close_its_runtime() -> None:
    rt = ironcliw.Runtime(scheduler_threads=1, image_workers=1)
    assert rt.scheduler.run(lambda: rt.close().result(timeout=10)).result(timeout=10) is None
    assert rt.closed
    with pytest.raises(ironcliw.RuntimeClosed):
        rt.scheduler.run(int)
    with pytest.raises(ironcliw.RuntimeClosed):
        rt.scheduler.map(int, [1])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_an_exception_that_is_no_error_passes_through_too(
    one: ironcliw.Runtime, kind: type[BaseException]
) -> None:
    def work() -> None:
        raise kind

    with pytest.raises(kind):
        one.scheduler.run(work).result(timeout=10)
    with pytest.raises(kind):
        one.scheduler.map(lambda _: work(), [1]).result(timeout=10)
    assert one.scheduler.run(int).result(timeout=10) == 0


def test_stop_iteration_is_wrapped(one: ironcliw.Runtime) -> None:
    for call in (one.scheduler.run(next, iter(())), one.scheduler.map(next, [iter(())])):
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            call.result(timeout=10)
        assert isinstance(caught.value.__cause__, StopIteration)


class Thing:
    """Can be referred to weakly."""

    def __call__(self, *arguments: object) -> Thing:
        return Thing()


def test_nothing_is_kept_of_a_call_that_has_ended(one: ironcliw.Runtime) -> None:
    def refuse(thing: Thing) -> None:
        raise Refusal(thing)

    async def main() -> None:
        gone: list[weakref.ref[Thing]] = []

        def thing() -> Thing:
            made = Thing()
            gone.append(weakref.ref(made))
            return made

        gone.append(weakref.ref(await one.scheduler.run(thing(), thing(), progress=thing())))
        gone += [weakref.ref(made) for made in await one.scheduler.map(thing(), [thing() for _ in range(9)])]
        for call in (one.scheduler.run(refuse, thing()), one.scheduler.map(refuse, [thing(), thing()])):
            with pytest.raises(Refusal):
                await call
            del call
        go = held(one)
        skipped = one.scheduler.run(thing(), thing(), progress=thing())
        skipped.cancel()
        one.scheduler.map(thing(), [thing()]).cancel()
        go.set()
        await one.scheduler.run(int)
        await one.ping()
        gc.collect()
        assert [ref() for ref in gone if ref() is not None] == []

    asyncio.run(main())


PRELUDE = """
import asyncio, os, signal, sys, threading, time
import ironcliw
rt = ironcliw.Runtime(scheduler_threads=2, image_workers=1)
def until_cancelled(begun=None):
    if begun: begun.set()
    while not ironcliw.current_job().cancelled: time.sleep(0.005)
    print("ended", flush=True)
"""

EXITS = {
    "a function asks whether it is wanted": (
        "begun = threading.Event(); rt.scheduler.run(until_cancelled, begun); begun.wait()",
        (0, "ended\n", ""),
    ),
    "a map is half done": (
        "call = rt.scheduler.map(lambda n: time.sleep(0.01), range(10_000), chunk=10); time.sleep(0.1)",
        (0, "", ""),
    ),
    "progress is under way": (
        """
def work():
    for n in range(10**9):
        ironcliw.current_job().check(); ironcliw.current_job().progress(n)
async def main():
    global call
    call = rt.scheduler.run(work, progress=lambda done, total: None)
    await asyncio.sleep(0.1)
asyncio.run(main())
""",
        (0, "", ""),
    ),
    "the loop of a call was closed before its answer": (
        """
async def main():
    return rt.scheduler.run(time.sleep, 0.1, progress=print)
call = asyncio.run(main())
assert call.result(10) is None
""",
        (0, "", ""),
    ),
}


def finish(program: str, seconds: float = 40) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", PRELUDE + program],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("situation", EXITS)
def test_the_process_exits_promptly_when(situation: str) -> None:
    program, expected = EXITS[situation]
    begin = time.monotonic()
    assert finish(program) == expected
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "blocking", ["threading.Event().wait", "lambda: time.sleep(5.3)", "lambda: os.read(r, 1)"]
)
def test_a_function_that_never_ends_holds_the_exit_up_for_a_bounded_time_and_is_named(blocking: str) -> None:
    program = f"r, w = os.pipe()\nrt.scheduler.run({blocking}); time.sleep(0.1)"
    begin = time.monotonic()
    code, out, err = finish(program)
    assert (code, out) == (0, "") and time.monotonic() - begin < 30
    assert "functions still run on the scheduler" in err and err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_while_a_function_runs_does_not_wait_for_it() -> None:
    program = """
import warnings; warnings.simplefilter("ignore", DeprecationWarning)
begun = threading.Event(); call = rt.scheduler.run(until_cancelled, begun); begun.wait()
child = os.fork()
if child == 0: sys.exit(4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
call.cancel()
"""
    # One that had waited would have complained of the function.
    assert finish(program) == (0, "4\nended\n", "")
