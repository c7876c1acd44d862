"""What the peers' jobs have in common: a loop of so many steps, in native code, without the GIL."""

from __future__ import annotations

import time

import ironcliw_peers

from awaits.systems.face import System

JOBS = 100
TRIALS = 3


class NativeSystem(System):
    """A peer whose job is `spin(steps)`."""

    # Of a job; set once it is known how long ours takes.
    steps = 1

    def __init__(self, workers: int) -> None:
        self.workers = workers


def seconds_of(steps: int, threads: int) -> float:
    """CPU time of so many steps, with as many threads at it as there are workers; the least of a few."""

    def once() -> float:
        begin = time.process_time()
        ironcliw_peers.spin_together(steps, JOBS, threads)
        return (time.process_time() - begin) / (JOBS * threads)

    return min(once() for _ in range(TRIALS))


def steps_of(seconds: float, threads: int) -> int:
    """How many steps take about so long."""
    steps = 10_000
    for _ in range(3):
        steps = max(1, round(steps * seconds / seconds_of(steps, threads)))
    return steps
