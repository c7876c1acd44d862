"""Scopes, growth, what outlives a crash, and the table: what leaks is named, and nothing else is."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ironcliw
import numpy as np
import pytest
from conftest import eventually
from ironcliw.pytest_plugin import no_leaks  # noqa: F401
from ironcliw.testing import crash

EXAMPLE = Path(__file__).parents[2] / "examples" / "leak_on_purpose.py"
LEVELS = ["disabled", "simple", "advanced", "paranoid"]


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_out_at_the_end_of_a_scope_is_named_with_its_place_at_every_level(level: str) -> None:
    with ironcliw.Runtime(leak_level=level) as rt:
        before = rt.pool.try_allocate(1000)
        with rt.leaks.scope() as scope:
            kept = [rt.pool.try_allocate(3000) for _ in range(2)]
            rt.pool.try_allocate(3000)
        after = rt.pool.try_allocate(1000)
        (report,) = scope.check()
        assert (report.kind, report.equal, report.bytes, report.owner) == ("still_out", 2, 6000, "python")
        assert report.site is not None and "test_leak_scopes.py" in report.site
        with pytest.raises(ironcliw.LeakError, match="still_out") as failed:
            scope.assert_clean(timeout=0.01)
        assert isinstance(failed.value, AssertionError) and failed.value.reports[0].equal == 2
        kept.clear()
        scope.assert_clean()
        assert rt.leaks.level == level
        del before, after


def test_a_scope_ends_with_its_assertion_if_it_was_asked_to(rt: ironcliw.Runtime) -> None:
    kept = []
    with pytest.raises(ironcliw.LeakError), rt.leaks.scope(assert_clean=True):
        kept.append(rt.pool.try_allocate(100))
    kept.clear()
    with rt.leaks.scope(assert_clean=True):
        rt.pool.try_allocate(100).release()
    with pytest.raises(KeyError), rt.leaks.scope(assert_clean=True):
        kept.append(rt.pool.try_allocate(100))
        raise KeyError("an error of the block goes first")
    kept.clear()


def test_a_buffer_in_a_reference_cycle_is_no_leak(rt: ironcliw.Runtime) -> None:
    class Node:
        def __init__(self) -> None:
            self.me = self
            self.buffer = rt.pool.try_allocate(100)

    gc.disable()
    try:
        with rt.leaks.scope(assert_clean=True):
            Node()
    finally:
        gc.enable()


def test_async_scopes_wait_on_the_loop_for_what_is_on_its_way_back(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        kept = []
        async with rt.leaks.scope(assert_clean=True):
            kept.append(rt.pool.try_allocate(100))
            # A loop that were blocked could not do this.
            loop.call_later(0.05, kept.clear)
        async with rt.leaks.scope() as scope:
            kept.append(await rt.pool.allocate(100))
            with pytest.raises(ironcliw.LeakError):
                await scope.wait_clean(timeout=0.01)
            kept.clear()
            await scope.wait_clean()

    asyncio.run(main())


def test_a_scope_sees_native_results_and_lets_go_of_them(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    async def main() -> None:
        async with rt.leaks.scope() as scope:
            image = await rt.images.resize(photo, (20, 20))
            (report,) = scope.check()
            assert report.owner.startswith("images/")
            del image
            await scope.wait_clean()
        async with rt.leaks.scope(assert_clean=True):
            await asyncio.gather(*[rt.images.resize(photo, (32, 32)) for _ in range(20)])

    asyncio.run(main())


def test_scopes_nest_and_overlap_and_look_at_one_owner(rt: ironcliw.Runtime, photo: np.ndarray) -> None:
    with rt.leaks.scope() as outer:
        first = rt.pool.try_allocate(100)
        with rt.leaks.scope() as inner, rt.leaks.scope(owner="images/0") as other:
            second = rt.pool.try_allocate(200)
        assert [report.bytes for report in inner.check()] == [200]
        assert other.check() == []
    assert sorted(report.bytes for report in outer.check()) == [100, 200]
    del first, second
    outer.assert_clean()


def test_scopes_on_several_threads_keep_to_their_owner_and_leave_the_level(rt: ironcliw.Runtime) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                with rt.leaks.scope(owner="images/0", assert_clean=True):
                    rt.pool.try_allocate(100)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert rt.leaks.level == "simple"


def test_a_scope_is_used_as_a_block_and_once(rt: ironcliw.Runtime) -> None:
    scope = rt.leaks.scope()
    assert repr(scope) == "<ironcliw.LeakScope, new>"
    with pytest.raises(ironcliw.InvalidInput):
        scope.check()
    with scope:
        assert "open" in repr(scope)
    with pytest.raises(ironcliw.InvalidInput), scope:
        pass
    assert repr(scope) == "<ironcliw.LeakScope, ended>"
    assert repr(rt.leaks.scope(owner="images/0")) == "<ironcliw.LeakScope of images/0, new>"


def test_the_fixture_looks_at_a_test(
    no_leaks: ironcliw.LeakScope,  # noqa: F811
    rt: ironcliw.Runtime,
) -> None:
    buffer = rt.pool.try_allocate(100)
    assert [report.equal for report in no_leaks.check()] == [1]
    buffer.release()


def test_the_fixture_fails_a_test_that_leaks(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import ironcliw, pytest\n"
        "pytest_plugins = ['ironcliw.pytest_plugin']\n"
        "@pytest.fixture\n"
        "def rt():\n    with ironcliw.Runtime() as rt:\n        yield rt\n"
    )
    (tmp_path / "test_it.py").write_text(
        "KEPT = []\n"
        "def test_leaks(rt, no_leaks): KEPT.append(rt.pool.try_allocate(100))\n"
        "def test_is_clean(rt, no_leaks): rt.pool.try_allocate(100)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert "2 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "LeakError" in done.stdout and "test_it.py:2" in done.stdout, done.stdout


# ---- age and growth ----


def test_the_age_limit_is_of_a_kind_and_changes_at_run_time() -> None:
    with ironcliw.Runtime(leak_level="paranoid", leak_age={"plain": 0.0}) as rt:
        assert rt.leaks.age_limit == {"plain": 0.0, "tracked": 300.0}
        plain, tracked = rt.pool.try_allocate(100), rt.pool.try_allocate(200, tracked=True)
        assert [report.bytes for report in rt.leaks.check().result(timeout=10)] == [100]
        rt.leaks.age_limit = {"tracked": 0}
        reports = rt.leaks.check().result(timeout=10)
        assert sorted(report.bytes for report in reports) == [100, 200]
        assert {report.kind for report in reports} == {"too_old"}
        rt.leaks.age_limit = None
        assert rt.leaks.age_limit == {"plain": None, "tracked": None}
        assert rt.leaks.check().result(timeout=10) == []
        rt.leaks.age_limit = 0.0
        assert len(rt.leaks.check().result(timeout=10)) == 2
        tracked.release()
        del plain


@pytest.mark.parametrize("limit", [-1, float("nan"), {"old": 3}, {"plain": -1}])
def test_an_age_limit_that_cannot_be_is_refused(rt: ironcliw.Runtime, limit: Any) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        rt.leaks.age_limit = limit
    with pytest.raises(ironcliw.InvalidInput):
        ironcliw.Runtime(leak_age=limit)
    with pytest.raises(TypeError):
        rt.leaks.age_limit = "long"  # type: ignore[assignment]
    assert rt.leaks.age_limit == {"plain": 300.0, "tracked": 300.0}


def test_a_dictionary_of_age_limits_may_change_as_it_is_read(rt: ironcliw.Runtime) -> None:
    class Limit:
        def __float__(self) -> float:
            limits["more"] = 1.0
            return 7.0

    limits: Any = {"plain": Limit(), "tracked": 8.0}
    rt.leaks.age_limit = limits
    assert rt.leaks.age_limit == {"plain": 7.0, "tracked": 8.0}


@pytest.mark.parametrize("growth", [(1, 10.0), (65, 10.0), (-1, 10.0), (6, 0.0), (6, float("nan")), (6, 1e9)])
def test_a_growth_that_cannot_be_is_refused(growth: Any) -> None:
    with pytest.raises(ironcliw.InvalidInput):
        ironcliw.Runtime(leak_growth=growth)


def test_what_grows_is_named_and_a_sawtooth_is_not() -> None:
    with ironcliw.Runtime(leak_growth=(3, 0.1)) as rt:
        cache, found = [], []
        deadline = time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            cache += [rt.pool.try_allocate(32_768) for _ in range(5)]
            teeth = [rt.pool.try_allocate(1_000) for _ in range(len(cache) % 50)]
            time.sleep(0.005)
            del teeth
            found = rt.leaks.check().result(timeout=10)
        (report,) = found
        assert (report.kind, report.owner, report.class_size) == ("growing", "python", 32_768)
        assert len(report.counts) == 3 and report.counts == sorted(set(report.counts))
        assert report.equal == report.counts[-1] - report.counts[0]
        assert len(report.sites) <= 1, "few leases have a record"
        cache.clear()
        assert eventually(lambda: rt.leaks.check().result(timeout=10) == [], 10)


def test_what_grows_names_where_most_of_it_was_leased() -> None:
    with ironcliw.Runtime(leak_growth=(3, 0.1), leak_level="paranoid") as rt:
        cache: list[ironcliw.Buffer] = []
        found: list[ironcliw.LeakReport] = []
        deadline = time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            cache += [rt.pool.try_allocate(32_768) for _ in range(4)]
            cache.append(rt.pool.try_allocate(32_768))
            time.sleep(0.005)
            found = rt.leaks.check().result(timeout=10)
        (report,) = found
        first, second = report.sites
        lines = {site["site"] for site in report.sites}
        assert len(lines) == 2 and all(str(line).startswith(f"{__file__}:") for line in lines)
        assert (first["live"], second["live"]) == (len(cache) // 5 * 4, len(cache) // 5)
        assert first["recent"] >= second["recent"] > 0
        assert report.frames[0]["function"].startswith("test_what_grows_names_where_most_of_it_was_leased")
        assert f"; most from {first['site']}" in str(report)
        assert f"sites  {first['site']} (" in str(rt.leaks.report())


# ---- crashes ----

GRACE = 1.1
"""What is judged a leftover lives so long after the crash."""

STRAYS: list[Any] = []


class Holder(ironcliw.Actor):
    """Keeps one buffer, and answers with others in several ways."""

    def __init__(self) -> None:
        self.own = self.context.runtime.pool.try_allocate(100)

    def on_message(self, message: Any, /) -> Any:
        pool = self.context.runtime.pool
        if message == "stray":
            STRAYS.append(pool.try_allocate(200))
            return None
        array = np.asarray(pool.try_allocate(800)).view(np.float32)[10:]
        return {"buffer": pool.try_allocate(400), "views": [memoryview(pool.try_allocate(600)), (array,)]}


def test_what_an_actor_answered_with_is_no_leftover_and_what_strayed_is(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        holder = await rt.spawn(Holder, name="holder", backoff=(0.0, 0.0))
        answer = await holder.ask("give")
        await holder.ask("stray")
        with pytest.raises(ironcliw.ActorPanicked):
            await crash(holder)
        # The next instance keeps one of its own.
        again = await holder.ask("give")
        assert await rt.leaks.check() == []
        await asyncio.sleep(GRACE)
        (report,) = await rt.leaks.check()
        assert (report.kind, report.owner, report.bytes) == ("outlived_owner", "user/holder", 200)
        assert report.incarnation == 0
        assert STRAYS[0].nbytes == 200 and not STRAYS[0].released, "nothing is taken back"
        STRAYS.clear()
        assert await rt.leaks.check() == []
        await holder.stop()
        del answer, again

    asyncio.run(main())


class Giver(ironcliw.Actor):
    """Answers with many buffers, deep down."""

    def on_message(self, message: int, /) -> Any:
        answer: Any = [self.context.runtime.pool.try_allocate(64) for _ in range(message)]
        for _ in range(12):
            answer = [answer, 1.0]
        answer.append(answer)
        return answer


def test_an_answer_of_many_buffers_is_no_leftover(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        giver = await rt.spawn(Giver, name="giver", backoff=(0.0, 0.0))
        answer = await giver.ask(2000)
        with pytest.raises(ironcliw.ActorPanicked):
            await crash(giver)
        await asyncio.sleep(GRACE)
        assert await rt.leaks.check() == []
        answer.clear()
        await giver.stop()

    asyncio.run(main())


class Refused(ironcliw.Actor):
    """Sends to one that has stopped, and forgets what came back."""

    async def on_message(self, receiver: ironcliw.ActorRef, /) -> None:
        STRAYS.append(self.context.runtime.pool.try_allocate(700))
        with pytest.raises(ironcliw.ActorStopped):
            await receiver.tell(STRAYS[0])
        with pytest.raises(ironcliw.ActorStopped):
            await receiver.ask({"buffer": STRAYS[0]})


def test_what_was_not_accepted_is_still_its_senders(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        refused = await rt.spawn(Refused, name="refused", backoff=(0.0, 0.0))
        receiver = await rt.spawn(Receiver, name="receiver")
        await receiver.stop()
        await refused.ask(receiver)
        with pytest.raises(ironcliw.ActorPanicked):
            await crash(refused)
        await asyncio.sleep(GRACE)
        (report,) = await rt.leaks.check()
        assert (report.kind, report.owner, report.bytes) == ("outlived_owner", "user/refused", 700)
        STRAYS.clear()
        await refused.stop()

    asyncio.run(main())


class Passer(ironcliw.Actor):
    """Sends buffers on in several ways."""

    async def on_message(self, receiver: ironcliw.ActorRef, /) -> None:
        pool = self.context.runtime.pool
        await receiver.tell(np.asarray(pool.try_allocate(300)))
        await receiver.tell_many([pool.try_allocate(400), {"frames": [pool.try_allocate(500)]}])
        await receiver.ask_many([pool.try_allocate(600)])


class Receiver(ironcliw.Actor):
    def on_message(self, message: Any, /) -> None:
        STRAYS.append(message)


def test_what_an_actor_sent_is_no_leftover_whichever_way_it_went(rt: ironcliw.Runtime) -> None:
    async def main() -> None:
        passer = await rt.spawn(Passer, name="passer", backoff=(0.0, 0.0))
        receiver = await rt.spawn(Receiver, name="receiver")
        await passer.ask(receiver)
        with pytest.raises(ironcliw.ActorPanicked):
            await crash(passer)
        await asyncio.sleep(GRACE)
        assert len(STRAYS) == 4
        assert await rt.leaks.check() == []
        STRAYS.clear()
        await passer.stop()
        await receiver.stop()

    asyncio.run(main())


def test_images_that_python_holds_are_no_leftover_of_their_worker(
    rt: ironcliw.Runtime, photo: np.ndarray
) -> None:
    async def main() -> None:
        held = [await rt.images.resize(photo, (20 + n, 20)) for n in range(8)]
        for path in ["images/0", "images/1"]:
            with pytest.raises(ironcliw.ActorPanicked):
                await crash(rt, path)
        await asyncio.sleep(GRACE)
        assert await rt.leaks.check() == []
        assert len(held) == 8

    asyncio.run(main())


# ---- forks ----

FORKS_WITHIN_A_SCOPE = """
import os, sys, ironcliw
rt = ironcliw.Runtime(leak_level="paranoid")
scope = rt.leaks.scope()
refused = 0
with scope:
    child = os.fork()
    if child == 0:
        ask = [lambda: rt.leaks.age_limit, lambda: setattr(rt.leaks, "age_limit", 5.0)]
        for question in [*ask, scope.check, scope.assert_clean, rt.leaks.report]:
            try:
                question()
            except ironcliw.RuntimeClosed:
                refused += 1
        scope.__exit__(None, None, None)
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert scope.check() == []
rt.close().result()
assert scope.check() == [] and rt.leaks.age_limit["plain"] == 300.0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_that_was_forked_within_a_scope_is_told_whose_it_is_and_may_leave_it() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS_WITHIN_A_SCOPE], timeout=60)
    assert done.returncode == 0


