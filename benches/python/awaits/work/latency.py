"""The time of one await."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from awaits.systems.face import Face

WARM_UP_AWAITS = 100
# Awaits of results that are there, timed in one go: the clock takes a good part of the time of one.
READY_AT_ONCE = 64


def share(values: list[float], part: float) -> float:
    """The value that this part of them lies below."""
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


async def sequential(face: Face, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of one await after another, in µs."""
    ask, clock = face.ask, time.perf_counter
    for _ in range(WARM_UP_AWAITS):
        await ask()
    times = []
    end = clock() + seconds
    while True:
        begin = clock()
        await ask()
        now = clock()
        times.append(now - begin)
        if now > end:
            return share(times, 0.5) * 1e6, share(times, 0.99) * 1e6


async def ready(face: Face, seconds: float) -> tuple[float]:
    """An await of a result that is there already, in µs."""
    await ready_once(face)
    spent, times = 0.0, list[float]()
    while spent < seconds or not times:
        begin = time.perf_counter()
        times.append(await ready_once(face))
        spent += time.perf_counter() - begin
    return (share(times, 0.5) / READY_AT_ONCE * 1e6,)


async def ready_once(face: Face) -> float:
    futures: list[Any] = [asyncio.ensure_future(face.ask()) for _ in range(READY_AT_ONCE)]
    # Waiting for them would be an await of its own.
    while not all(future.done() for future in futures):  # noqa: ASYNC110
        await asyncio.sleep(0)
    begin = time.perf_counter()
    for future in futures:
        await future
    return time.perf_counter() - begin
