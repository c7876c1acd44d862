"""What a lease costs more at each level of the leak tracker than at `disabled`."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import ironcliw
from ironcliw.types import LeakLevel

from memory.work.clock import in_batches

SIZE = 1 << 10
# Python's, below the lease: what a backtrace has to walk.
FRAMES = 16
# Turns of the levels in one measurement, of which the medians count.
TURNS = 8

LEVELS: tuple[LeakLevel, ...] = ("disabled", "simple", "advanced", "paranoid")


def above_disabled(rt: ironcliw.Runtime, seconds: float) -> tuple[float, float, float]:
    """Of simple and advanced in nanoseconds, of paranoid in microseconds, by turns with `disabled`."""
    allocate, leaks = rt.pool.try_allocate, rt.leaks
    took: dict[LeakLevel, list[float]] = {level: [] for level in LEVELS}
    before: LeakLevel = leaks.level

    def once() -> None:
        allocate(SIZE, zeroed=False).release()

    try:
        for _ in range(TURNS):
            for level in LEVELS:
                leaks.level = level
                took[level].append(deep(FRAMES, lambda: in_batches(once, seconds / TURNS / len(LEVELS))))
    finally:
        leaks.level = before
    simple, advanced, paranoid = (
        statistics.median(took[level]) - statistics.median(took["disabled"]) for level in LEVELS[1:]
    )
    return max(simple, 0.0) * 1e9, max(advanced, 0.0) * 1e9, max(paranoid, 0.0) * 1e6


def deep(frames: int, work: Callable[[], float]) -> float:
    """Does the work below so many frames."""
    return work() if frames == 0 else deep(frames - 1, work)
