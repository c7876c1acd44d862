"""What a caller may rely on about the awaitable that every native call returns."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import ironcliw
import pytest

LOOPS = ["asyncio"]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append("uvloop")

SLOW = 0.05


class _NoReaders(asyncio.SelectorEventLoop):
    """A loop that cannot watch descriptors, as Windows' proactor loop cannot."""

    def add_reader(self, fd, callback, *args):
        raise NotImplementedError


LOOPS.append("no-readers")


def new_loop(kind):
    if kind == "uvloop":
        return uvloop.new_event_loop()
    if kind == "no-readers":
        return _NoReaders()
    return asyncio.new_event_loop()


@pytest.fixture(params=LOOPS)
def run(request):
    """``asyncio.run`` on each kind of loop."""

    def run(coroutine, **options):
        with asyncio.Runner(loop_factory=lambda: new_loop(request.param), **options) as runner:
            return runner.run(coroutine)

    return run


@pytest.fixture(scope="module")
def rt():
    """One runtime for the whole file: an awaitable is bound to a loop, a runtime is not."""
    runtime = ironcliw.Runtime()
    yield runtime
    closed = runtime.close()
    if closed is not None:
        closed.result(timeout=30)


def slow(rt, seconds=SLOW):
    return rt.scheduler.run(time.sleep, seconds)


def fail(rt):
    def fail():
        raise LookupError("mine")

    return rt.scheduler.run(fail)


def in_subprocess(code, *, timeout=60, interrupt_after=None):
    """Runs ``code`` in an interpreter of its own, and returns its exit code and output."""
    # A background job of a shell ignores SIGINT, and so would its children.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", heed + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if interrupt_after is not None:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(interrupt_after)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


# What asyncio does with it


def test_everything_of_asyncio_that_waits_takes_a_call_as_it_is(rt, run):
    async def main():
        assert asyncio.isfuture(rt.ping())
        await rt.ping()
        assert len(await asyncio.gather(*[rt.ping() for _ in range(200)])) == 200
        await asyncio.wait_for(rt.ping(), 10)
        await asyncio.shield(rt.ping())
        assert len([await each for each in asyncio.as_completed([rt.ping(), rt.ping()])]) == 2
        await asyncio.create_task(rt.ping())
        await asyncio.ensure_future(rt.ping())
        async with asyncio.timeout(10):
            await rt.ping()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(rt.ping()) for _ in range(10)]
        call = rt.ping()
        task = asyncio.create_task(call)
        assert f"<{call.__name__}()>" in repr(task)
        await task
        assert all(task.done() for task in tasks)

    run(main())


def test_asyncio_wait_takes_a_call_as_it_is(rt, run):
    async def main():
        calls = {rt.ping(), rt.ping()}
        done, pending = await asyncio.wait(calls)
        assert done == calls
        assert not pending
        done, pending = await asyncio.wait([rt.ping(), slow(rt)], return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == len(pending) == 1
        await asyncio.wait(pending)

    run(main())


def test_a_call_runs_as_a_programs_main(rt, run):
    run(rt.ping())


def test_a_call_can_be_scheduled_on_a_loop_from_another_thread(rt, run):
    async def main():
        loop = asyncio.get_running_loop()

        def from_thread():
            return asyncio.run_coroutine_threadsafe(rt.ping(), loop).result(10)

        await loop.run_in_executor(None, from_thread)

    run(main())


def test_a_call_awaited_again_answers_again(rt, run):
    async def main():
        call = rt.ping()
        first = await call
        assert await call == first == call.result()
        assert call.exception() is None
        assert call.done()
        assert not call.cancelled()
        assert not call.cancel()

    run(main())


def test_two_tasks_may_await_one_call(rt, run):
    async def main():
        call = slow(rt)

        async def one():
            return await call

        first, second = await asyncio.gather(one(), one())
        assert first == second
        return await asyncio.gather(call, call)

    run(main())


def test_a_timeout_cancels_the_call(rt, run):
    async def main():
        call = slow(rt)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, SLOW / 10)
        assert call.cancelled()
        call = slow(rt)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SLOW / 10):
                await call
        assert call.cancelled()
        call = slow(rt)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(call), SLOW / 10)
        assert not call.cancelled()
        await call

    run(main())


