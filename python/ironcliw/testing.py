"""What a test of a supervised program needs: failures, made on purpose, and an actor that listens."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections import deque
from typing import Any, Generic, TypeVar, overload

from ironcliw._native import ActorRef, Call, Runtime, Supervisor
from ironcliw.actor import Actor
from ironcliw.errors import InvalidInput

__all__ = ["Probe", "assert_clean", "crash", "fail_on", "probe"]

_T = TypeVar("_T")


@overload
def crash(target: ActorRef, path: None = None) -> Call[None]: ...
@overload
def crash(target: Runtime, path: str) -> Call[None]: ...
def crash(target: ActorRef | Runtime, path: str | None = None) -> Call[None]:
    """Makes an actor crash while it handles a message: `crash(ref)`, or `crash(rt, "images/0")` by its path.

    The call raises `ActorPanicked`; the actor's supervisor restarts it, and its queued messages are kept.
    """
    if isinstance(target, ActorRef):
        return target._crash()
    if path is None:
        raise TypeError("crash(rt, path) needs the path of an actor")
    return target._crash(path)


def fail_on(ref: ActorRef, nth: int, error: BaseException) -> None:
    """Makes the `nth` message from now on (1 is the next) raise `error` instead of being handled."""
    ref._fail_on(nth, error)


class Probe(Generic[_T]):
    """An actor that stands where another one would, and remembers what it is sent: `await probe(rt)`.

    It belongs to the event loop it was made on.
    """

    def __init__(self) -> None:
        self.ref: ActorRef
        self._heard: deque[_T] = deque()
        self._came = asyncio.Event()

    async def next(self, timeout: float = 5.0) -> _T:  # noqa: ASYNC109
        """The next message: one that has come, or the first that does. `AssertionError` if none does in
        time."""
        try:
            async with asyncio.timeout(timeout):
                while not self._heard:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"{self.ref.path} heard nothing within {timeout} s") from None
        return self._heard.popleft()

    async def expect(self, message: _T, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Waits for the next message, which must be equal to this one."""
        heard = await self.next(timeout)
        assert heard == message, f"{self.ref.path} heard {heard!r}, and not {message!r}"

    async def expect_nothing(self, seconds: float = 0.1) -> None:
        """Waits for so long, in which no message may come; nor may one be left from before."""
        await asyncio.sleep(seconds)
        assert not self._heard, f"{self.ref.path} heard {self._heard[0]!r}"

    def received(self) -> list[_T]:
        """Takes what has come and was not yet expected."""
        heard = list(self._heard)
        self._heard.clear()
        return heard


class _ProbeActor(Actor):
    def __init__(self, probe: Probe[Any], answer: Any) -> None:
        self._probe = probe
        self._answer = answer

    def on_message(self, message: Any, /) -> Any:
        self._probe._heard.append(message)
        self._probe._came.set()
        return self._answer(message) if callable(self._answer) else self._answer


async def probe(target: Runtime | Supervisor, *, name: str | None = None, answer: Any = None) -> Probe[Any]:
    """A `Probe` under a runtime or in a group. `answer`: what it answers, or a function of the message."""
    made: Probe[Any] = Probe()
    made.ref = await target.spawn(_ProbeActor, made, answer, name=name, backoff=(0.0, 0.0), mailbox=4096)
    return made


def assert_clean(rt: Runtime, *, timeout: float = 5.0) -> None:
    """Fails if something of the test is left: an actor of its own, a leased buffer, a leak.

    What is on its way out gets `timeout` seconds. Actors need their event loop to end: stop them before.
    """
    until = time.monotonic() + timeout
    if math.isnan(until):
        raise InvalidInput(f"timeout must be a number of seconds, not {timeout}")
    while left := _left(rt):
        if time.monotonic() > until:
            raise AssertionError("left behind: " + ", ".join(left))
        gc.collect()
        time.sleep(0.005)
    if not rt.closed:
        reports = rt.leaks.check(timeout=timeout).result()
        assert not reports, f"leaks: {[str(report) for report in reports]}"


def _left(rt: Runtime) -> list[str]:
    snapshot = rt.snapshot()
    actors = [actor["path"] for actor in snapshot["actors"] if actor["path"].startswith("user/")]
    leases = snapshot["pool"]["total_active"]
    return actors + ([f"{leases} leased buffers"] if leases else [])
