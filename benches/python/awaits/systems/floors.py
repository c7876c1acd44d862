"""What the event loop itself costs, with no other thread, and what the workers can do at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from awaits.systems.face import Face, System


async def add_one(number: int) -> int:
    return number + 1


class Coroutine(System):
    name = "floor: coroutine"
    about = "await of a coroutine that does not wait"

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        return Face(partial(add_one, 1))


class QueuePingPong(System):
    name = "floor: asyncio.Queue"
    about = "a task of the same loop answers through two queues"

    def __init__(self) -> None:
        # A loop holds its tasks weakly.
        self._servers: list[asyncio.Task[None]] = []

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        requests: asyncio.Queue[int] = asyncio.Queue()
        answers: asyncio.Queue[int] = asyncio.Queue()

        async def serve() -> None:
            while True:
                answers.put_nowait(await requests.get() + 1)

        def ask() -> Awaitable[int]:
            requests.put_nowait(1)
            return answers.get()

        self._servers.append(loop.create_task(serve()))
        return Face(ask)


class DoneFuture(System):
    name = "floor: done future"
    about = "await of an asyncio.Future that has its result"

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        def ask() -> asyncio.Future[int]:
            future = loop.create_future()
            future.set_result(2)
            return future

        return Face(ask)


class IdleLoop(System):
    name = "floor: no jobs"
    about = "the lag of a loop that has nothing else to do"

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        return Face(partial(add_one, 1))


class Ceiling(System):
    name = "ceiling"
    about = "the rate of ours' jobs if each worker has a core and nothing else to do"

    def __init__(self, rate: Callable[[], float]) -> None:
        # Measures it anew each time.
        self.rate = rate

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        return Face(partial(add_one, 1))