def test_a_cancelled_task_leaves_its_call_cancelled_and_the_late_answer_is_harmless(rt, run):
    async def main():
        errors = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        begun, go, ended = threading.Event(), threading.Event(), threading.Event()

        def work():
            begun.set()
            go.wait(30)
            ended.set()

        calls = [rt.scheduler.run(work) for _ in range(10)]

        async def one(call):
            return await call

        tasks = [asyncio.create_task(one(call)) for call in calls]
        await asyncio.to_thread(begun.wait, 30)
        for task in tasks:
            task.cancel()
        # The functions still run, or have not begun.
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert all(call.cancelled() and call.done() for call in calls)
        go.set()
        await asyncio.to_thread(ended.wait, 30)
        await rt.ping()
        await asyncio.sleep(SLOW)
        assert errors == []

    run(main())


def test_a_cancelled_call_raises_cancelled_error_with_its_message(rt, run):
    async def main():
        call = slow(rt)
        assert call.cancel("enough")
        assert not call.cancel()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await call
        with pytest.raises(asyncio.CancelledError):
            call.result()
        with pytest.raises(asyncio.CancelledError):
            call.exception()
        gathered = asyncio.gather(slow(rt), slow(rt))
        await asyncio.sleep(0)
        gathered.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathered

    run(main())


def test_cancelling_races_with_completing(rt, run):
    async def main():
        outcomes = collections.Counter()
        for round_ in range(300):
            calls = [rt.ping() for _ in range(8)]
            tasks = [asyncio.ensure_future(asyncio.shield(call)) for call in calls]
            if round_ % 3:
                await asyncio.sleep(0)
            for call in calls:
                outcomes["cancelled" if call.cancel() else "done"] += 1
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for call, result in zip(calls, results, strict=True):
                assert call.cancelled() == isinstance(result, asyncio.CancelledError)
        assert sum(outcomes.values()) == 2400

    run(main())


def test_each_task_keeps_its_context_and_is_the_current_task(rt, run):
    variable = contextvars.ContextVar("variable")

    async def one(number):
        variable.set(number)
        task = asyncio.current_task()
        for _ in range(3):
            await rt.ping()
            assert variable.get() == number
            assert asyncio.current_task() is task
        return number

    async def main():
        numbers = list(range(200))
        assert await asyncio.gather(*map(one, numbers)) == numbers

    run(main())


def test_an_exception_in_one_task_does_not_touch_the_others(rt, run):
    async def boom():
        await rt.ping()
        raise ValueError("boom")

    async def fine():
        await rt.ping()
        return 1

    async def main():
        results = await asyncio.gather(boom(), fine(), boom(), fine(), return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, int, ValueError, int]

    run(main())


def test_callbacks_run_once_in_order_in_their_context_on_the_loop(rt, run):
    variable = contextvars.ContextVar("variable", default=0)

    async def main():
        for _ in range(3):
            seen = []
            call = slow(rt)
            context = contextvars.copy_context()
            context.run(variable.set, 7)
            thread = threading.get_ident()

            def first(call, seen=seen, thread=thread):
                assert threading.get_ident() == thread
                call.add_done_callback(lambda _: seen.append("nested"))
                seen.append("first")

            def removed(_, seen=seen):
                seen.append("removed")

            call.add_done_callback(first)
            call.add_done_callback(removed)
            call.add_done_callback(removed)
            call.add_done_callback(lambda _, seen=seen: seen.append(variable.get()), context=context)
            assert call.remove_done_callback(removed) == 2
            assert call.remove_done_callback(removed) == 0
            assert seen == []
            await call
            for _ in range(10_000):
                if len(seen) == 3:
                    break
                await asyncio.sleep(0.001)
            call.add_done_callback(lambda _, seen=seen: seen.append("late"))
            assert "late" not in seen
            await asyncio.sleep(0.01)
            assert seen == ["first", 7, "nested", "late"]

    run(main())


def test_calls_answered_early_are_resumed_in_the_order_of_asking_and_once(rt, run):
    async def main():
        calls = [rt.ping() for _ in range(3000)]
        # The loop stands still meanwhile, and does not hear of the answers.
        threading.Event().wait(0.2)
        assert all(call.done() for call in calls)
        seen = []
        for number, call in enumerate(calls):
            call.add_done_callback(lambda _, number=number: seen.append(number))
        assert seen == []
        for _ in range(10_000):
            if len(seen) == len(calls):
                break
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert seen == list(range(3000))

    run(main())


