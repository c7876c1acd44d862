"""Actors written in Python: one message at a time, supervised by the runtime, on the loop that spawned
them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import eventually
from ironcliw import testing

NONE = (0.0, 0.0)
"""No backoff."""


class Counter(ironcliw.Actor):
    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.total = start
        self.step = step

    async def on_message(self, message: Any) -> Any:
        match message:
            case int():
                self.total += message * self.step
                return self.total
            case BaseException():
                raise message
            case float():
                await asyncio.sleep(message)
                return self.total
            case "stop":
                self.context.stop()
                return self.total
            case _:
                return await message(self) if asyncio.iscoroutinefunction(message) else message(self)


def run(main: Callable[[ironcliw.Runtime], Awaitable[None]], **options: Any) -> None:
    """In a runtime of its own, with what the test must not leave behind checked at the end."""

    async def whole() -> None:
        async with ironcliw.Runtime(image_workers=1, **options) as rt:
            await asyncio.wait_for(main(rt), 30)
        testing.assert_clean(rt)

    asyncio.run(whole())


# Messages


def test_an_ask_is_answered_and_messages_come_one_at_a_time_in_order() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, 5, name="counter", kwargs={"step": 2})
        assert (ref.path, ref.name, ref.is_alive) == ("user/counter", "counter", True)
        assert await ref.ask(1) == 7
        answers = await asyncio.gather(*[ref.ask(m) for m in (0.01, 1, 0.005, 1, 1)])
        assert answers == [7, 9, 9, 11, 13]

    run(main)


def test_sync_and_async_handlers_and_whatever_else_is_awaitable() -> None:
    class Sync(ironcliw.Actor):
        def on_message(self, message: Any) -> Any:
            return message(self)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Sync)
        future = asyncio.get_running_loop().create_future()
        future.set_result("a future's")
        assert await ref.ask(lambda _: 3) == 3
        assert await ref.ask(lambda _: None) is None
        assert await ref.ask(lambda _: future) == "a future's"
        assert isinstance(await ref.ask(lambda _: rt.ping()), int)
        assert await ref.ask(lambda _: asyncio.sleep(0.001, "slept")) == "slept"
        lock = threading.Lock()  # not picklable, which does not matter
        assert await ref.ask(lambda _: lock) is lock

    run(main)


def test_an_ask_is_a_call_and_takes_part_in_everything_asyncio_has() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        call = ref.ask(1)
        assert isinstance(call, ironcliw.Call)
        assert await asyncio.wait_for(call, 5) == 1
        done, _ = await asyncio.wait([ref.ask(1), ref.ask(1)])
        assert sorted(call.result() for call in done) == [2, 3]
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ref.ask(1))
        assert task.result() == 4

    run(main)


def test_a_tell_is_on_its_way_at_once_and_need_not_be_awaited() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        ref.tell(1)
        await ref.tell(2)
        assert await ref.ask(0) == 3

    run(main)


def test_a_hundred_thousand_tells_are_all_handled_in_order() -> None:
    heard: list[int] = []

    class Listener(ironcliw.Actor):
        def on_message(self, message: int) -> int:
            heard.append(message)
            return len(heard)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Listener)
        for number in range(100_000):
            ref.tell(number)
        assert await ref.ask(100_000) == 100_001
        assert heard == list(range(100_001))

    run(main)


def test_many_are_asked_and_told_with_one_await() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, backoff=NONE)
        assert await ref.ask_many(range(1, 5)) == [1, 3, 6, 10]
        assert await ref.ask_many([]) == []
        assert await ref.tell_many([1] * 1000) == 1000
        assert await ref.ask(0) == 1010

    run(main)


def test_the_first_failure_of_many_is_the_calls_and_what_has_not_begun_is_skipped() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked) as caught:
            await ref.ask_many([1, ValueError("third"), 1, 1])
        assert isinstance(caught.value.__cause__, ValueError)
        assert await ref.ask(0) == 0
        assert ref.status()["skipped"] == 2

        answers = await ref.ask_many([1, ValueError("third"), 1, 1], return_exceptions=True)
        assert answers[0] == 1 and answers[2:] == [1, 2]
        assert isinstance(answers[1], ironcliw.ActorPanicked)
        with pytest.raises(ironcliw.DeadlineExceeded):
            await ref.ask_many([0.2, 1, 1], timeout=0.02)

    run(main)


def test_the_senders_context_variables_are_the_handlers() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    class Reader(ironcliw.Actor):
        def on_message(self, message: Any) -> str:
            return variable.get()

    class SlowReader(ironcliw.Actor):
        async def on_message(self, message: Any) -> str:
            await asyncio.sleep(0)
            seen = variable.get()
            variable.set("the handler's own")
            return seen

    async def main(rt: ironcliw.Runtime) -> None:
        for kind in (Reader, SlowReader):
            ref = await rt.spawn(kind)

            async def ask(value: str, ref: ironcliw.ActorRef = ref) -> str:
                variable.set(value)
                return await ref.ask("read")

            assert await asyncio.gather(*[ask(str(n)) for n in range(10)]) == [str(n) for n in range(10)]
            assert await ref.ask_many([0, 1]) == ["none", "none"]

    run(main)


# Failures


def test_an_exception_is_a_crash_that_costs_its_asker_only() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, name="counter", backoff=NONE)
        calls = [ref.ask(m) for m in (1, 1, ValueError("boom"), 1, 1)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        error = answers[2]
        assert answers == [1, 2, error, 1, 2]
        assert (
            isinstance(error, ironcliw.ActorPanicked)
            and str(error) == "user/counter crashed: ValueError: boom"
        )
        cause = error.__cause__
        assert isinstance(cause, ValueError)
        assert "on_message" in "".join(traceback.format_exception(cause))

        status = ref.status()
        assert (status["restarts"], status["failures"], status["state"]) == (1, 1, "running")
        event = next(
            e for e in rt.snapshot()["events"] if e["path"] == "user/counter" and e["event"] == "exited"
        )
        assert event["failure"] and "Traceback" in event["reason"] and "raise message" in event["reason"]

    run(main)


def test_a_restart_makes_a_new_instance_with_the_same_arguments_which_is_told_why() -> None:
    history: list[Any] = []

    class Historian(ironcliw.Actor):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            history.append(("init", args, kwargs, self.context.restarts))

        async def on_restart(self, reason: BaseException | None) -> None:
            await asyncio.sleep(0)
            history.append(("restart", repr(reason)))

        def on_start(self) -> None:
            history.append("start")

        async def on_message(self, message: BaseException) -> None:
            raise message

        async def on_stop(self) -> None:
            history.append("stop")

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Historian, 1, kwargs={"two": 2}, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked):
            await ref.ask(KeyError("gone"))
        assert await asyncio.to_thread(eventually, lambda: ref.status()["state"] == "running")
        await ref.stop()

    run(main)
    assert history == [
        ("init", (1,), {"two": 2}, 0),
        "start",
        ("init", (1,), {"two": 2}, 1),
        ("restart", "KeyError('gone')"),
        "start",
        "stop",
    ]


@pytest.mark.parametrize(
    ("restart", "after_stop", "after_crash"),
    [
        ("permanent", True, True),
        ("transient", False, True),
        ("temporary", False, False),
    ],
)
def test_the_restart_policy_decides(restart: Any, after_stop: bool, after_crash: bool) -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, restart=restart, backoff=NONE)
        assert await ref.ask("stop") == 0
        if after_stop:
            assert await ref.ask(1) == 1
        else:
            assert await ref.stopped() == "normal"
            with pytest.raises(ironcliw.ActorStopped):
                await ref.ask(1)
        ref = await rt.spawn(Counter, restart=restart, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked):
            await testing.crash(ref)
        if after_crash:
            assert await ref.ask(1) == 1
        else:
            assert "a crash was asked for" in await ref.stopped()
            assert ref.status()["state"] == "stopped" and not ref.is_alive

    run(main)


@pytest.mark.parametrize("where", ["__init__", "on_start", "on_start async"])
def test_a_start_that_fails_is_the_spawners(where: str) -> None:
    class Broken(ironcliw.Actor):
        def __init__(self) -> None:
            if where == "__init__":
                raise OSError("no camera")

        if where == "on_start":

            def on_start(self) -> None:
                raise OSError("no camera")

        elif where == "on_start async":

            async def on_start(self) -> None:
                await asyncio.sleep(0.001)
                raise OSError("no camera")

    async def main(rt: ironcliw.Runtime) -> None:
        with pytest.raises(
            ironcliw.StartFailed, match="user/broken did not start: OSError: no camera"
        ) as caught:
            await rt.spawn(Broken, name="broken")
        assert isinstance(caught.value.__cause__, OSError)
        assert isinstance(caught.value, ironcliw.Error)
        await rt.spawn(Counter, name="broken")

    run(main)


def test_a_handler_that_is_cancelled_by_others_has_crashed() -> None:
    async def cancel_yourself(actor: Counter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked) as caught:
            await ref.ask(cancel_yourself)
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert await ref.ask(1) == 1

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt("mine"), SystemExit(7)])
@pytest.mark.parametrize("suspends", [False, True])
def test_what_ends_a_program_ends_the_loops_run_as_well(error: BaseException, suspends: bool) -> None:
    async def leave(actor: Counter) -> None:
        if suspends:
            await asyncio.sleep(0.001)
        raise error

    async def main() -> None:
        global calls
        ref = await rt.spawn(Counter)
        calls = [ref.ask(leave), ref.ask(1)]
        await asyncio.sleep(5)

    with ironcliw.Runtime(image_workers=1) as rt:
        with pytest.raises(type(error)):
            asyncio.run(main())
        with pytest.raises(ironcliw.Error):
            calls[0].result(timeout=5)
        with pytest.raises(ironcliw.ActorStopped, match="event loop is closed"):
            calls[1].result(timeout=5)


# Time


def test_the_deadline_of_an_ask_cancels_its_handler_and_skips_what_waits() -> None:
    ended: list[str] = []

    async def slow(actor: Counter) -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        with pytest.raises(ironcliw.DeadlineExceeded):
            await asyncio.gather(ref.ask(slow, timeout=0.03), ref.ask(1, timeout=0.02))
        assert await ref.ask(0) == 0
        assert ended == ["cancelled"]
        status = ref.status()
        assert (status["failures"], status["skipped"]) == (0, 1)

    run(main)


def test_cancelling_an_ask_cancels_its_handler() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ref.ask(100.0), 0.02)
        assert await ref.ask(1) == 1
        assert time.monotonic() - began < 50
        assert ref.status()["failures"] == 0

    run(main)


def test_an_ask_that_is_merely_dropped_lets_its_handler_end() -> None:
    ended = threading.Event()

    async def slow(actor: Counter) -> None:
        await asyncio.sleep(0.02)
        ended.set()

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        call = ref.ask(slow)
        while ref.status()["queued"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.005)
        del call
        await ref.ask(0)
        assert ended.is_set()

    run(main)


def test_an_actor_that_asks_itself_waits_until_its_deadline() -> None:
    async def ask_yourself(actor: Counter) -> Any:
        return await actor.context.ref.ask(1, timeout=0.02)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked) as caught:
            await ref.ask(ask_yourself)
        assert isinstance(caught.value.__cause__, ironcliw.DeadlineExceeded)

    run(main)


def test_a_handler_that_holds_the_loop_is_reported_as_stuck() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, name="counter", stuck_after=0.05)
        await ref.ask(lambda _: time.sleep(0.3))
        assert ref.status()["stuck"] == 1
        events = [event["event"] for event in rt.snapshot()["events"] if event["path"] == "user/counter"]
        assert "stuck" in events

    run(main)


def test_messages_to_oneself_later_end_with_the_instance() -> None:
    heard: list[Any] = []

    class Timed(ironcliw.Actor):
        def on_start(self) -> None:
            self.context.tell_later(0.01, ("tick", self.context.restarts))

        def on_message(self, message: Any) -> None:
            heard.append(message)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Timed, backoff=NONE)
        with pytest.raises(ironcliw.ActorPanicked):
            await testing.crash(ref)
        await asyncio.to_thread(eventually, lambda: heard)
        await asyncio.sleep(0.02)
        assert heard == [("tick", 1)]
        timer = await ref.ask(None)
        assert timer is None
        for wrong in (-1, float("nan")):
            with pytest.raises(ironcliw.InvalidInput):
                ActorContextHolder.last.tell_later(wrong, 1)

    class ActorContextHolder(Timed):
        last: ironcliw.ActorContext

        def on_start(self) -> None:
            type(self).last = self.context

    async def both(rt: ironcliw.Runtime) -> None:
        await rt.spawn(ActorContextHolder)
        await main(rt)

    run(both)


# Mailboxes


def test_a_full_mailbox_does_what_it_is_told() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        expected = {
            "block": [0, 1, 2, 3, 4],
            "reject": [0, 1, ironcliw.MailboxFull, ironcliw.MailboxFull, ironcliw.MailboxFull],
            "drop_newest": [0, 1, ironcliw.MailboxFull, ironcliw.MailboxFull, ironcliw.MailboxFull],
            "drop_oldest": [ironcliw.MailboxFull, ironcliw.MailboxFull, ironcliw.MailboxFull, 3, 4],
        }
        for overflow, answers in expected.items():
            gate = asyncio.Event()
            ref = await rt.spawn(Gate, gate, mailbox=2, overflow=overflow)
            held = ref.ask("hold")
            while ref.status()["queued"] or not Gate.holds:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            calls = [ref.ask(number) for number in range(5)]
            told = [ref.tell("told") for _ in range(2)]
            gate.set()
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(one) if isinstance(one, Exception) else one for one in found][:3] == answers[:3], (
                overflow
            )
            if overflow != "drop_oldest":
                assert [type(one) if isinstance(one, Exception) else one for one in found] == answers, (
                    overflow
                )
            await asyncio.gather(*told, return_exceptions=True)
            if overflow == "reject":
                assert isinstance(told[0].exception(), ironcliw.MailboxFull)
            await held

    class Gate(ironcliw.Actor):
        holds = False

        def __init__(self, gate: asyncio.Event) -> None:
            self.gate = gate

        async def on_message(self, message: Any) -> Any:
            if message == "hold":
                Gate.holds = True
                await self.gate.wait()
                Gate.holds = False
            return message

    run(main)


def test_what_waits_for_room_keeps_its_order_and_may_be_dropped() -> None:
    heard: list[int] = []

    class Listener(ironcliw.Actor):
        async def on_message(self, message: int) -> None:
            await asyncio.sleep(0)
            heard.append(message)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Listener, mailbox=2)
        for number in range(300):
            if number % 3:
                ref.tell(number)
            else:
                ref.tell_many([number])
        await ref.ask(300)
        assert heard == list(range(301))

    run(main)


# Groups


class Recorder(ironcliw.Actor):
    log: list[str]

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def on_start(self) -> None:
        self.log.append(f"+{self.context.name}")

    def on_stop(self) -> None:
        self.log.append(f"-{self.context.name}")

    def on_restart(self, reason: BaseException | None) -> None:
        self.log.append(f"restart {self.context.name} {reason!r}")

    async def on_message(self, message: Any) -> Any:
        if isinstance(message, float):
            await asyncio.sleep(message)
        return self.context.name


def test_leaving_a_group_stops_its_actors_in_reverse_order() -> None:
    log: list[str] = []

    async def main(rt: ironcliw.Runtime) -> None:
        async with rt.supervisor("pipeline", strategy="rest_for_one", max_restarts=3, within=5.0) as group:
            refs = [await group.spawn(Recorder, log, name=name) for name in "abc"]
            assert [ref.path for ref in refs] == [f"user/pipeline/{name}" for name in "abc"]
            assert group.path == "user/pipeline" and "3 children" in repr(group)
            status = group.status()
            assert (status["strategy"], status["max_restarts"], status["within_s"]) == (
                "rest_for_one",
                3,
                5.0,
            )
            async with group.supervisor("inner") as inner:
                below = await inner.spawn(Recorder, log, name="d")
                assert below.path == "user/pipeline/inner/d"
        assert not any(ref.is_alive for ref in refs)
        assert group.status()["state"] == "stopped"

    run(main)
    assert log == ["+a", "+b", "+c", "+d", "-d", "-c", "-b", "-a"]


def test_the_rest_restarts_for_one_and_keeps_its_queue() -> None:
    log: list[str] = []

    async def main(rt: ironcliw.Runtime) -> None:
        async with rt.supervisor("pipeline", strategy="rest_for_one") as group:
            a, b, c = [await group.spawn(Recorder, log, name=name, backoff=NONE) for name in "abc"]
            log.clear()
            held = c.ask(0.02)
            queued = [c.ask(n) for n in range(20)]
            await asyncio.sleep(0.001)
            with pytest.raises(ironcliw.ActorPanicked):
                await testing.crash(b)
            assert await held == "c"
            assert await asyncio.gather(*queued) == ["c"] * 20
            assert (a.status()["restarts"], b.status()["restarts"], c.status()["restarts"]) == (0, 1, 1)
        assert log[:5] == ["-c", "restart b Error('a crash was asked for')", "+b", "restart c None", "+c"]

    run(main)


def test_a_neighbour_that_does_not_end_in_time_is_cancelled_and_its_asker_told() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        async with rt.supervisor("pair", strategy="one_for_all") as group:
            a = await group.spawn(Counter, backoff=NONE)
            b = await group.spawn(Counter, backoff=NONE, shutdown=0.05)
            held = b.ask(10.0)
            await asyncio.sleep(0.01)
            with pytest.raises(ironcliw.ActorPanicked):
                await testing.crash(a)
            with pytest.raises(ironcliw.ActorRestarting):
                await held
            assert await b.ask(1) == 1

    run(main)


def test_a_crash_storm_exhausts_the_groups_budget_and_nothing_else() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        outside = await rt.spawn(Counter)
        async with rt.supervisor("storm", max_restarts=3, within=10.0) as group:
            ref = await group.spawn(Counter, backoff=NONE)
            for _ in range(4):
                with pytest.raises(ironcliw.ActorPanicked):
                    await testing.crash(ref)
            assert "crash was asked for" in await ref.stopped()
            assert await asyncio.to_thread(eventually, lambda: group.status()["state"] == "stopped")
            assert group.status()["exhausted"]
            with pytest.raises(ironcliw.ActorStopped):
                await ref.ask(1)
            with pytest.raises(ironcliw.ActorStopped):
                await ref.tell(1)
            with pytest.raises(ironcliw.ActorStopped):
                await group.spawn(Counter)
        assert await outside.ask(1) == 1
        assert rt.status() == "running"

    run(main)


def test_a_group_can_be_started_and_stopped_by_hand_and_named_as_a_supervisor() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        group = rt.supervisor("group")
        assert "not started" in repr(group)
        for too_early in (lambda: group.spawn(Counter), group.status, lambda: group.path):
            with pytest.raises(ironcliw.InvalidInput, match="not been started"):
                too_early()
        await group.stop()
        assert await group.start() is group
        with pytest.raises(ironcliw.InvalidInput, match="started before"):
            group.start()
        ref = await rt.spawn(Counter, name="x", supervisor=group)
        assert ref.path == "user/group/x"
        inner = await rt.supervisor("inner", supervisor=group).start()
        assert inner.path == "user/group/inner"
        await group.stop()
        assert not ref.is_alive
        await group.stop()

    run(main)


# References


def test_a_reference_is_equal_to_another_of_the_same_actor_and_can_be_a_key() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        a, b = await rt.spawn(Counter, name="a"), await rt.spawn(Counter, name="b")
        own = await a.ask(lambda actor: actor.context.ref)
        assert own == a and own is not a and hash(own) == hash(a) and a != b and a != "a"
        assert {a: 1}[own] == 1
        assert repr(a) == "<ironcliw.ActorRef user/a running>"
        await a.stop()
        assert repr(a) == "<ironcliw.ActorRef user/a stopped>"
        again = await rt.spawn(Counter, name="a")
        assert again != a and await again.ask(1) == 1
        await a.stop()  # it is not the same actor, and is left alone
        assert again.is_alive

    run(main)


def test_an_actor_knows_itself_its_place_and_its_runtime() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, name="me")
        context = await ref.ask(lambda actor: actor.context)
        assert (context.path, context.name, context.restarts) == ("user/me", "me", 0)
        assert context.runtime is rt and context.ref == ref
        assert "user/me" in repr(context)

    run(main)


def test_actors_talk_to_each_other_and_to_the_built_in_ones() -> None:
    class Front(ironcliw.Actor):
        def __init__(self, back: ironcliw.ActorRef) -> None:
            self.back = back

        async def on_message(self, frame: Any) -> Any:
            small = await self.context.runtime.images.resize(frame, (8, 6))
            return await self.back.ask(lambda actor: small.shape), actor_total(await self.back.ask(1))

    def actor_total(total: int) -> int:
        return total

    async def main(rt: ironcliw.Runtime) -> None:
        back = await rt.spawn(Counter)
        front = await rt.spawn(Front, back)
        frame = np.zeros((60, 80, 3), np.uint8)
        assert await front.ask(frame) == ((6, 8, 3), 1)
        answers = await asyncio.gather(*[front.ask(frame) for _ in range(50)])
        assert [total for _, total in answers] == list(range(2, 52))
        del answers

    run(main)


def test_references_and_their_cycles_are_collected() -> None:
    class Selfish(ironcliw.Actor):
        def on_start(self) -> None:
            self.me = self
            self.context_again = self.context

        def on_message(self, message: Any) -> Any:
            return weakref.ref(self)

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Selfish)
        instance = await ref.ask(None)
        assert instance() is not None
        await ref.stop()
        gc.collect()
        assert instance() is None
        weak = weakref.ref(ref)
        del ref
        gc.collect()
        assert weak() is None

    run(main)


# Loops and threads


def test_an_actor_may_have_a_loop_and_a_thread_of_its_own_which_end_with_it() -> None:
    def where(actor: Counter) -> tuple[str, int]:
        return threading.current_thread().name, id(asyncio.get_running_loop())

    with ironcliw.Runtime(image_workers=1) as rt:
        ref = rt.spawn(Counter, name="own", loop="own").result(timeout=10)
        thread, _ = ref.ask(where).result(timeout=10)
        assert thread == "ironcliw-own"
        assert ref.ask_many([1, 0.001, 1]).result(timeout=10) == [1, 1, 2]
        with pytest.raises(ironcliw.ActorPanicked):
            testing.crash(ref).result(timeout=10)
        assert ref.ask(1).result(timeout=10) == 1
        ref.stop().result(timeout=10)
        assert eventually(lambda: all(t.name != "ironcliw-own" for t in threading.enumerate()))

        class Broken(Counter):
            def on_start(self) -> None:
                raise OSError("no")

        with pytest.raises(ironcliw.StartFailed):
            rt.spawn(Broken, name="broken", loop="own").result(timeout=10)
        assert eventually(lambda: all(t.name != "ironcliw-broken" for t in threading.enumerate()))
        left = rt.spawn(Counter, name="left", loop="own").result(timeout=10)
    assert not left.is_alive
    assert eventually(lambda: all(t.name != "ironcliw-left" for t in threading.enumerate()))


def test_a_spawn_outside_of_a_loop_says_what_to_do() -> None:
    with ironcliw.Runtime(image_workers=1) as rt, pytest.raises(RuntimeError, match='loop="own"'):
        rt.spawn(Counter)


def test_a_reference_is_of_use_in_any_thread_and_any_loop() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, mailbox=4)

        def from_a_thread() -> int:
            ref.tell(1).result(timeout=10)
            return ref.ask(1).result(timeout=10)

        async def from_a_loop() -> list[int]:
            return list(await asyncio.gather(*[ref.ask(1) for _ in range(50)]))

        results = await asyncio.gather(
            asyncio.to_thread(from_a_thread),
            *[asyncio.to_thread(asyncio.run, from_a_loop()) for _ in range(4)],
        )
        assert await ref.ask(0) == 202
        assert all(results)

    run(main)


def test_when_its_loop_closes_an_actor_stops_and_whoever_waits_is_told() -> None:
    with ironcliw.Runtime(image_workers=1) as rt:

        async def main() -> tuple[ironcliw.ActorRef, list[Any]]:
            ref = await rt.spawn(Counter, name="homeless")
            calls = [ref.ask(10.0), ref.ask(1), ref.ask(2)]
            await asyncio.sleep(0.01)
            return ref, calls

        ref, calls = asyncio.run(main())
        with pytest.raises(ironcliw.Error):
            calls[0].result(timeout=5)
        for call in (*calls[1:], ref.ask(3)):
            with pytest.raises(ironcliw.ActorStopped, match="its event loop is closed"):
                call.result(timeout=5)
        ref.stopped().result(timeout=5)
        assert not ref.is_alive
        ref.tell(1)

        async def again() -> int:
            fresh = await rt.spawn(Counter, name="homeless")
            return await fresh.ask(4)

        assert asyncio.run(again()) == 4
        began = time.monotonic()
    assert time.monotonic() - began < 5, "it waited for as long as closing may"


def test_closing_the_runtime_drains_its_actors() -> None:
    handled: list[int] = []

    class Slow(ironcliw.Actor):
        async def on_message(self, message: int) -> int:
            await asyncio.sleep(0.001)
            handled.append(message)
            return message

        async def on_stop(self) -> None:
            handled.append(-1)

    async def main() -> None:
        rt = ironcliw.Runtime(image_workers=1)
        ref = await rt.spawn(Slow)
        calls = [ref.ask(n) for n in range(20)]
        await rt.close()
        assert await asyncio.gather(*calls) == list(range(20))
        assert handled == [*range(20), -1]
        with pytest.raises(ironcliw.ActorStopped):
            await ref.ask(1)
        with pytest.raises(ironcliw.RuntimeClosed):
            rt.spawn(Slow)
        with pytest.raises(ironcliw.RuntimeClosed):
            rt.supervisor("late")
        assert ref.status()["state"] == "stopped"

    asyncio.run(main())


def test_a_handler_may_close_the_runtime_but_not_wait_for_it() -> None:
    async def main() -> None:
        rt = ironcliw.Runtime(image_workers=1)
        ref = await rt.spawn(Counter, shutdown=0.1)

        async def close_and_wait(actor: Counter) -> None:
            await rt.close()

        call = ref.ask(close_and_wait)
        with pytest.raises(ironcliw.ActorStopped):
            await call
        await rt.close()
        rt = ironcliw.Runtime(image_workers=1)
        ref = await rt.spawn(Counter)
        closing = await ref.ask(lambda actor: [rt.close()])
        await closing[0]
        assert not ref.is_alive

    asyncio.run(main())


def test_a_spawn_that_is_called_off_leaves_no_actor() -> None:
    class Slow(ironcliw.Actor):
        async def on_start(self) -> None:
            await asyncio.sleep(0.05)

    async def main(rt: ironcliw.Runtime) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rt.spawn(Slow, name="slow"), 0.01)
        for _ in range(100):
            if not any(actor["path"] == "user/slow" for actor in rt.snapshot()["actors"]):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("it lives")

    run(main)


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run there")
def test_actors_live_on_uvloop_as_well() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with ironcliw.Runtime(image_workers=1) as rt:
            ref = await rt.spawn(Counter, backoff=NONE)
            assert await asyncio.gather(*[ref.ask(1) for _ in range(200)]) == list(range(1, 201))
            with pytest.raises(ironcliw.ActorPanicked):
                await ref.ask(ValueError())
            assert await ref.ask(0.001) == 0
            await ref.tell_many([1] * 200)
            assert await ref.ask(0) == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_the_other_tasks_of_the_loop_get_their_turns() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        class Flooded(ironcliw.Actor):
            def on_message(self, message: int) -> None:
                if message:
                    self.context.ref.tell(message - 1)

        ref = await rt.spawn(Flooded)
        ref.tell(200_000)
        laps = 0
        while ref.status()["handled"] < 200_000:
            laps += 1
            await asyncio.sleep(0)
        assert laps > 50

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks there")
def test_a_forked_child_is_told_so() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                ref.ask(1)
            except ironcliw.RuntimeClosed:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222
        assert await ref.ask(1) == 1

    run(main)


# Rust and Python


def test_a_rust_actor_tells_a_python_actor_of_memory_pressure() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        probe = await testing.probe(rt)
        await rt.pool.tell_pressure(probe.ref)
        held = [rt.pool.try_allocate(1 << 20) for _ in range(15)]
        heard = await probe.next()
        assert isinstance(heard, ironcliw.MemoryPressure) and heard.level in ("Medium", "High", "Critical")
        for buffer in held:
            buffer.release()
        while (await probe.next()).level != "Low":
            pass

    run(main, memory_limit=16 << 20)


def test_a_rust_actor_asks_a_python_actor_with_each_supervision_event() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        probe = await testing.probe(rt, name="listener")
        victim = await rt.spawn(Counter, name="victim", backoff=NONE)
        await rt.supervision_events(probe.ref)
        with pytest.raises(ironcliw.ActorPanicked):
            await victim.ask(ValueError("on record"))
        exited = await probe.next()
        assert (exited["event"], exited["path"], exited["failure"]) == ("exited", "user/victim", True)
        assert "ValueError: on record" in exited["reason"]
        assert (await probe.next())["event"] == "restarted"
        await victim.stop()
        await probe.ref.stop()
        for _ in range(100):
            if not any("events-" in actor["path"] for actor in rt.snapshot()["actors"]):
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the feed outlives its listener")

    run(main)


# Bad input


def test_bad_input_is_refused_by_the_call_itself() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        class NoActor:
            pass

        for wrong in (NoActor, 3, Counter(), ironcliw.Runtime, None):
            with pytest.raises(TypeError, match=r"subclass of ironcliw\.Actor"):
                rt.spawn(wrong)
        for options, message in (
            ({"restart": "sometimes"}, "restart is"),
            ({"overflow": "explode"}, "overflow is"),
            ({"mailbox": 0}, "mailbox must be at least 1"),
            ({"mailbox": 2**70}, "mailbox must be"),
            ({"name": "a/b"}, "a name has"),
            ({"name": ""}, "a name has"),
            ({"loop": "other"}, "loop is"),
            ({"shutdown": -1}, "shutdown must be"),
            ({"shutdown": float("nan")}, "shutdown must be"),
            ({"backoff": (1, 2, 3)}, "backoff as a tuple"),
            ({"backoff": (2, 1)}, "min must not be"),
            ({"backoff": ironcliw.Backoff(factor=0.5)}, "factor must be"),
            ({"stuck_after": float("inf")}, "stuck_after must be"),
        ):
            with pytest.raises(ironcliw.InvalidInput, match=message):
                rt.spawn(Counter, **options)
        for options in (
            {"mailbox": "many"},
            {"supervisor": 3},
            {"kwargs": 3},
            {"backoff": 3},
            {"start": 3},
            {"name": 3},
        ):
            with pytest.raises((TypeError, AttributeError)):
                rt.spawn(Counter, **options)
        with pytest.raises(TypeError, match="go into kwargs"):
            rt.spawn(Counter, step=3)
        for rules in ({"strategy": "none"}, {"max_restarts": -1}, {"within": -1}, {"restart": "no"}):
            with pytest.raises((ironcliw.InvalidInput, TypeError)):
                rt.supervisor("g", **rules)
        ref = await rt.spawn(Counter, name="taken")
        with pytest.raises(ironcliw.InvalidInput, match="already"):
            await rt.spawn(Counter, name="taken")
        for timeout in (0, -1, float("nan")):
            with pytest.raises(ironcliw.InvalidInput):
                ref.ask(1, timeout=timeout)
        with pytest.raises(TypeError):
            ref.ask_many(3)

    run(main)


def test_a_class_without_on_message_crashes_with_a_clear_word() -> None:
    class Mute(ironcliw.Actor):
        pass

    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Mute)
        with pytest.raises(ironcliw.ActorPanicked, match="Mute has no on_message"):
            await ref.ask(1)

    run(main)


# The test kit


def test_a_probe_hears_in_order_and_answers() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        probe = await testing.probe(rt, name="probe", answer=lambda message: message * 2)
        assert probe.ref.path == "user/probe"
        assert await probe.ref.ask(2) == 4
        await probe.expect(2)
        with pytest.raises(AssertionError, match="heard 3, and not 4"):
            await asyncio.gather(probe.ref.ask(3), probe.expect(4))
        await probe.expect_nothing(0.01)
        with pytest.raises(AssertionError, match="heard nothing"):
            await probe.next(timeout=0.01)
        probe.ref.tell_many("abc")
        await probe.ref.ask("d")
        assert probe.received() == list("abcd")

    run(main)


def test_faults_come_with_the_message_that_they_are_planned_for() -> None:
    async def main(rt: ironcliw.Runtime) -> None:
        ref = await rt.spawn(Counter, name="faulty", backoff=NONE)
        testing.fail_on(ref, 3, OSError("the third"))
        answers = await ref.ask_many([1, 1, 1, 1], return_exceptions=True)
        assert [answers[n] for n in (0, 1, 3)] == [1, 2, 1]
        assert isinstance(answers[2].__cause__, OSError)
        with pytest.raises(ironcliw.ActorPanicked):
            await testing.crash(rt, "user/faulty")
        with pytest.raises(TypeError):
            testing.fail_on(ref, 1, "no exception")  # type: ignore[arg-type]

    run(main)


def test_what_is_left_behind_is_named() -> None:
    async def main() -> None:
        async with ironcliw.Runtime(image_workers=1) as rt:
            await rt.spawn(Counter, name="left")
            with pytest.raises(AssertionError, match="user/left"):
                testing.assert_clean(rt, timeout=0.01)
        testing.assert_clean(rt)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert eventually(lambda: not any("ironcliw-own" in thread.name for thread in threading.enumerate()))


# The example


def test_the_pipelines_example_loses_its_damaged_frames_and_nothing_else() -> None:
    example = Path(__file__).parents[2] / "examples" / "supervised_pipeline.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", example], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "58 of 60 frames analysed, lost [20, 41]" in done.stdout
    assert done.stdout.count("preparer restarted, DecodeError") == 2
    assert done.stdout.count("recorder restarted") == 2
    assert "camera restarted" not in done.stdout
    assert "leaks: []" in done.stdout
