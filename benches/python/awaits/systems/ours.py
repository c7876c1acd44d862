"""Ours: a plain `Runtime()`, and nothing else."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import ironcliw
import numpy as np

from awaits.systems.face import Face, Frame, System

# Less than the workers' mailboxes hold.
JOBS_AHEAD_A_WORKER = 100
# Of a measurement of the job's time.
TRIALS = 3
# Of the job's image, which is as high as makes the job last as long as it should.
WIDTH = 256


class Ours(System):
    name = "ironcliw"
    about = "a plain Runtime()"

    def __init__(self) -> None:
        self.runtime = ironcliw.Runtime()
        self.workers = sum(
            1 for actor in self.runtime.snapshot()["actors"] if actor["path"].startswith("images/")
        )
        self._image = np.zeros((WIDTH, WIDTH), np.uint8)

    def on(self, loop: asyncio.AbstractEventLoop) -> Face:
        images = self.runtime.images
        return Face(
            self.runtime.ping,
            many=getattr(self.runtime, "ping_many", None),
            job=partial(images.edge_density, self._image),
            frame_in=partial(images.resize, size=(64, 36)),
            frame_out=partial(images.convert, mode="rgb"),
        )

    def calibrate(self, seconds: float) -> None:
        """Makes the job take about so long on a worker, by the size of its image."""
        rows = WIDTH
        for _ in range(3):
            self._image = noise(rows)
            rows = max(1, round(rows * seconds / self.seconds_of_a_job()))
        self._image = noise(rows)

    def seconds_of_a_job(self) -> float:
        """CPU time of a job on a worker while all are busy: by the clock, other programs would count in full.

        The least of a few, as they only add to it. A worker's taking of the message is in it.
        """
        return min(self._seconds_of_a_job() for _ in range(TRIALS))

    def _seconds_of_a_job(self) -> float:
        job, all_threads, this_thread = self.runtime.images.edge_density, time.process_time, time.thread_time
        begin = all_threads() - this_thread()
        for call in [job(self._image) for _ in range(JOBS_AHEAD_A_WORKER * self.workers)][::-1]:
            call.result()
        return (all_threads() - this_thread() - begin) / (JOBS_AHEAD_A_WORKER * self.workers)

    def job_rate_max(self) -> float:
        """Jobs a second if each worker has a core and nothing but jobs."""
        return self.workers / self.seconds_of_a_job()

    def close(self) -> None:
        self.runtime.close().result()


def noise(rows: int) -> Frame:
    return np.random.default_rng(1).integers(0, 256, (rows, WIDTH), np.uint8)