def test_calls_answered_early_leave_the_loop_room_for_its_own_work(rt, run):
    async def main():
        loop = asyncio.get_running_loop()
        order = []
        call = rt.ping()
        await call

        def again(_):
            order.append("call")
            if order.count("call") < 50:
                call.add_done_callback(again)

        def own():
            order.append("own")
            if order.count("own") < 50:
                loop.call_soon(own)

        call.add_done_callback(again)
        loop.call_soon(own)
        for _ in range(10_000):
            if order.count("own") == 50:
                break
            await asyncio.sleep(0)
        # Neither waits until the other has done.
        assert 10 < order.count("call") <= 50
        assert "own" in order[:5] and "call" in order[:5]

    run(main())


def test_a_callback_may_be_added_from_another_thread_when_the_call_is_done(rt, run):
    async def main():
        call = rt.ping()
        await call
        here, seen = threading.get_ident(), []
        add = threading.Thread(
            target=call.add_done_callback, args=[lambda _: seen.append(threading.get_ident())]
        )
        add.start()
        add.join()
        for _ in range(10_000):
            if seen:
                break
            await asyncio.sleep(0.001)
        assert seen == [here]

    run(main())


def test_many_requests_may_have_one_awaitable(run):
    async def main():
        # Nobody else's pings: a cancelled call's go on for a moment.
        async with ironcliw.Runtime(image_workers=1) as rt:
            assert await rt.ping() == 1
            assert await rt.ping_many(5000) == list(range(2, 5002))
            assert await rt.ping_many(0) == []
            for wrong in (-1, 1 << 40):
                with pytest.raises(ironcliw.InvalidInput):
                    rt.ping_many(wrong)
            call = rt.ping_many(1_000_000)
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await rt.ping() < 5002 + 1_000_000

    run(main())


def test_spinning_can_be_turned_off(run):
    async def main():
        async with ironcliw.Runtime(spin=0) as rt:
            assert await rt.ping() == 1
            assert [await rt.ping() for _ in range(50)] == list(range(2, 52))

    run(main())
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ironcliw.InvalidInput):
            ironcliw.Runtime(spin=wrong)
    ironcliw.Runtime().close().result()  # allows it again


def test_a_callback_that_raises_is_the_loops_to_report(rt, run):
    async def main():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        call = slow(rt)
        call.add_done_callback(lambda _: 1 / 0)
        after = []
        call.add_done_callback(after.append)
        await call
        await asyncio.sleep(0)
        assert isinstance(reported[0]["exception"], ZeroDivisionError)
        assert after == [call]

    run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_resumed_task_ends_the_run_and_loses_no_other_task(rt, run, kind):
    async def stop(call):
        await call
        raise kind

    async def go_on(call):
        await call
        return 1

    for name in LOOPS:
        loop = new_loop(name)

        async def main():
            # One call that all wait for: they are resumed by one drain.
            call = slow(rt)
            tasks = [asyncio.ensure_future(go_on(call)) for _ in range(3)]
            tasks.append(asyncio.ensure_future(stop(call)))
            tasks += [asyncio.ensure_future(go_on(call)) for _ in range(3)]
            tasks += [asyncio.ensure_future(go_on(rt.ping())) for _ in range(3)]
            main.tasks = tasks
            await asyncio.sleep(60)

        with pytest.raises(kind):
            loop.run_until_complete(main())
        others = [task for index, task in enumerate(main.tasks) if index != 3]
        assert loop.run_until_complete(asyncio.wait_for(asyncio.gather(*others), 10)) == [1] * 9
        with pytest.raises(kind):
            main.tasks[3].result()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


def test_more_completions_than_one_batch_all_arrive(rt, run):
    async def one():
        await rt.ping()
        return 1

    async def main():
        assert sum(await asyncio.gather(*[one() for _ in range(5000)])) == 5000

    run(main())


