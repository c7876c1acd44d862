"""Actors written in Python: the base class, and the small types that go with it.

An actor is spawned with `rt.spawn` and reached through the `ActorRef` that this returns; `docs/python.md` is
the guide.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Coroutine
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ironcliw._native import ActorContext, _Plan
    from ironcliw.types import Pressure

__all__ = ["Actor", "Backoff", "MemoryPressure"]


class Actor:
    """State that messages change, one at a time.

    Every hook, and `on_message`, may be a plain method or an `async def`. They run on the actor's event
    loop. What they raise is a crash: whoever asked gets `ActorPanicked` with the exception as its
    `__cause__`, and the actor's supervisor makes a new instance, with the same arguments. State that is to
    outlive a crash belongs elsewhere.
    """

    context: ActorContext
    """The actor's own reference, path and place; there before `__init__`."""

    def on_start(self) -> Awaitable[None] | None:
        """Before the first message of every instance. What it raises is a failed start: `spawn` raises
        `StartFailed`, a later one counts against the supervisor's budget."""
        return None

    def on_message(self, message: Any, /) -> Any:
        """Handles a message. What it returns, or what its coroutine does, answers an `ask`."""
        raise NotImplementedError(f"{type(self).__qualname__} has no on_message")

    def on_stop(self) -> Awaitable[None] | None:
        """After the last message of an instance that was told to stop, or to restart for a neighbour's sake.
        Not after a crash: then the state cannot be trusted."""
        return None

    def on_restart(self, reason: BaseException | None, /) -> Awaitable[None] | None:
        """On the new instance, before its `on_start`. `reason` is what the one before raised; None if it was
        restarted for another reason, such as a neighbour's crash."""
        return None


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the n-th restart in a row: a random share of `min * factor**n`, at most `max`.

    Times are in seconds. Without `jitter` it is the whole of it. An instance that lived for `reset_after`
    makes the next failure count as the first.
    """

    min: float = 0.05
    max: float = 10.0
    factor: float = 2.0
    jitter: bool = True
    reset_after: float = 30.0


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """What an actor is told that was given to `rt.pool.tell_pressure`, whenever the level changes."""

    level: Pressure


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    """A coroutine of whatever else a handler returns."""
    return await awaitable


if sys.version_info >= (3, 12):

    def _start_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context | None
    ) -> asyncio.Future[Any]:
        """A task that has taken its first step: one that never suspends is done. A loop's own factory is
        respected."""
        if loop.get_task_factory() is not None:
            return loop.create_task(coroutine, context=context)
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

else:

    def _start_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context | None
    ) -> asyncio.Future[Any]:
        """The same. 3.11 has no `eager_start`: its own loops take the first step out of the loop's queue,
        where it has just been put as the last, and run it now; others (uvloop) run it in their next
        round."""
        task = loop.create_task(coroutine, context=context)
        ready = getattr(loop, "_ready", None)
        if type(ready) is deque and ready and asyncio.current_task(loop) is None:
            handle = ready[-1]
            if getattr(handle._callback, "__self__", None) is task:
                ready.pop()
                handle._run()
        return task


# Loops of actors' own


_EXIT_BOUND = 5.0
"""What the loops' threads get to end when the interpreter exits, in seconds."""

_own_loops: dict[threading.Thread, tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = {}
_own_loops_lock = threading.Lock()


def _begin_on_own_loop(plan: _Plan) -> None:
    # A daemon, or the interpreter would wait for the actor before it runs what ends it: `_end_own_loops`.
    thread = threading.Thread(target=_run_own_loop, args=(plan,), name=f"ironcliw-{plan.name}", daemon=True)
    thread.start()


def _run_own_loop(plan: _Plan) -> None:
    async def live() -> None:
        task = asyncio.current_task()
        assert task is not None
        with _own_loops_lock:
            _own_loops[threading.current_thread()] = (asyncio.get_running_loop(), task)
        try:
            await plan.start()
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            plan.fail(error)
            raise

    try:
        asyncio.run(live())
    finally:
        with _own_loops_lock:
            _own_loops.pop(threading.current_thread(), None)


def _end_own_loops() -> None:
    with _own_loops_lock:
        ending = dict(_own_loops)
    for loop, task in ending.values():
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:  # It has just closed by itself.
            continue
    for thread in ending:
        thread.join(_EXIT_BOUND)


atexit.register(_end_own_loops)
