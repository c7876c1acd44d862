"""The job with OpenCV and numpy on asyncio.

`executor` is what a competent user writes: a frame is one call on as many threads as there are cores, each
with its own intermediate arrays, which every frame uses again; OpenCV itself then runs on one thread.
`to_thread` is the same call, by `asyncio.to_thread`, which has more threads. `steps` awaits one step after
another, each with an output of its own, as the program with Ironcliw does.

    PYTHONPATH=benches/python python -m memory.pipelines.pipeline_opencv [--style executor] FOLDER
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from memory.pipelines.job import MEAN, SMALL_HEIGHT, SMALL_WIDTH, STD, Job, Scores, run, score, told

Frame = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]

STYLES = ("executor", "to_thread", "steps")
# (x / 255 - mean) / std, as one product and one sum a plane.
SCALE = [np.float32(1 / 255 / std) for std in STD]
SHIFT = [np.float32(-mean / std) for mean, std in zip(MEAN, STD, strict=True)]


class Arrays(threading.local):
    """A thread's own, made when it first comes."""

    def __init__(self) -> None:
        self.small: Frame = np.empty((SMALL_HEIGHT, SMALL_WIDTH, 3), np.uint8)
        self.planes: Planes = np.empty((3, SMALL_HEIGHT, SMALL_WIDTH), np.float32)


ARRAYS = Arrays()


def decode(film: bytes) -> Frame:
    """OpenCV's Python has no output argument here."""
    frame: Any = cv2.imdecode(np.frombuffer(film, np.uint8), cv2.IMREAD_COLOR_RGB)
    return frame  # type: ignore[no-any-return]


def shrink(frame: Frame, out: Frame | None = None) -> Frame:
    """By areas, as OpenCV advises for smaller sizes."""
    small: Any = cv2.resize(frame, (SMALL_WIDTH, SMALL_HEIGHT), out, interpolation=cv2.INTER_AREA)
    return small  # type: ignore[no-any-return]


def normalise(small: Frame, out: Planes | None = None) -> Planes:
    planes = np.empty((3, *small.shape[:2]), np.float32) if out is None else out
    for channel, plane in enumerate(planes):
        np.multiply(small[:, :, channel], SCALE[channel], out=plane)
        plane += SHIFT[channel]
    return planes


def whole(film: bytes) -> Scores:
    """All steps of a frame, on one thread."""
    small = shrink(decode(film), ARRAYS.small)
    return score(normalise(small, ARRAYS.planes))


async def main(job: Job) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cv2.setNumThreads(1)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(cores) as pool:

        async def on_executor(film: bytes) -> Scores:
            return await loop.run_in_executor(pool, whole, film)

        async def on_a_thread(film: bytes) -> Scores:
            return await asyncio.to_thread(whole, film)

        async def by_steps(film: bytes) -> Scores:
            frame = await loop.run_in_executor(pool, decode, film)
            small = await loop.run_in_executor(pool, shrink, frame)
            del frame
            planes = await loop.run_in_executor(pool, normalise, small)
            return await loop.run_in_executor(pool, score, planes)

        ways: dict[str, Callable[[bytes], Any]] = {
            "executor": on_executor,
            "to_thread": on_a_thread,
            "steps": by_steps,
        }
        await run(job, ways[job.style])


if __name__ == "__main__":
    asyncio.run(main(told(STYLES)))