def test_a_burst_of_completions_leaves_the_loop_room_for_its_own_work(rt, run):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())

        async def client():
            for _ in range(1000):
                await rt.ping()

        # A drain goes on for a millisecond at most, and answers are taken in place for less.
        await asyncio.gather(*[client() for _ in range(64)])
        ticker.cancel()
        assert ticks > 20

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with CPython 3.12")
def test_eager_tasks_take_calls(rt, run):
    async def main():
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):
            # uvloop hands the factory an option that CPython 3.13's does not know.
            pytest.skip("eager tasks are asyncio's own loops'")
        loop.set_task_factory(asyncio.eager_task_factory)

        async def one():
            return await rt.ping()

        await asyncio.gather(*[one() for _ in range(64)])
        await asyncio.create_task(rt.ping())

    run(main())


def test_debug_mode_takes_calls(rt, run):
    async def main():
        await asyncio.gather(rt.ping(), slow(rt), asyncio.create_task(rt.ping()))

    run(main(), debug=True)


def test_a_user_exception_passes_through_unchanged_and_does_not_grow(rt, run):
    async def main():
        call = fail(rt)
        with pytest.raises(LookupError, match="mine") as first:
            await call
        depth = len(first.traceback)
        for _ in range(5):
            with pytest.raises(LookupError) as again:
                call.result()
            assert again.value is first.value is call.exception()
            assert len(again.traceback) <= depth

    run(main())


def test_a_stop_iteration_is_an_error_and_not_a_result(rt, run):
    def stop():
        raise StopIteration(5)

    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await rt.scheduler.run(stop)

    run(main())


@pytest.mark.parametrize("value", [(), (1, 2), ValueError("a value"), None, {"a": [1]}])
def test_every_value_comes_back_as_it_is(rt, run, value):
    async def main():
        assert await rt.scheduler.run(lambda: value) is value

    run(main())


def test_a_call_may_stand_in_annotations():
    assert ironcliw.Call[int].__args__ == (int,)


def test_throw_and_close_follow_the_coroutine_protocol(rt):
    call = rt.ping()
    with pytest.raises(KeyError):
        call.throw(KeyError("thrown"))
    with pytest.raises(KeyError):
        call.throw(KeyError)
    with pytest.raises(TypeError):
        call.throw(3)
    call.close()
    call.result(timeout=10)
    with pytest.raises(StopIteration):
        call.send(None)


# Which loop


def test_a_call_belongs_to_the_loop_that_runs_when_it_is_made(rt):
    async def make():
        call = slow(rt)
        assert call.get_loop() is asyncio.get_running_loop()
        return call

    loop = asyncio.new_event_loop()
    call = loop.run_until_complete(make())

    async def elsewhere():
        await call

    with pytest.raises(RuntimeError, match="different loop"):
        asyncio.run(elsewhere())
    loop.run_until_complete(call)
    loop.close()


def test_a_call_made_outside_belongs_to_the_first_loop_that_awaits_it(rt, run):
    call = slow(rt)
    with pytest.raises(RuntimeError, match="no event loop"):
        call.get_loop()

    async def main():
        await call
        assert call.get_loop() is asyncio.get_running_loop()

    run(main())


def test_many_loops_in_many_threads_get_their_own_answers(rt):
    def one(kind):
        async def main():
            async def client():
                for _ in range(20):
                    await rt.ping()
                return 20

            return sum(await asyncio.gather(*[client() for _ in range(32)]))

        loop = new_loop(kind)
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, LOOPS * 2)) == [640] * len(LOOPS) * 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_two_hundred_runs_in_a_row_leave_no_descriptor_open(rt):
    async def main():
        await asyncio.gather(rt.ping(), rt.ping())

    asyncio.run(main())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        asyncio.run(main())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_and_its_threads_are_freed_when_it_ends(rt, kind):
    def threads():
        # Native ones, which `threading` does not know.
        return len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0

    rt.ping().result(timeout=30)
    gc.collect()
    before = threads()

    async def main():
        await slow(rt, 0.001)
        return weakref.ref(asyncio.get_running_loop())

    loops = []
    for closes in (True, False):
        loop = new_loop(kind)
        call = loop.run_until_complete(main())
        loops.append(call)
        if closes or kind == "uvloop":
            loop.close()
        elif kind != "uvloop":
            # Closed by nobody: the selector and the self-pipe are asyncio's to close.
            loop.close = None
            with contextlib.suppress(AttributeError):
                loop._close_self_pipe()
            loop._selector.close()
            loop.is_closed = lambda: True
        del loop
    gc.collect()
    assert [found() for found in loops] == [None, None]
    patience = time.monotonic() + 10
    while threads() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert threads() <= before


