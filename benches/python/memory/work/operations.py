"""A real operation with an output of 6.2 MB."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

import ironcliw
import numpy as np
from harness.faults import page_faults

from memory.work.clock import TIMES_MAX, no_times, singly, warm_up
from memory.work.outputs import HEIGHT, SHAPE, WIDTH

SOURCE = np.random.default_rng(5).integers(0, 256, (720, 1280, 3), np.uint8)
SIZE = (WIDTH, HEIGHT)


def ours(rt: ironcliw.Runtime, seconds: float) -> tuple[float, float | None]:
    """Microseconds and page faults of an awaited result that is looked at and dropped."""
    return asyncio.run(awaited(rt, seconds))


async def awaited(rt: ironcliw.Runtime, seconds: float) -> tuple[float, float | None]:
    clock, resize, times = time.perf_counter, rt.images.resize, no_times()

    async def once() -> None:
        output = await resize(SOURCE, SIZE)
        assert output.shape == SHAPE

    warm = clock() + warm_up(seconds)
    await once()
    while clock() < warm:
        await once()
    count, before, end = 0, page_faults(), clock() + seconds
    while count < 1 or (clock() < end and count < TIMES_MAX):
        begin = clock()
        await once()
        times[count] = clock() - begin
        count += 1
    caused = page_faults() - before
    return statistics.median(times[:count]) * 1e6, None if before < 0 else caused / count


def opencv(seconds: float) -> tuple[float, float | None]:
    import cv2

    return measured(lambda: cv2.resize(SOURCE, SIZE, interpolation=cv2.INTER_LINEAR), seconds)


def opencv_in_place(seconds: float) -> tuple[float, float | None]:
    """Into one output, which is never given away."""
    import cv2

    output = np.empty(SHAPE, np.uint8)
    return measured(lambda: cv2.resize(SOURCE, SIZE, output, interpolation=cv2.INTER_LINEAR), seconds)


def pillow(seconds: float) -> tuple[float, float | None]:
    """From and to Pillow's own images: the ways to numpy and back would cost more."""
    from PIL import Image

    source = Image.fromarray(SOURCE)
    return measured(lambda: source.resize(SIZE, Image.Resampling.BILINEAR), seconds)


def measured(once: Callable[[], Any], seconds: float) -> tuple[float, float | None]:
    took, faults = singly(once, seconds)
    return took * 1e6, faults
