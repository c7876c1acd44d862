"""Several loops, each in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from awaits.systems.face import System
from awaits.work.rates import bursts

LOOPS = 4
IN_FLIGHT = 64
WARM_UP_SECONDS = 0.01


def loops(
    system: System, new_loop: Callable[[], asyncio.AbstractEventLoop], seconds: float
) -> tuple[float, float]:
    """Awaits a second of all loops together, and that by the rate of one loop, which is measured first."""
    alone = together(system, new_loop, 1, seconds)
    rate = together(system, new_loop, LOOPS, seconds)
    return rate, rate / alone


def together(
    system: System, new_loop: Callable[[], asyncio.AbstractEventLoop], count: int, seconds: float
) -> float:
    start = threading.Barrier(count)

    async def one() -> float:
        ask = system.on(asyncio.get_running_loop()).ask
        await bursts(ask, IN_FLIGHT, WARM_UP_SECONDS)
        start.wait()
        return await bursts(ask, IN_FLIGHT, seconds)

    def run() -> float:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(one())

    with ThreadPoolExecutor(count) as threads:
        return sum(future.result() for future in [threads.submit(run) for _ in range(count)])
