"""The runtime, and the awaitable that every call returns."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import ironcliw
import numpy as np
import pytest
from conftest import eventually
from ironcliw import testing, types


def test_ping_is_answered_by_an_actor(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        first = await rt.ping()
        assert isinstance(first, int)
        assert await rt.ping() == first + 1
        assert sorted(await asyncio.gather(*[rt.ping() for _ in range(1000)]))[-1] == first + 1001

    asyncio.run(main())


# Life and death


def test_both_kinds_of_context_close_it() -> None:
    async def main() -> ironcliw.Runtime:
        async with ironcliw.Runtime() as rt:
            await rt.ping()
            assert not rt.closed and rt.status() == "running"
        return rt

    with ironcliw.Runtime() as rt:
        rt.ping().result(timeout=10)
    for runtime in (rt, asyncio.run(main())):
        assert runtime.closed and runtime.status() == "closed" and "closed" in repr(runtime)


def test_an_error_in_the_context_passes_through() -> None:
    async def main() -> None:
        async with ironcliw.Runtime():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(main())


def test_closing_again_is_harmless() -> None:
    async def main() -> None:
        rt = ironcliw.Runtime()
        await rt.close()
        await rt.close(timeout=1.0)
        await asyncio.gather(rt.close(), rt.close())
        assert rt.closed
        assert rt.snapshot()["status"] == "closed"

    asyncio.run(main())


def test_every_call_after_close_says_so(photo: np.ndarray) -> None:
    rt = ironcliw.Runtime()
    model = rt.inference.load(ironcliw.Model().linear(np.eye(4, dtype=np.float32))).result(timeout=10)
    rt.close().result(timeout=15)
    for call in (
        lambda: rt.ping(),
        lambda: rt.pool.allocate(10),
        lambda: rt.pool.try_allocate(10),
        lambda: rt.pool.trim(),
        lambda: rt.leaks.check(),
        lambda: rt.images.resize(photo, (5, 5)),
        lambda: rt.images.decode(b"x"),
        lambda: rt.inference.load(ironcliw.Model().linear(np.eye(4, dtype=np.float32))),
        lambda: model(np.zeros(4, np.float32)),
        lambda: rt.scheduler.run(int),
        lambda: testing.crash(rt, "images/0"),
    ):
        with pytest.raises(ironcliw.RuntimeClosed):
            call()


def test_results_outlive_their_runtime(photo: np.ndarray) -> None:
    with ironcliw.Runtime() as rt:
        small = rt.images.resize(photo, (16, 12)).result(timeout=10)
        expected = small.copy()
        buffer = rt.pool.try_allocate(100)
    del rt
    assert (small == expected).all()
    np.asarray(buffer)[:] = 3
    assert (np.asarray(buffer) == 3).all()
    buffer.release()


def test_calls_in_flight_end_when_it_closes(photo: np.ndarray) -> None:
    rt = ironcliw.Runtime(image_workers=1)
    calls = [rt.images.denoise(photo, 0.5) for _ in range(100)]
    rt.close().result(timeout=15)
    outcomes = []
    for call in calls:
        try:
            outcomes.append(call.result(timeout=10).shape)
        except (ironcliw.ActorStopped, ironcliw.RuntimeClosed) as error:
            outcomes.append(type(error))
    assert len(outcomes) == 100


def test_two_runtimes_live_side_by_side() -> None:
    with ironcliw.Runtime() as one, ironcliw.Runtime() as two:
        assert one.ping().result(timeout=10) == two.ping().result(timeout=10)


# The awaitable


def test_it_is_a_future_to_asyncio(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        call = rt.ping()
        assert asyncio.isfuture(call) and call.get_loop() is asyncio.get_running_loop()
        assert await asyncio.wait_for(call, 10) > 0
        assert await asyncio.shield(rt.ping()) > 0
        done, pending = await asyncio.wait([rt.ping(), rt.ping()], timeout=10)
        assert len(done) == 2 and not pending
        assert {await finished for finished in asyncio.as_completed([rt.ping(), rt.ping()])}
        async with asyncio.timeout(10):
            await rt.ping()
        assert call.done() and not call.cancelled() and call.exception() is None
        assert call.result() == await call == await call
        assert "Call" in repr(call)

    asyncio.run(main())


def test_callbacks_run_on_the_loop_in_their_context(rt: ironcliw.Runtime) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        seen: list[object] = []
        loop_thread = threading.get_ident()
        go = threading.Event()
        call = rt.scheduler.run(go.wait)

        def note(finished: object) -> None:
            seen.append((finished is call, threading.get_ident() == loop_thread, variable.get()))

        def removed(_: object) -> None:
            seen.append("removed")

        context = contextvars.copy_context()
        context.run(variable.set, "mine")
        call.add_done_callback(removed)
        call.add_done_callback(note, context=context)
        call.add_done_callback(removed)
        assert call.remove_done_callback(removed) == 2
        go.set()
        await call
        await asyncio.sleep(0.01)
        call.add_done_callback(note)
        await asyncio.sleep(0.01)
        assert seen == [(True, True, "mine"), (True, True, "unset")]

    asyncio.run(main())


def test_result_blocks_only_where_it_can_end(rt: ironcliw.Runtime) -> None:
    go = threading.Event()

    async def main() -> None:
        call = rt.scheduler.run(go.wait, 10)
        with pytest.raises(asyncio.InvalidStateError):
            call.result()
        with pytest.raises(asyncio.InvalidStateError):
            call.result(timeout=1)
        with pytest.raises(asyncio.InvalidStateError):
            call.exception()
        from_thread = asyncio.to_thread(call.result, 10)
        asyncio.get_running_loop().call_later(0.02, go.set)
        assert await from_thread is True
        assert call.result() is True

    asyncio.run(main())


def test_result_gives_up_after_its_timeout_and_the_work_goes_on(rt: ironcliw.Runtime) -> None:
    go = threading.Event()
    call = rt.scheduler.run(go.wait, 60)
    with pytest.raises(TimeoutError):
        call.result(timeout=0.05)
    assert not call.done()
    go.set()
    assert call.result(timeout=10) is True


def test_a_call_made_outside_of_a_loop_belongs_to_the_first_that_awaits_it(rt: ironcliw.Runtime) -> None:
    go = threading.Event()
    call = rt.scheduler.run(go.wait, 10)

    async def main() -> bool:
        asyncio.get_running_loop().call_later(0.02, go.set)
        return await call

    assert asyncio.run(main()) is True


def test_cancelling_ends_the_wait_at_once(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        go = threading.Event()
        call = rt.scheduler.run(go.wait, 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.05)
        assert call.cancelled() and call.done() and not call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        task = asyncio.ensure_future(asyncio.gather(rt.scheduler.run(go.wait, 10)))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()
        assert await rt.ping() > 0

    asyncio.run(main())


def test_a_result_that_comes_after_its_loop_closed_is_dropped(
    rt: ironcliw.Runtime, photo: np.ndarray
) -> None:
    async def main() -> None:
        for _ in range(50):
            rt.images.denoise(photo, 0.5)
        await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(main())
    assert rt.ping().result(timeout=10) > 0


def test_a_deadline_that_passes_raises(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        calls = [rt.images.denoise(photo, 0.5, timeout=1e-6) for _ in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        late = [outcome for outcome in outcomes if isinstance(outcome, ironcliw.DeadlineExceeded)]
        assert late and all(isinstance(error, TimeoutError) for error in late)

    asyncio.run(main())


def test_many_threads_may_wait(rt: ironcliw.Runtime) -> None:
    answers: list[int] = []

    def ask() -> None:
        for _ in range(100):
            answers.append(rt.ping().result(timeout=10))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 800


def test_uvloop_works_too(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        assert len(set(await asyncio.gather(*[rt.ping() for _ in range(200)]))) == 200
        assert (await rt.images.resize(photo, (8, 8))).shape == (8, 8, 3)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# Supervision


def test_a_crash_costs_one_message(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        work = [rt.images.resize(photo, (16, 16)) for _ in range(50)]
        crash = testing.crash(rt, "images/0")
        work += [rt.images.resize(photo, (16, 16)) for _ in range(50)]
        with pytest.raises(ironcliw.ActorPanicked):
            await crash
        results = await asyncio.gather(*work, return_exceptions=True)
        lost = [result for result in results if isinstance(result, BaseException)]
        # The one that was in hand, if there was one; the queued ones are kept.
        assert len(lost) <= 1 and all(isinstance(error, ironcliw.ActorPanicked) for error in lost)
        assert all(image.shape == (16, 16, 3) for image in results if not isinstance(image, BaseException))

    before = rt.snapshot()["restarts"]
    asyncio.run(main())
    assert eventually(lambda: rt.snapshot()["restarts"] == before + 1)
    assert eventually(lambda: rt.status() == "running")


@pytest.mark.parametrize("path", ["memory/pool", "memory/leak", "images/0", "scheduler"])
def test_each_subsystem_survives_its_crash(rt: ironcliw.Runtime, photo: np.ndarray, path: str) -> None:
    buffer = rt.pool.try_allocate(1000)
    np.asarray(buffer)[:] = 9
    with pytest.raises(ironcliw.ActorPanicked):
        testing.crash(rt, path).result(timeout=10)
    assert rt.pool.allocate(100).result(timeout=10).nbytes == 100
    assert rt.images.resize(photo, (8, 8)).result(timeout=10).shape == (8, 8, 3)
    assert rt.leaks.check().result(timeout=10) == []
    assert rt.scheduler.run(abs, -1).result(timeout=10) == 1
    assert (np.asarray(buffer) == 9).all()
    assert eventually(lambda: rt.status() == "running")
    assert any(actor["path"] == path and actor["restarts"] == 1 for actor in rt.snapshot()["actors"])


def test_there_is_nothing_to_crash_at_an_unknown_path(rt: ironcliw.Runtime) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        testing.crash(rt, "images/99").result(timeout=10)


def test_the_snapshot_shows_the_tree(rt: ironcliw.Runtime) -> None:
    rt.ping().result(timeout=10)
    snapshot = rt.snapshot()
    paths = [actor["path"] for actor in snapshot["actors"]]
    assert {"memory/pool", "memory/leak", "images/0", "images/1"} <= set(paths)
    assert len(paths) == len(set(paths))
    assert all(0 <= actor["queued"] <= actor["capacity"] for actor in snapshot["actors"])
    assert snapshot["status"] == "running" and snapshot["uptime"] > 0 and snapshot["dead_letters"] == 0
    assert snapshot["cpu"]["allowed_cores"] >= 1 and snapshot["threads"]
    assert snapshot["pool"].keys() == rt.pool.stats().keys()
    assert snapshot["scheduler"].keys() == rt.scheduler.stats().keys()


def test_the_snapshot_has_the_keys_that_its_types_name(rt: ironcliw.Runtime) -> None:
    snapshot = rt.snapshot()
    assert snapshot.keys() == types.Snapshot.__annotations__.keys()
    for actor in snapshot["actors"]:
        assert actor.keys() == types.ActorSnapshot.__annotations__.keys(), actor["path"]
        assert actor["stuck"] == 0
    for thread in snapshot["threads"]:
        assert thread.keys() == types.ThreadSnapshot.__annotations__.keys()
    assert (snapshot["lost_threads"], snapshot["deadlocks_seen"]) == (0, 0)


def test_the_snapshot_costs_no_message(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    # A message would wait behind work that lasts until it is cancelled.
    pipeline = ironcliw.Pipeline().resize((8, 8))
    busy = [rt.images.run(pipeline, [photo] * 200_000) for _ in range(4)]
    for _ in range(100):
        rt.snapshot()
    assert not any(call.done() for call in busy)
    assert all(call.cancel() for call in busy)
    for call in busy:
        call.released().result(timeout=60)


def test_heavy_work_leaves_the_loop_free(rt: ironcliw.Runtime) -> None:
    big = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), dtype=np.uint8)

    async def main() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.001)
                beats += 1

        beating = asyncio.create_task(beat())
        await asyncio.gather(*[rt.images.texture(big) for _ in range(20)])
        beating.cancel()
        # A loop that was blocked would come to one, on a machine of any speed.
        assert beats >= 3

    asyncio.run(main())