# ---- the table ----


@pytest.fixture
def leaky() -> Iterator[ironcliw.Runtime]:
    """For tests that leave leaks behind."""
    with ironcliw.Runtime() as runtime:
        yield runtime


def test_the_table_has_totals_and_leaks_and_fits(leaky: ironcliw.Runtime) -> None:
    rt = leaky
    assert str(rt.leaks.report()).startswith("No leaks.\n")
    held = rt.pool.try_allocate(60_000)
    for _ in range(3):
        rt.pool.try_allocate(9000, tracked=True)
    stream = io.StringIO()
    table = rt.leaks.report(stream=stream)
    text = stream.getvalue()
    assert text == str(table) == repr(table)
    assert max(map(len, text.splitlines())) <= 110
    assert text.startswith("1 leak: 3 buffers, 26.4 KiB.\n")
    assert "dropped_unreleased      3  26.4 KiB  10 KiB" in text and "test_leak_scopes.py" in text
    assert "1 in 128 leases has a record" in text
    assert [report.equal for report in table.leaks] == [3]
    total = {"owner": "python", "class_size": 65_536, "count": 1, "bytes": 65_536}
    assert table.totals == [total] and table.level == "simple"
    html = table._repr_html_()
    assert html.startswith("<div") and "dropped_unreleased" in html
    del held


def test_the_example_finds_what_it_leaks() -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ["still_out", "dropped_unreleased", "too_old", "growing"]:
        assert kind in done.stdout
