"""How late the loop is while all workers have jobs, and how much of the workers' time the jobs get."""

from __future__ import annotations

import asyncio
import time

from awaits.systems.face import Ask
from awaits.work.latency import share

TICK_SECONDS = 0.001
# Enough that a worker never waits for the loop to bring it the next job.
IN_FLIGHT_A_WORKER = 8


async def lag(job: Ask | None, workers: int, seconds: float) -> tuple[float, float]:
    """The 99th percentile of the lag in ms, and jobs a second."""
    clock = time.perf_counter
    end, jobs, lags = clock() + seconds, 0, []

    async def client(job: Ask) -> None:
        nonlocal jobs
        while clock() < end:
            await job()
            jobs += 1

    async def heartbeat() -> None:
        while (begin := clock()) < end:
            await asyncio.sleep(TICK_SECONDS)
            # uvloop's timers may be early by what its clock is coarse.
            lags.append(max(0.0, clock() - begin - TICK_SECONDS))

    clients = [client(job) for _ in range(IN_FLIGHT_A_WORKER * workers)] if job else []
    begin = clock()
    await asyncio.gather(heartbeat(), *clients)
    return share(lags, 0.99) * 1e3, jobs / (clock() - begin)