def test_a_result_is_readable_after_its_loop_has_closed(rt, run):
    async def main():
        calls = [slow(rt) for _ in range(20)]
        tasks = [asyncio.ensure_future(asyncio.shield(call)) for call in calls]
        await asyncio.sleep(0)
        main.tasks = tasks
        return calls

    calls = run(main())
    for call in calls:
        assert call.cancelled() or call.result(timeout=30) is None or call.done()


def test_calls_in_flight_at_a_loops_end_are_dropped_quietly(rt):
    unraisable = []
    sys.unraisablehook, hook = unraisable.append, sys.unraisablehook
    try:
        for kind in LOOPS:
            loop = new_loop(kind)

            async def main():
                main.call = slow(rt)
                main.call.add_done_callback(lambda _: None)
                for _ in range(20):
                    slow(rt, 0.005).add_done_callback(lambda _: None)

            loop.run_until_complete(main())
            loop.close()
            assert main.call.result(timeout=30) is not ...
        gc.collect()
        rt.ping().result(timeout=30)
    finally:
        sys.unraisablehook = hook
    assert unraisable == []


# Without a loop


def test_result_waits_without_any_loop(rt):
    call = rt.ping()
    assert call.result() == call.result(timeout=1)
    assert "done" in repr(call)


def test_result_gives_up_after_its_timeout_and_the_call_goes_on(rt):
    go = threading.Event()
    call = rt.scheduler.run(go.wait, 30)
    assert "pending" in repr(call)
    started = time.perf_counter()
    with pytest.raises(ironcliw.DeadlineExceeded) as raised:
        call.result(timeout=0.02)
    assert time.perf_counter() - started > 0.01
    assert isinstance(raised.value, TimeoutError)
    for timeout in (0, -1):
        with pytest.raises(ironcliw.DeadlineExceeded):
            call.result(timeout=timeout)
    with pytest.raises(ValueError):
        call.result(timeout=float("nan"))
    with pytest.raises(asyncio.InvalidStateError):
        call.exception()
    assert not call.done()
    go.set()
    assert call.result(timeout=float("inf")) is True


def test_result_on_its_own_running_loop_raises_instead_of_deadlocking(rt, run):
    async def main():
        call = slow(rt)
        with pytest.raises(asyncio.InvalidStateError):
            call.result()
        with pytest.raises(asyncio.InvalidStateError):
            call.result(timeout=0)
        await asyncio.to_thread(call.result, 10)
        await call
        call.result()

    run(main())


def test_result_releases_the_gil_and_many_threads_may_wait(rt):
    go = threading.Event()
    call = rt.scheduler.run(go.wait, 30)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(call.result, 30) for _ in range(8)]
        time.sleep(0.02)
        assert not any(each.done() for each in waiting)
        go.set()
        assert [each.result(30) for each in waiting] == [True] * 8


def test_cancelling_wakes_a_thread_that_waits(rt):
    go = threading.Event()
    call = rt.scheduler.run(go.wait, 30)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call.result)
        time.sleep(0.02)
        assert call.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            waiting.result(20)
    go.set()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_a_wait_in_result():
    code = """
        import threading, ironcliw
        rt, go = ironcliw.Runtime(), threading.Event()
        call = rt.scheduler.run(go.wait)
        try:
            print("ready", flush=True)
            call.result()
        except KeyboardInterrupt:
            assert not call.done()
            print("interrupted", flush=True)
        go.set()
    """
    status, out, err = in_subprocess(code, interrupt_after=0.2)
    assert (status, out.strip()) == (0, "interrupted"), err


# Nobody waits


def test_calls_that_nobody_awaits_are_silent_and_freed(rt, run):
    resource = pytest.importorskip("resource")
    scale = 1024 if sys.platform == "darwin" else 1

    def peak_kib():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // scale

    async def main():
        problems = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        for _ in range(25_000):
            rt.ping()
        await rt.ping()
        before = peak_kib()
        for _ in range(6):
            for _ in range(25_000):
                rt.ping()
            await rt.ping()
        assert peak_kib() - before < 60_000
        fail(rt)
        await asyncio.sleep(0.02)
        gc.collect()
        assert problems == []

    run(main())


def test_a_dropped_call_is_freed_at_once(rt):
    call = slow(rt)
    alive = weakref.ref(call)
    del call
    assert alive() is None


