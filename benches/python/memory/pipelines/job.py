"""What the programs have in common: the files, the sizes, the last step, and what they say of themselves."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from harness.faults import page_faults

Scores = npt.NDArray[np.float32]

HEIGHT, WIDTH, CHANNELS = 1080, 1920, 3
SMALL_HEIGHT, SMALL_WIDTH = 360, 640
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# A cell of the grid that the scores are of.
CELL = 40
CLASSES = 10
GRID = (CHANNELS, SMALL_HEIGHT // CELL, CELL, SMALL_WIDTH // CELL, CELL)
WEIGHTS = np.random.default_rng(3).standard_normal((CHANNELS * GRID[1] * GRID[3], CLASSES), np.float32)


def score(planes: npt.NDArray[np.float32]) -> Scores:
    """The small step at the end: a linear classifier of the frame's means over a grid."""
    means = planes.reshape(GRID).mean(axis=4).mean(axis=2)
    scores: Scores = means.reshape(-1) @ WEIGHTS
    return scores


@dataclass(frozen=True)
class Job:
    """What is to be done, and how."""

    style: str
    frames: int
    in_flight: int
    films: list[bytes]


def told(styles: tuple[str, ...]) -> Job:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--style", choices=styles, default=styles[0])
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("films", type=Path, help="a folder of JPEG files of 1920x1080")
    given = parser.parse_args()
    films = [path.read_bytes() for path in sorted(given.films.glob("*.jpg"))]
    if not films:
        parser.error(f"{given.films} has no JPEG files")
    return Job(given.style, given.frames, given.in_flight, films)


async def run(job: Job, process: Callable[[bytes], Awaitable[Scores]]) -> None:
    """Every frame, so many in flight; prints what it took. Everything that is imported and started for good
    has to be there already."""

    async def lane(numbers: Iterator[int]) -> None:
        for number in numbers:
            scores = await process(job.films[number % len(job.films)])
            assert scores.shape == (CLASSES,) and np.isfinite(scores).all()

    forget_peak()
    at_start, faults, begin = memory("VmRSS"), page_faults(), time.perf_counter()
    numbers = iter(range(job.frames))
    await asyncio.gather(*(lane(numbers) for _ in range(job.in_flight)))
    seconds = time.perf_counter() - begin
    peak = memory("VmHWM")
    told = {
        "start_bytes": at_start,
        "peak_bytes": peak,
        "frames_per_second": job.frames / seconds,
        "faults_per_frame": (page_faults() - faults) / job.frames,
    }
    print(json.dumps(told))


def memory(name: str) -> int | None:
    """Of this process, in bytes, by its name in Linux's `status`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    value = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)
    return None if value is None else int(value) * 1024


def forget_peak() -> None:
    """From now on the peak is that of the job and not of the imports. Where the system does not allow that,
    the peak since the process began stands, which is seldom more."""
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"5")
    except OSError:
        pass
    finally:
        os.close(descriptor)
