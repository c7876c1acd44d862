"""A 6.2 MB frame in, and one out: what each costs on the loop's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from harness.faults import page_faults

from awaits.systems.face import Frame
from awaits.work.latency import share

HEIGHT, WIDTH = 1080, 1920
# Results before it counts: pools fill, allocators learn.
WARM_UP_RESULTS = 8
# At most, so that the list of times is made beforehand and its growth causes no page fault.
RESULTS_MAX = 4096

RGB: Frame = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GRAY: Frame = np.ascontiguousarray(RGB[:, :, 0])


async def frame_in(take: Callable[[Frame], Awaitable[Any]], seconds: float) -> tuple[float]:
    """The median time of the submit, in µs. The next comes when the work of this one is done."""
    clock, times = time.perf_counter, list[float]()
    await take(RGB)
    end = clock() + seconds
    while clock() < end or not times:
        begin = clock()
        answer = take(RGB)
        times.append(clock() - begin)
        await answer
    return (share(times, 0.5) * 1e6,)


async def frame_out(
    make: Callable[[Frame], Awaitable[Frame]], seconds: float
) -> tuple[float, float, float | None]:
    """The median times to take a result that is there and to drop it, in µs; page faults a result."""
    clock, faults = time.perf_counter, page_faults
    taking, dropping = [0.0] * RESULTS_MAX, [0.0] * RESULTS_MAX
    count, end, before = -WARM_UP_RESULTS, clock() + seconds, 0
    while count < 1 or (clock() < end and count < RESULTS_MAX):
        future = asyncio.ensure_future(make(GRAY))
        await asyncio.wait([future])
        begin = clock()
        frame = await future
        taken = clock()
        assert frame.nbytes == RGB.nbytes
        now = clock()
        del frame, future
        dropped = clock()
        if count >= 0:
            taking[count], dropping[count] = taken - begin, dropped - now
        elif count == -1:
            before = faults()
        count += 1
    caused = faults() - before
    del taking[count:], dropping[count:]
    a_result = None if before < 0 else caused / count
    return share(taking, 0.5) * 1e6, share(dropping, 0.5) * 1e6, a_result