@pytest.mark.parametrize("hashed", [False, True])
def test_a_call_in_a_cycle_is_freed_by_the_collector(rt, hashed):
    box = []
    call = rt.scheduler.run(lambda held=box: held)
    box.append(call)
    if hashed:
        assert call in {call}
    assert call.result(timeout=10) is box
    alive = weakref.ref(call)
    del call, box
    rt.ping().result(timeout=10)
    gc.collect()
    assert alive() is None

    async def main():
        call = slow(rt)
        call.add_done_callback(lambda _, call=call: None)
        call.cancel()
        return weakref.ref(call)

    alive = asyncio.run(main())
    gc.collect()
    assert alive() is None


def test_hashing_a_call_changes_nothing_but_that_it_is_a_coroutine(rt, run):
    async def main():
        call = slow(rt)
        assert asyncio.iscoroutine(call)
        assert {call: 1}[call] == 1
        assert hash(call) == hash(call)
        assert isinstance(call, ironcliw.Call)
        assert asyncio.isfuture(call)
        assert not asyncio.iscoroutine(call)
        await call

    run(main())


def test_a_task_that_waits_survives_the_collector(rt, run):
    async def main():
        finished = []

        async def forgotten():
            await slow(rt)
            finished.append(1)

        asyncio.create_task(forgotten())  # noqa: RUF006
        await asyncio.sleep(SLOW / 10)
        gc.collect()
        async with asyncio.timeout(30):
            while not finished:  # noqa: ASYNC110 an event would hold the task
                await asyncio.sleep(0.005)

    run(main())


# The process ends


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("how", ["exit", "closed loop", "abandoned loop", "thread"])
def test_exit_with_calls_in_flight_neither_crashes_nor_hangs(kind, how):
    code = f"""
        import asyncio, sys, threading, time
        sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
        import ironcliw
        from test_bridge import new_loop
        rt = ironcliw.Runtime()
        how = {how!r}

        async def one():
            await rt.scheduler.run(time.sleep, 0.03)

        async def main():
            tasks = [asyncio.ensure_future(one()) for _ in range(20)]
            [rt.ping() for _ in range(100)]
            await asyncio.sleep(0.01)
            if how == "exit":
                print("end", flush=True)
                sys.exit(0)
            return tasks

        def run():
            loop = new_loop({kind!r})
            tasks = loop.run_until_complete(main())
            if how != "abandoned loop":
                loop.close()
            return loop, tasks

        if how == "thread":
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        else:
            kept = run()
        print("end", flush=True)
    """
    status, out, err = in_subprocess(code)
    assert (status, out) == (0, "end\n"), err
    assert "panicked" not in err
    assert "Fatal" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("kind", LOOPS)
def test_ctrl_c_ends_a_program_that_awaits(kind):
    code = f"""
        import asyncio, sys, time
        sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
        import ironcliw
        from test_bridge import new_loop
        rt = ironcliw.Runtime()

        async def main():
            print("ready", flush=True)
            async def client():
                while True:
                    await rt.ping()
            await asyncio.gather(*[client() for _ in range(16)])

        try:
            with asyncio.Runner(loop_factory=lambda: new_loop({kind!r})) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    status, out, err = in_subprocess(code, interrupt_after=0.3)
    assert (status, out.strip()) == (0, "interrupted"), err


# Errors


def test_the_exceptions_are_one_family_with_pythons_own_beside_it():
    from ironcliw import errors

    beside = {
        "MailboxFull": None,
        "DeadlineExceeded": TimeoutError,
        "ActorPanicked": None,
        "ActorStopped": None,
        "ActorRestarting": None,
        "PoolExhausted": MemoryError,
        "BufferReleased": ValueError,
        "InvalidInput": ValueError,
        "ModelError": ValueError,
        "DecodeError": ValueError,
        "ForeignBuffer": ValueError,
        "LeakError": AssertionError,
        "OutOfBounds": IndexError,
        "RuntimeClosed": None,
        "StartFailed": None,
    }
    assert set(errors.__all__) == {*beside, "Error"}
    for name, base in beside.items():
        member = getattr(errors, name)
        assert issubclass(member, errors.Error)
        assert member.__doc__
        assert base is None or issubclass(member, base)
        assert getattr(ironcliw, name) is member
