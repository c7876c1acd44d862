"""Awaits a second, many in flight at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from awaits.systems.face import Ask, Face

# Of the time, before it counts: what slept for the others' turns wakes up.
WARM_UP_SHARE = 0.1
# Requests of the row about one awaitable for all.
REQUESTS = 10_000


async def burst(ask: Ask, in_flight: int, seconds: float) -> float:
    """Awaits a second by `gather` on the raw awaitables."""
    await bursts(ask, in_flight, seconds * WARM_UP_SHARE)
    return await bursts(ask, in_flight, seconds)


async def bursts(ask: Ask, in_flight: int, seconds: float) -> float:
    done, begin, gather = 0, time.perf_counter(), asyncio.gather
    while (passed := time.perf_counter() - begin) < seconds or done == 0:
        await gather(*[ask() for _ in range(in_flight)])
        done += in_flight
    return done / passed


async def burst_and_cpu(
    face: Face, in_flight: int, seconds: float, whole: bool
) -> tuple[float, float | None]:
    """The same, and the CPU seconds of all threads for 100,000 awaits, if this process is the whole."""
    await bursts(face.ask, in_flight, seconds * WARM_UP_SHARE)
    begin, cpu = time.perf_counter(), time.process_time()
    rate = await bursts(face.ask, in_flight, seconds)
    spent, passed = time.process_time() - cpu, time.perf_counter() - begin
    return rate, spent / (rate * passed) * 1e5 if whole else None


async def wrapped(face: Face, in_flight: int, seconds: float) -> tuple[float]:
    """The same with an `async def` around each, for which `gather` makes a task."""
    ask = face.ask

    async def one() -> Any:
        return await ask()

    return (await burst(one, in_flight, seconds),)


async def many(ask_many: Callable[[int], Awaitable[Any]], seconds: float) -> tuple[float]:
    """Million requests a second, 10,000 to an awaitable."""
    await ask_many(REQUESTS)
    done, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds or done == 0:
        answers = await ask_many(REQUESTS)
        done += len(answers)
    return (done / passed / 1e6,)
